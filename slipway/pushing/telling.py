"""What is told of runs: one as it ended, all of them, and what one said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from slipway import policy, releases, runs
from slipway.runs import Run
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {runs.PASSED: "green", runs.FAILED: "red", runs.RUNNING: "cyan", runs.QUEUED: "cyan", runs.SUPERSEDED: "dim"}


def listed(settings: Settings) -> Sequence[Run]:
    """Every run that is kept, the newest first."""
    return runs.settled(settings)


def printed(settings: Settings, run: str) -> str:
    """A run's stages, and all that it said.

    Raises:
        UsageError: There is no such run.
    """
    runs.settled(settings)
    found = runs.load(settings, run)
    stages = [f"  {stage.state:<8} {stage.seconds:7.1f} s  {stage.name:<16} {stage.said}".rstrip() for stage in found.stages]
    head = f"{found.id}: {found.branch} at {found.commit}, pushed by {found.pusher}: {found.state} after {found.seconds} s"
    file = runs.log_file(settings, run)
    said = file.read_text(errors="replace") if file.is_file() else ""
    return "\n".join(part for part in (head, *stages, found.verdict, found.trouble, "", said.rstrip()) if part or part == "")


def show(settings: Settings, run: Run, console: Console) -> None:
    """Print how a run ended and what to type next, for a person."""
    console.print(f"\n{run.branch} at {run.commit[:9]} {run.state} after {run.seconds:.0f} s.", style=_STYLES.get(run.state, ""))
    for line in (run.verdict, run.trouble):
        if line:
            console.print(f"  {line}", markup=False)
    console.print(f"\nNext: {_next(settings, run)}", markup=False)


def _next(settings: Settings, run: Run) -> str:
    if run.state == runs.FAILED:
        return settings.command(f"ci.runs --run {run.id}")
    if run.state == runs.SUPERSEDED:
        return settings.command("ci.runs")
    line = policy.line(settings.policy, run.branch)
    # A release's branch may be merged as well, but what it is for comes first.
    if line and line.releases and (release := line.release(run.branch)):
        return releases.onward(settings, release)
    return settings.command(f"merge {run.branch}" if policy.taker(settings.policy, run.branch) else "status")


def show_runs(found: Sequence[Run], console: Console) -> None:
    """Print the runs as a table, for a person."""
    from rich.table import Table

    if not found:
        console.print("There are no runs yet. Next: ./invoke push")
        return
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("RUN", "BRANCH", "COMMIT", "PUSHER", "STATE", "SECONDS", "WHERE", "VERDICT"):
        table.add_column(column, no_wrap=column != "VERDICT", justify="right" if column == "SECONDS" else "left")
    for run in found:
        said = (run.verdict or run.trouble).partition("\n")[0]
        cells = (run.id, run.branch, run.commit[:9], run.pusher, run.state, f"{run.seconds:.1f}", run.where, said)
        table.add_row(*cells, style=_STYLES.get(run.state, ""))
    console.print(table)


def show_log(text: str, console: Console) -> None:
    """Print what a run said, for a person."""
    console.print(text, markup=False)
