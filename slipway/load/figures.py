"""The numbers of a load test as a report tells them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from slipway.load import charts, climb, lasting
from slipway.load.drawing import number_said, seconds_said
from slipway.load.evidence import merged, within
from slipway.load.model import FAIL, PASS, Endpoint, Run

# What the verdict asks of the services; every other rule asks whether the measurement can be trusted.
LIMITS = ("threshold", "unanswered", "down", "change", lasting.RULE)

SHARES = (0.5, 0.95, 0.99)

_JOURNEYS, _REQUESTS = "client.journeys[].ok of .planned", "client.endpoints[].failures of .requests"
_TIMES = "client.endpoints[].histogram"


@dataclass(frozen=True)
class Figure:
    """One of the great numbers; `more` says what stands behind it, and `source` where it is from."""

    name: str
    value: str
    more: str
    source: str
    bad: bool = False


@dataclass(frozen=True)
class Row:
    """An endpoint, whoever asked it."""

    service: str
    name: str
    journeys: tuple[str, ...]
    requests: int
    failures: int
    errors: Mapping[str, int]
    shares: tuple[float | None, ...]
    bar: str


@dataclass(frozen=True)
class Serving:
    """What is known of a service on the other side."""

    name: str
    digest: str
    pods: int
    restarts: int | None
    throttled: float | None
    saturated: float | None
    scrapes: int | None


def headline(run: Run) -> str:
    """The verdict as a sentence."""
    limits, trust = (sum((one.rule in LIMITS) == mine for one in run.verdict.checked) for mine in (True, False))
    broken = sum(one.rule in LIMITS and not one.ok and one.seen is not None for one in run.verdict.checked)
    if run.verdict.outcome == PASS:
        return f"All {limits} limits hold, and {trust} looks at the measurement itself found nothing wrong with it."
    if run.verdict.outcome == FAIL:
        verb = "is" if broken == 1 else "are"
        return f"The measurement can be trusted ({trust} looks at it), and {broken} of {limits} limits {verb} broken."
    return "The measurement cannot be trusted, so nothing is proven, neither good nor bad."


def great(run: Run, shares: tuple[float | None, ...]) -> list[Figure]:
    """The great numbers."""
    client, books = run.client, run.books
    requests, failed = (sum(getattr(one, name) for one in client.endpoints) for name in ("requests", "failures"))
    planned, well = (sum(getattr(one, name) for one in client.journeys) for name in ("planned", "ok"))
    lasted = sum(phase.seconds for phase in run.plan.phases if phase.counted)
    late = [worker.late_p99 for worker in client.workers if worker.late_p99 is not None]
    rows_said = f"accepted; {'nobody knows how many' if books.order_rows is None else books.order_rows} rows"
    unequal = books.order_rows != books.orders_accepted
    gave = climb.said(run)
    return [
        Figure("Journeys that ended well", f"{well} of {planned}", "of those planned, all phases", _JOURNEYS, bad=well < planned),
        Figure(
            "Failed requests", f"{failed}", f"of {requests} that count" + _share_of(failed, requests), _REQUESTS, bad=failed > 0
        ),
        *(
            Figure(f"p{100 * share:g}", seconds_said(value), "from when due, phases that count", _TIMES)
            for share, value in zip(SHARES, shares, strict=True)
        ),
        Figure(
            "Requests per second",
            f"{requests / lasted:.1f}" if lasted else "none",
            "over the phases that count",
            "client.endpoints[].requests by the seconds of plan.phases that count",
        ),
        Figure("Orders", f"{books.orders_accepted}", rows_said, "client.orders_accepted, and orders in PostgreSQL", bad=unequal),
        Figure("Started late", seconds_said(max(late, default=None)), "p99 of the worst worker", "client.workers[].late_p99"),
        *([Figure("Gave way", *_gave(gave), "client.seconds[] of the phases that count, by fives")] if gave else []),
        *([Figure("Left behind", "test data", left(run), "client.removed", bad=True)] if left(run) else []),
    ]


def _gave(said: str) -> tuple[str, str]:
    """A number, and the sentence that it is from."""
    found = re.match(r"[0-9.]+(?= requests a second)", said)
    return (f"{found[0]}/s" if found else said.partition(":")[0]), said


@dataclass(frozen=True)
class Part:
    """What came of one phase."""

    name: str
    counted: bool
    seconds: float
    rate: str
    planned: int
    requests: int
    failures: int
    shares: tuple[float | None, ...]


def phases(run: Run) -> list[Part]:
    """The phases of the plan, with what came of the requests that were due in each."""
    stages = {one.name: one for one in run.client.phases}
    made: list[Part] = []
    for phase in run.plan.phases:
        stage = stages.get(phase.name)
        planned = sum(one.planned for one in run.client.seconds if one.phase == phase.name)
        rate = f"{phase.end_rate:g}" if phase.begin_rate == phase.end_rate else f"{phase.begin_rate:g} to {phase.end_rate:g}"
        shares = (stage.p50, stage.p95, stage.p99) if stage else (None, None, None)
        requests, failures = (stage.requests, stage.failures) if stage else (0, 0)
        made.append(Part(phase.name, phase.counted, phase.seconds, rate, planned, requests, failures, shares))
    return made


def changed(run: Run) -> str:
    """What was driven through the environment meanwhile, and when; empty for nothing."""
    if (change := run.change) is None:
        return ""
    begin, end = (at - run.client.began for at in (change.begin, change.end))
    started = sum("started" in one.what for one in run.pods.rollouts)
    pods = f"{started} pod{'' if started == 1 else 's'} started" if started else "no pod started"
    return f"{change.kind} from {begin:.0f} s to {end:.0f} s after the begin; {pods}"


def left(run: Run) -> str:
    """What of the test's data is still in the environment though it should be gone, as a sentence; empty for nothing."""
    removed, made = run.client.removed, {"carts": run.client.carts, "orders": run.books.order_rows}
    odd = [
        f"nobody could remove the {kind}" if removed[kind] is None else f"{removed[kind]} of {made[kind]} {kind} were removed"
        for kind in removed
        if kind in made and removed[kind] != made[kind] and (removed[kind] is None or made[kind] is not None)
    ]
    return f"{', and '.join(odd)}; all begin with load-{run.id}" if odd else ""


def _share_of(part: int, whole: int) -> str:
    return f", {number_said(part / whole)}" if whole else ""


def rows(run: Run) -> list[Row]:
    """The endpoints, each once, whichever journeys asked it."""
    grouped: dict[tuple[str, str], list[Endpoint]] = {}
    for one in run.client.endpoints:
        grouped.setdefault((one.service, one.name), []).append(one)
    whole = merged(run.client.endpoints)
    bounds = (min(whole), max(whole)) if whole else (0.001, 1.0)
    made: list[Row] = []
    for (service, name), those in sorted(grouped.items()):
        counts = merged(those)
        most = max((one.maximum for one in those if one.maximum is not None), default=None)
        seen = [upto(within(counts, share), most) for share in (*SHARES, 0.999)]
        errors: dict[str, int] = {}
        for one in those:
            for what, count in one.errors.items():
                errors[what] = errors.get(what, 0) + count
        made.append(
            Row(
                service,
                name,
                tuple(one.journey for one in those),
                sum(one.requests for one in those),
                sum(one.failures for one in those),
                errors,
                (*seen, most),
                charts.spread(seen[0], seen[1], seen[2], bounds),
            )
        )
    return made


def upto(bound: float | None, most: float | None) -> float | None:
    """The upper bound of a bucket, but for the last one: no share of the requests took longer than the longest."""
    return bound if bound is None or most is None else min(bound, most)


def services(run: Run) -> list[Serving]:
    """What is known of the services."""
    server = run.server
    return [
        Serving(
            name,
            digest,
            sum(pod.service == name for pod in run.pods.after),
            server.restarts.get(name),
            server.throttled.get(name),
            server.saturated.get(name),
            server.scrapes.get(name),
        )
        for name, digest in sorted(run.target.digests.items())
    ]
