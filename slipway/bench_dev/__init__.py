"""How long until what is saved is served: by `dev`, beside the same file put into the pod by hand, and beside a new image.

A way ends with the first answer that holds what was saved: what a service says of itself at /openapi.json, which it makes anew
when it is first asked. So each way has that in it, the floor as well.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slipway import access, toolbox
from slipway.bench_dev import ways
from slipway.bench_dev.bench import Bench, started
from slipway.bench_report import Leg, leg, show_legs
from slipway.dev.told import ROLE
from slipway.errors import UsageError
from slipway.progress import Progress
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

# Seconds from a save until it is served: the median of all edits, and the time that 95 of 100 keep to (DESIGN: what a developer
# waits for).
MEDIAN_BUDGET, P95_BUDGET = 1.0, 2.0

# From so many times on, 95 of 100 are another thing than all.
ENOUGH = 20

# New images take long, and vary little.
REBUILDS = 3


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        legs: Each way: every service's saves, then a new image.
        p95: Seconds that 95 of 100 saves kept to, by service.
        edits: How many saves of each service that is of.
    """

    legs: tuple[Leg, ...]
    p95: Mapping[str, float]
    edits: int

    @property
    def over(self) -> tuple[str, ...]:
        """The services of which 95 of 100 saves did not keep to the budget."""
        return tuple(name for name, seconds in self.p95.items() if seconds > P95_BUDGET)


def bench_dev(settings: Settings, *, runs: int, progress: Progress) -> Report:
    """Saves of each service until they are served, beside their floors and beside a new image.

    It runs `dev` in a copy of what is committed, and leaves `local` as the last of its edits left it.

    Args:
        settings: The instance's.
        runs: How often each service is saved.
        progress: Shows how far it is.

    Raises:
        UsageError: There is nothing to measure in so few runs, or Tilt runs for this instance already.
        SlipwayError: What was saved was not served in time.
    """
    if runs < 1:
        raise UsageError(f"{runs} runs measure nothing: give --runs 1 or more.")
    found = access.open(settings, ROLE)
    kubectl = toolbox.get(settings, "kubectl")
    with progress.showing(), ExitStack() as stack:
        with progress.phase("dev") as phase:
            bench = stack.enter_context(started(found, phase))
        return _measure(bench, runs, kubectl, progress)


def _measure(bench: Bench, runs: int, kubectl: Path, progress: Progress) -> Report:
    services = tuple(bench.settings.services)
    saves: dict[str, list[float]] = {}
    floors: dict[str, list[float]] = {}
    for service in services:
        with progress.phase(service) as phase:
            saves[service] = ways.saves(bench, service, runs, phase)
            floors[service] = ways.floors(bench, service, runs, kubectl, phase)
    with progress.phase("images") as phase:
        rebuilt = ways.rebuilds(bench, services[0], REBUILDS, phase)
    legs = [leg(f"{name}: saved until served", saves[name], floors=floors[name], budget=MEDIAN_BUDGET) for name in services]
    legs.append(leg(f"{services[0]}: saved until a new image serves", rebuilt))
    return Report(tuple(legs), {name: round(p95(taken), 2) for name, taken in saves.items()}, runs)


def p95(seconds: list[float]) -> float:
    """The time that 95 of 100 kept to; of so few that there is none, the longest."""
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]


def show(report: Report, console: Console) -> None:
    """Print a report for a person."""
    show_legs("SECONDS", report.legs, console)
    each = ", ".join(f"{name} {seconds:g} s" for name, seconds in report.p95.items())
    console.print(
        f"\n95 of 100 saves were served within: {each}"
        + (
            f". Over the budget of {P95_BUDGET:g} s: {', '.join(report.over)}." if report.over else f" (budget {P95_BUDGET:g} s)."
        ),
        style="yellow" if report.over else "",
    )
    if report.edits < ENOUGH:
        console.print(f"Of {report.edits} saves that is little more than the longest: --runs {ENOUGH} or more says something.")
    console.print(
        "FLOOR: the same file put into the same pod by `kubectl cp`, and the same reload by `kubectl exec`.", markup=False
    )
