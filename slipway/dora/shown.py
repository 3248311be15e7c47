"""The four metrics for a person, each with the number of its samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from slipway.dora.counting import CLUSTER, GIT, RUN, Report, Row, Sample

if TYPE_CHECKING:
    from rich.console import Console

_DAY, _HOUR, _MINUTE = 86400, 3600, 60


def show(report: Report, console: Console) -> None:
    """Print them for a person, each with the number of its samples."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("ENV", "SERVICE", "DEPLOYMENTS", "FREQUENCY", "LEAD TIME", "FAILED", "TIME TO RESTORE"):
        table.add_column(column, no_wrap=True)
    for row in report.rows:
        rate = "n/a" if row.failure_rate is None else f"{row.failure_rate:.0%} ({row.failed} of {row.deployments})"
        cells = (str(row.deployments), _frequency(row), _of(row.lead), rate, _of(row.restore))
        table.add_row(row.environment, row.service or "all", *cells, style="" if row.service else "bold")
    console.print(table)
    said = {
        RUN: "the run that waited for it",
        CLUSTER: "Argo CD",
        GIT: "the GitOps commit alone (so it ran a little later)",
    }
    sources = ", ".join(f"{count} by {said[name]}" for name, count in report.sources.items() if count)
    console.print(
        "\nLead time: from the source commit until it ran. Failed: taken back by a revert or a rollback. Medians of (n)."
        f"\nWhen an environment ran something: {sources or 'nothing has been deployed yet'}.",
        markup=False,
    )


def _frequency(row: Row) -> str:
    if not row.deployments:
        return "n/a"
    return f"{row.per_day:g} a day" if row.per_day is not None else f"{row.deployments} in {_span(row.watched)}"


def _of(sample: Sample) -> str:
    return "n/a" if sample.median is None else f"{_span(sample.median)} ({sample.samples})"


def _span(seconds: float) -> str:
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
