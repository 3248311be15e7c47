"""Whether a shop is at the end as it was at the begin: after a crowd has gone, and after a long time.

What a plan is for shows in its phases: two alike with a higher rate between them, or one that is very long. These limits compare
a run with itself, so they hold on any machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from itertools import combinations

from slipway.load.evidence import Evidence, Found, found, ratio
from slipway.load.model import Phase, Second

RULE = "lasting"

# Times its value before the crowd that a percentile may have after it. Of runs of the same code the p50 hardly moves, and the
# p95 of a few seconds by nearly three (docs/load.md).
MOST_TIMES = {"p50": 2.0, "p95": 3.0}

# A phase of so many seconds is one for what only time shows; its last tenth is compared with its first.
LONG = 1800.0
_PART = 10

# Times the middle of its seconds' p95 in the first tenth that the last one may have.
MOST_LATER = 1.5

# Megabytes a minute that a pod's memory may grow by: 60 in an hour, in a pod that has 128.
MOST_GROWTH = 1.0


def findings(seen: Evidence) -> Iterator[Found]:
    """What is to be as before, and whether it is; nothing for a plan that asks for none of it, or when something was changed."""
    if seen.change is None:
        yield from _recovered(seen)
        yield from _stayed(seen)


def crowds(phases: Sequence[Phase]) -> list[tuple[Phase, Phase]]:
    """Phases that count, of one even rate, before and after a higher one; that may come and go by ramps."""
    even = [at for at, phase in enumerate(phases) if phase.counted and phase.begin_rate == phase.end_rate]
    return [
        (phases[before], phases[after])
        for before, after in combinations(even, 2)
        if phases[before].end_rate == phases[after].end_rate
        and any(max(phase.begin_rate, phase.end_rate) > phases[before].end_rate for phase in phases[before:after])
    ]


def _recovered(seen: Evidence) -> Iterator[Found]:
    stages = {one.name: one for one in seen.client.phases}
    for before, after in crowds(seen.plan.phases):
        for measure, most in MOST_TIMES.items():
            had, has = (getattr(stages.get(phase.name), measure, None) for phase in (before, after))
            value = ratio(has, had) if has is not None and had is not None else None
            yield _at_most(
                most,
                value,
                f"{measure} of {after.name} <= {most:g} times that of {before.name}",
                (f"{measure} of {after.name} is", f"times that of {before.name}: what came between has left something"),
                unknown=f"nobody knows the {measure} of {before.name} or of {after.name}",
                source=f"client.phases[].{measure}",
            )


def _stayed(seen: Evidence) -> Iterator[Found]:
    for begin, end, phase in seen.plan.timed:
        if not phase.counted or end - begin < LONG or phase.begin_rate != phase.end_rate:
            continue
        began, tenth = seen.client.began, (end - begin) / _PART
        first = _middle(seen.client.seconds, began + begin, began + begin + tenth)
        last = _middle(seen.client.seconds, began + end - tenth, began + end)
        value = ratio(last, first) if last is not None and first is not None else None
        yield _at_most(
            MOST_LATER,
            value,
            f"p95 in the last tenth of {phase.name} <= {MOST_LATER:g} times that in the first",
            (f"p95 in the last tenth of {phase.name} is", "times that in the first: it grows slower"),
            unknown=f"nobody knows the p95 of the first or the last tenth of {phase.name}",
            source="client.seconds[].p95, the middle of a tenth's seconds",
        )
        yield from _memory(seen)


def _memory(seen: Evidence) -> Iterator[Found]:
    grown = {one.service: one for one in seen.server.series if one.name == "memory growth"}
    for service in sorted(seen.target.digests):
        course = grown.get(service)
        value = course.points[-1][1] * 60 / 1e6 if course and course.points else None
        yield _at_most(
            MOST_GROWTH,
            value,
            f"memory of {service} <= +{MOST_GROWTH:g} MB a minute",
            (f"the memory of a pod of {service} grew by", "MB a minute, to the end"),
            unknown=f"nobody knows whether the memory of {service} grew",
            source=course.query if course else "the course 'memory growth', which is not there",
            digits=".2g",
        )


def _at_most(
    most: float, value: float | None, limit: str, said: tuple[str, str], *, unknown: str, source: str, digits: str = ".3g"
) -> Found:
    """What was found of a limit; a value that nobody knows does not keep it. `said` stands round the value."""
    kept = value is not None and value <= most
    told = unknown if value is None else f"{said[0]} {value:{digits}} {said[1]}"
    return found(RULE, limit, value, kept, told, source=source, figures={"most": most})


def _middle(seconds: Sequence[Second], begin: float, end: float) -> float | None:
    """The middle of the seconds' p95 between two moments; None when nobody was answered."""
    values = [one.p95 for one in seconds if begin <= one.at < end and one.p95 is not None]
    return statistics.median(values) if values else None
