"""The end of a load test in the terminal: the verdict, why, one table, and where the rest lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from slipway.load import climb, figures
from slipway.load.answers import Comparison
from slipway.load.drawing import seconds_said
from slipway.load.keeping import Kept
from slipway.load.model import FAIL, PASS, Run
from slipway.load.statistics import BETTER, SAME, WORSE, shown

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {PASS: "bold green", FAIL: "bold red", BETTER: "bold green", SAME: "bold green", WORSE: "bold red"}
_UNSURE = "bold yellow"

# Reasons that are printed; all of them are in the report.
_MOST = 8


def show(run: Run, console: Console, report: Path | None = None) -> None:
    """Print a run for a person.

    Args:
        run: The run.
        console: Where.
        report: Where its page lies.
    """
    target, client = run.target, run.client
    what = f"{target.release or target.commit[:9]} in {target.environment}, profile {run.plan.profile}"
    console.print(Text.assemble((run.verdict.outcome.upper(), _STYLES.get(run.verdict.outcome, _UNSURE)), f"  {what}"))
    console.print(figures.headline(run), markup=False)
    if target.local:
        console.print("The generator was on the host: a look, and no proof. It shares the services' way in, and their cores.")
    if target.sender:
        console.print(f"The generator was in the cluster of {target.sender}: customers came through the gateway.", markup=False)
    if changed := figures.changed(run):
        console.print(f"Meanwhile  {changed}", markup=False)
    for reason in run.verdict.reasons[:_MOST]:
        console.print(f"  - {reason.rule}: {reason.said}", markup=False)
    if (more := len(run.verdict.reasons) - _MOST) > 0:
        console.print(f"  - and {more} more; all are in the report")
    table = _table("SERVICE", "ENDPOINT", ">REQUESTS", ">FAILED", ">P50", ">P95", ">P99", ">MOST")
    for row in figures.rows(run):
        p50, p95, p99, _, most = (seconds_said(value) for value in row.shares)
        style = "red" if row.failures else ""
        table.add_row(row.service, Text(row.name), f"{row.requests}", f"{row.failures}", p50, p95, p99, most, style=style)
    console.print()
    console.print(table)
    _show_phases(run, console)
    books = run.books
    rows = "nobody knows how many" if books.order_rows is None else books.order_rows
    console.print(
        f"\n{sum(one.ok for one in client.journeys)} of {sum(one.planned for one in client.journeys)} journeys ended well; "
        f"{books.orders_accepted} orders accepted, {rows} rows. Latencies count from when a request was due.",
        markup=False,
    )
    if remains := figures.left(run):
        console.print(f"Test data are left in {target.environment}: {remains}.", style="yellow", markup=False)
    if report:
        console.print(f"Report  {report}", markup=False, soft_wrap=True)


def _show_phases(run: Run, console: Console) -> None:
    """Phase by phase, when several count; and where a load that climbs became too much."""
    parts = [part for part in figures.phases(run) if part.counted]
    if len(parts) > 1:
        table = _table("PHASE", ">CUSTOMERS/S", ">REQUESTS", ">FAILED", ">P50", ">P95", ">P99")
        for part in parts:
            times = (seconds_said(value) for value in part.shares)
            table.add_row(
                part.name, part.rate, f"{part.requests}", f"{part.failures}", *times, style="red" if part.failures else ""
            )
        console.print()
        console.print(table)
    if said := climb.said(run):
        console.print(f"\nGave way  {said}", markup=False)


def show_runs(kept: Sequence[Kept], console: Console) -> None:
    """Print the runs that are kept, the newest first."""
    if not kept:
        console.print("No load test has run yet. Next: ./invoke load")
        return
    table = _table("RUN", "RELEASE", "IN", "PROFILE", "VERDICT", ">P95 WORST", "WHY")
    for one in kept:
        if one.run is None:
            table.add_row(one.id, "", "", "", Text("unreadable", style="red"), "", Text(one.trouble))
            continue
        run, verdict = one.run, one.run.verdict
        worst = max((value for row in run.client.endpoints if (value := row.p95) is not None), default=None)
        why = Text(verdict.reasons[0].said if verdict.reasons else "", overflow="ellipsis", no_wrap=True)
        said = Text(verdict.outcome, style=_STYLES.get(verdict.outcome, _UNSURE))
        release = run.target.release or run.target.commit[:9]
        table.add_row(one.id, release, run.target.environment, run.plan.profile, said, seconds_said(worst), why)
    console.print(table)


def show_comparison(told: Comparison, console: Console, report: Path | None = None) -> None:
    """Print a comparison for a person.

    Args:
        told: The comparison.
        console: Where.
        report: Where its page lies.
    """
    what = f"  {told.second} beside {told.first} in {told.environment}, profile {told.profile}"
    console.print(Text.assemble((told.answer.upper(), _STYLES.get(told.answer, _UNSURE)), what))
    console.print(f"{told.why}.", markup=False)
    table = _table("NUMBER", ">EFFECT", ">HAS TO EXCEED", ">P", ">RUNS", "ANSWER")
    for one in told.metrics:
        effect = "nobody knows" if one.effect is None else shown(one.metric, one.effect)
        p = "" if one.p is None else f"{one.p:.3g}"
        answer = Text(one.answer, style=_STYLES.get(one.answer, ""))
        bar = shown(one.metric, one.bar, sign=False)
        table.add_row(one.metric.name, effect, bar, p, f"{len(one.first)} and {len(one.second)}", answer)
    console.print()
    console.print(table)
    if left := [ran for ran in told.runs if not ran.used]:
        console.print(f"\nInvalid, and of no account: {len(left)} of {len(told.runs)} runs.")
        for ran in left:
            console.print(f"  - {ran.id}, {ran.release}: {ran.why or ran.outcome}", markup=False)
    if told.differs:
        console.print(f"\nThey differ in more than code: {'; '.join(told.differs)}.", markup=False)
    if report:
        console.print(f"Report  {report}", markup=False, soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table
