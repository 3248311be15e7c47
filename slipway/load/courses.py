"""Courses of a load test, as its picture draws them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from slipway.load.model import Rollout, Run, Second

# Points of a course: more than a picture is wide shows nobody anything, and makes a long test's page heavy.
_POINTS = 600


def thinned(seconds: Sequence[Second]) -> list[Second]:
    """The seconds, or of a long test the worst latency, the most failures and the mean rate of each several."""
    size = math.ceil(len(seconds) / _POINTS)
    if size <= 1:
        return list(seconds)
    made: list[Second] = []
    for start in range(0, len(seconds), size):
        part = seconds[start : start + size]

        def worst(name: str, part: Sequence[Second] = part) -> float | None:
            return max((value for one in part if (value := getattr(one, name)) is not None), default=None)

        def mean(name: str, part: Sequence[Second] = part) -> int:
            return round(sum(getattr(one, name) for one in part) / len(part))

        made.append(
            Second(
                at=part[0].at,
                phase=part[0].phase,
                planned=mean("planned"),
                started=mean("started"),
                ok=mean("ok"),
                failed=max(one.failed for one in part),
                requests=mean("requests"),
                failures=max(one.failures for one in part),
                in_flight=max(one.in_flight for one in part),
                p50=worst("p50"),
                p95=worst("p95"),
                p99=worst("p99"),
                late_p99=worst("late_p99"),
                late_max=worst("late_max"),
            )
        )
    return made


def combined(run: Run, name: str, how: Callable[[list[float]], float]) -> list[tuple[float, float]]:
    """One course of all services: at each moment, their greatest value or their sum."""
    there: dict[float, list[float]] = {}
    for series in run.server.series:
        if series.name == name:
            for at, value in series.points:
                there.setdefault(at, []).append(value)
    return [(at, how(values)) for at, values in sorted(there.items())]


def changes(run: Run) -> list[Rollout]:
    """What happened to the services meanwhile, in order: rollouts, and restarts that only Prometheus saw."""
    found = list(run.pods.rollouts)
    for series in run.server.series:
        if series.name == "restarts":
            grown = (after for before, after in pairwise(series.points) if after[1] > before[1])
            found += [Rollout(at, series.service, "a container was restarted") for at, _ in grown]
    return sorted(found, key=lambda one: one.time)
