"""Only like is compared with like: what two runs have to have in common, and what differs when they have not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from slipway.errors import UsageError
from slipway.load.model import Run


def alike(runs: Iterable[Run], *, shapes: bool = True) -> None:
    """Refuse runs that were not made in the same way.

    Args:
        runs: The runs.
        shapes: Whether as many pods must have run in each, with the same limits. A release may bring others along.

    Raises:
        UsageError: Some were not, or there are none; the message says what differs.
    """
    there = list(runs)
    if not there:
        raise UsageError("there is no run to compare. Next: ./invoke load")
    for first, run in pairwise(there):
        found = [*differences(first, run), *(shaped(first, run) if shapes else ())]
        if found or run.comparable != first.comparable:
            differing = "; ".join(found) or "something that this version of Slipway does not know"
            raise UsageError(f"{first.id} and {run.id} cannot be compared, they were made in different ways: {differing}")


def differences(first: Run, second: Run) -> list[str]:
    """What of the settings of two runs differs, as a person reads it."""
    return _told(_settings(first), _settings(second))


def shaped(first: Run, second: Run) -> list[str]:
    """Of which services other numbers of pods ran, or with other limits, as a person reads it."""
    return _told(_shape(first), _shape(second))


def _told(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [f"{name} {one.get(name)} and {other.get(name)}" for name in {**one, **other} if one.get(name) != other.get(name)]


def _settings(run: Run) -> Mapping[str, Any]:
    told = run.plan
    return {
        "profile": told.profile,
        "phases": ", ".join(f"{one.name} {one.seconds:g} s at {one.end_rate:g}/s" for one in told.phases),
        "weights": dict(told.weights),
        "streams": dict(told.streams),
        "think": told.think,
        "patience": told.patience,
        "workers": told.workers,
        "environment": run.target.environment,
        "local": run.target.local,
        "sent from": run.target.sender or "its own cluster",
        "during": run.change.kind if run.change else "nothing",
        "cores": run.host.cores,
        "processor": run.host.model,
        "generator": run.tools.get("generator"),
        "locust": run.tools.get("locust"),
    }


def _shape(run: Run) -> Mapping[str, Any]:
    pods = Counter(pod.service for pod in run.pods.before)
    limits = {f"limit of {name} in cores": most for name, most in run.pods.limits.items()}
    return {**{f"pods of {name}": pods[name] for name in sorted(pods)}, **limits}
