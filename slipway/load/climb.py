"""Where a load that climbs became too much, which is what it is driven for."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from slipway.errors import SlipwayError
from slipway.load.model import Run, Second
from slipway.load.workers import MOST_LATE

# Seconds that are looked at together: a single one is chance.
WINDOW = 5

# A shop has enough when customers wait longer than this (s, the limit of p95 in loadtests/thresholds.yaml), or are lost.
SLOW = 0.25

# A worker that is this busy sets the pace itself (share of a core; what makes a test invalid).
BUSY = 0.8


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


def climbs(run: Run) -> bool:
    """Whether the load that counts was one that climbs."""
    return any(phase.counted and phase.end_rate > phase.begin_rate for phase in run.plan.phases)


def said(run: Run) -> str:
    """Where a load that climbs became too much, as a sentence; empty for a load that does not climb."""
    if not climbs(run):
        return ""
    try:
        point, most = saturation(run)
    except SlipwayError as error:
        return f"nobody knows: {error}"
    if point:
        return f"{point.requests:g} requests a second ({point.journeys:g} journeys a second) were borne well; then {point.why}"
    return f"nowhere: {most:g} requests a second were still borne well"


def saturation(run: Run) -> tuple[Point | None, float]:
    """Where a climb became too much, None for nowhere; and the most requests a second that were borne well.

    Raises:
        SlipwayError: Already its begin was too much, or nothing was sent: then it tells nothing.
    """
    if lost := [worker.name for worker in run.client.workers if worker.lost]:
        raise SlipwayError(f"run {run.id} lost {', '.join(lost)}: what was not sent is no shop's fault. Run it again.")
    best: tuple[float, float] | None = None
    seconds = _counted(run)
    for begin in range(0, len(seconds) - WINDOW + 1, WINDOW):
        window = seconds[begin : begin + WINDOW]
        if why := _trouble(window):
            if best is None:
                raise SlipwayError(f"already at the begin of run {run.id} {why}: begin lower, or on a quiet machine.")
            if any((worker.cpu_max or 1.0) > BUSY for worker in run.client.workers):
                why += ", and the generator had no time left: it may have been the one"
            elif (late := max((second.late_p99 or 0.0 for second in window), default=0.0)) > MOST_LATE:
                why += f", and the generator started customers {late:.2f} s late: it may have been the one"
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
