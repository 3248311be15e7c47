"""How long a push, a commit and a release take until they run, each beside its floor: the same pods, changed by hand.

A way ends when every new pod is ready, for the pipeline and for the floor alike. The pods on their way out, which have up to
some seconds to drain, count only where the table says that the run or the command was done.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from slipway import git, gitops, rollback
from slipway.bench_pipeline import floor, legs
from slipway.bench_pipeline.ground import HEADS, Ground, Undo, brought, survey
from slipway.bench_report import Leg, leg, show_legs
from slipway.errors import UsageError
from slipway.progress import Progress
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

# Seconds that each may take (DESIGN: what a developer waits for).
PUSH_BUDGET, COMMIT_BUDGET, RELEASE_BUDGET = 20.0, 5.0, 10.0


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        legs: Each way.
        service: The service that was pushed alone.
        services: How many a release has.
        stays: What the benchmark leaves in the instance.
        failed: What could not be put back, and why.
    """

    legs: tuple[Leg, ...]
    service: str
    services: int
    stays: str
    failed: tuple[str, ...]


def bench_pipeline(settings: Settings, *, runs: int, progress: Progress) -> Report:
    """A push, a commit and a release until they run, beside their floors.

    It works in the instance that is there, on a branch and a release of its own, and rolls every environment back to what
    it ran before.

    Args:
        settings: The instance's.
        runs: How often each way is measured.
        progress: Shows how far it is.

    Raises:
        UsageError: There is nothing to measure in so few runs, or not in this instance.
        SlipwayError: A run or a promotion failed.
    """
    if runs < 1:
        raise UsageError(f"{runs} runs measure nothing: give --runs 1 or more.")
    ground, undo = survey(settings), Undo()
    with progress.showing():
        try:
            found = _measure(ground, runs, undo, progress)
        finally:
            with progress.phase("put back") as phase:
                undo.run()
                if undo.failed:
                    phase.fail(f"{len(undo.failed)} left")
            for line in undo.failed:
                progress.note(f"Not put back: {line}")
    stays = (
        f"branch release/{ground.release} with its lock and its approval, the commits there and back in both GitOps "
        "repositories, the runs, and the images in the registry"
    )
    return Report(found, ground.service, len(ground.services), stays, tuple(undo.failed))


def _measure(ground: Ground, runs: int, undo: Undo, progress: Progress) -> tuple[Leg, ...]:
    last, first = ground.gate.environment, ground.first
    _, found = gitops.read(ground.pipeline.records(last))
    copy = [entry for (environment, _), entry in sorted(found.items()) if environment == last]
    user = next(iter(ground.gate.dispatchers))

    def restore(environment: str) -> None:
        back = partial(
            rollback.rollback, ground.settings, environment, to=brought(ground, environment), user=user, progress=progress
        )
        undo.later(f"roll {environment} back", back)

    restore(first)
    gone = partial(git.push, ground.pipeline.mirror, ground.author.app, {f"{HEADS}{ground.branch}": ""})
    undo.later(f"remove {ground.branch}", gone)
    with progress.phase("pushes") as phase:
        pushed = legs.pushes(ground, runs, phase)
    with progress.phase("commits") as phase:
        committed = legs.commits(ground, pushed.states, runs, phase)
    restore(ground.gate.after)
    with progress.phase(f"release {ground.release}") as phase:
        lock = legs.release(ground, phase)
    restore(last)
    with progress.phase("promotions") as phase:
        released = legs.promotions(ground, lock, runs, phase, progress)
    former = {record.service: f"{record.image}@{record.digest}" for record in ground.records(last).values()}
    newer = {one.service: f"{one.image}@{one.digest}" for one in lock.services}
    one = [{ground.service: f"{entry.record.image}@{entry.record.digest}"} for _, entry in pushed.states]
    replicas = int(pushed.states[-1][1].values.get("replicas", 1))
    with progress.phase("floor") as phase, floor.copied(ground.admin, last, copy, phase=phase) as copied:
        four = legs.floors(copied, [newer, former], 2 * runs, phase)
        copied.scale(ground.service, replicas)
        single = legs.floors(copied, one, 2 * runs, phase)
    return (
        leg(f"push of {ground.service} until {first} runs it", pushed.ready, floors=single, budget=PUSH_BUDGET),
        leg("    until its run is done", pushed.ended),
        leg("GitOps commit until its pods are ready", committed, floors=single, budget=COMMIT_BUDGET),
        leg(f"promotion of {len(newer)} services until {last} runs them", released.ready, floors=four, budget=RELEASE_BUDGET),
        leg("    until its commit is written", released.written),
        leg("    until the command is done", released.done),
        leg(f"rollback of {len(newer)} services until {last} runs them", released.back, floors=four),
    )


def reason(over: Leg) -> str:
    """Why a way is over its budget, as far as its floor tells."""
    said = f"over its budget of {over.budget:g} s because"
    if over.floor is None or over.budget is None:
        return f"{said} it takes {over.median:.1f} s"
    more = f"what Slipway does beside it takes {over.median - over.floor:.1f} s"
    if over.floor > over.budget:
        return f"{said} the floor alone takes {over.floor:.1f} s, which no pipeline gets below; {more}"
    return f"{said} {more}, and the floor {over.floor:.1f} s"


def show(report: Report, console: Console) -> None:
    """Print a report for a person."""
    show_legs("SECONDS", report.legs, console)
    console.print(
        "\nFLOOR: the images of the same Deployments changed by hand in a namespace of their own, until every new pod is ready,"
        f"\nwith images that the node has. What stays in the instance: {report.stays}.",
        markup=False,
    )
    for one in report.legs:
        if not one.within:
            console.print(f"{one.name.strip()}: {reason(one)}.", style="yellow", markup=False)
    for line in report.failed:
        console.print(f"Not put back: {line}", style="red", markup=False)
