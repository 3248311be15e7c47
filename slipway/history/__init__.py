"""`history`: what came into an environment, when, from where and by whom; its GitOps repository alone tells it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table

from slipway import access
from slipway.history.changes import Change, Step
from slipway.history.reading import mirrored, read, records
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["READER", "Change", "History", "Step", "history", "mirrored", "read", "records", "show"]

# Anybody whom the Git server knows may read: who only looks needs no more than the least of them.
READER = "developer"

_HASH = 8


@dataclass(frozen=True)
class History:
    """What came into an environment, the newest first."""

    environment: str
    repository: str
    changes: tuple[Change, ...]


def history(settings: Settings, environment: str) -> History:
    """An environment's history, the newest first.

    Raises:
        UsageError: There is no such environment, or the instance does not run.
    """
    repository = settings.environment(environment).repository
    reader = access.open(settings, READER)
    with mirrored(reader.remote(repository)) as at:
        needed = environment in settings.policy.approvals
        changes = read(at, environment, signers=reader.secrets.signers_file, approvals=needed)
    return History(environment, repository, changes)


def show(told: History, console: Console) -> None:
    """Print a history for a person, the newest first."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("WHEN", "COMMIT", "KIND", "WHAT", "FROM", "BY", "APPROVED", "SIGNED"):
        table.add_column(column, no_wrap=column not in ("WHAT", "FROM"), overflow="fold")
    for change in told.changes:
        good = change.signature == "good"
        cells = [
            f"{datetime.fromtimestamp(change.time):%Y-%m-%d %H:%M}",
            change.commit[:_HASH],
            change.kind or "?",
            "\n".join(_what(change)),
            "\n".join(_origin(change)),
            change.triggered_by or change.author,
            change.approved_by or "-",
            change.signer if good else change.signature,
        ]
        table.add_row(*cells, style="" if good else "yellow")
    if not told.changes:
        console.print(f"Nothing was delivered to {told.environment} yet.", markup=False)
        return
    console.print(table)


def _what(change: Change) -> list[str]:
    grouped: dict[str, list[str]] = {}
    for step in change.steps:
        grouped.setdefault(step.words, []).append(step.service)
    return [f"{', '.join(services)} {words}" for words, services in grouped.items()] or [change.subject]


def _origin(change: Change) -> list[str]:
    sources = " ".join(source[:_HASH] for source in change.sources)
    lock = change.lock.removeprefix("sha256:")[:_HASH]
    lines = [
        f"from {change.origin}" if change.origin else "",
        " ".join(filter(None, [", ".join(change.branches), sources])),
        " ".join(filter(None, [change.release, f"lock {lock}" if lock else ""])),
        f"as at {change.restores[:_HASH]}" if change.restores else "",
    ]
    return [line for line in lines if line]
