"""What two load tests tell of the generator and of the shop."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from slipway.errors import SlipwayError
from slipway.load.model import Run, Second

# Seconds that are looked at together: a single one is chance.
WINDOW = 5

# A shop has enough when customers wait longer than this (s, the limit of p95 in loadtests/thresholds.yaml), or are lost.
SLOW = 0.25

# A worker that is this busy sets the pace itself (share of a core; what makes a test invalid).
BUSY = 0.8


@dataclass(frozen=True)
class Price:
    """What a request costs the generator.

    Attributes:
        rate: Requests a second that it sent.
        cpu: The share of a core that its workers took for that, in 95 of 100 seconds.
        per_core: Requests a second that a whole core would send; the least, for most seconds took less than that share.
    """

    rate: float
    cpu: float
    per_core: float


@dataclass(frozen=True)
class Point:
    """Where the shop had enough.

    Attributes:
        journeys: Journeys a second that were still borne well.
        requests: Requests a second at that.
        why: What happened then.
    """

    journeys: float
    requests: float
    why: str


def price(run: Run) -> Price:
    """What a request cost the generator, in the phases that count.

    Raises:
        SlipwayError: Nobody measured it.
    """
    seconds, used = _counted(run), [worker.cpu_p95 for worker in run.client.workers]
    known = [share for share in used if share]
    if not seconds or not known or len(known) < len(used):
        raise SlipwayError(f"nobody measured how busy the generator of run {run.id} was.")
    rate, cpu = statistics.fmean(second.requests for second in seconds), sum(known)
    return Price(round(rate, 1), round(cpu, 4), round(rate / cpu))


def saturation(run: Run) -> tuple[Point | None, float]:
    """Where a climb became too much, None for nowhere; and the most requests a second that were borne well.

    Raises:
        SlipwayError: Already its begin was too much, or nothing was sent: then it tells nothing.
    """
    best: tuple[float, float] | None = None
    seconds = _counted(run)
    for begin in range(0, len(seconds) - WINDOW + 1, WINDOW):
        window = seconds[begin : begin + WINDOW]
        if why := _trouble(window):
            if best is None:
                raise SlipwayError(f"already at the begin of run {run.id} {why}: begin lower, or on a quiet machine.")
            if any((worker.cpu_max or 1.0) > BUSY for worker in run.client.workers):
                why += ", and the generator had no time left: it may have been the one"
            return Point(*best, why), best[1]
        best = (_rate([second.planned for second in window]), _rate([second.requests for second in window]))
    if best is None:
        raise SlipwayError(f"run {run.id} had no {WINDOW} seconds that count.")
    return None, best[1]


def _trouble(window: Sequence[Second]) -> str:
    """Why these seconds were too much; empty when they were not."""
    if failed := sum(second.failures for second in window):
        return f"{failed} requests failed"
    if unstarted := sum(second.planned - second.started for second in window):
        return f"{unstarted} journeys were not started"
    waits = [second.p95 for second in window if second.p95 is not None]
    if not waits:
        return "nobody was answered"
    wait = statistics.median(waits)
    return f"5 of 100 requests took longer than {wait:.2f} s" if wait > SLOW else ""


def _counted(run: Run) -> list[Second]:
    names = {phase.name for phase in run.plan.phases if phase.counted}
    return [second for second in run.client.seconds if second.phase in names]


def _rate(values: Sequence[int]) -> float:
    return round(statistics.fmean(values), 1)
