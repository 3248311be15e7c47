"""What a change moved, service by service: told alike by whoever promotes and whoever rolls back."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slipway.gitops import Record

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Moved:
    """One service of a change.

    Attributes:
        service: Its name.
        before: The version that ran; empty for none.
        version: The version that runs now.
        digest: The digest of its image.
        changed: Whether its record is another one now.
        retired: Whether it runs no more.
    """

    service: str
    before: str
    version: str
    digest: str
    changed: bool
    retired: bool = False


def moved(records: Iterable[Record], before: Mapping[str, str], changed: Container[str]) -> tuple[Moved, ...]:
    """Each service of a change.

    Args:
        records: What runs now.
        before: The version of each service that ran before.
        changed: The services whose records are other ones now.
    """
    return tuple(
        Moved(each.service, before.get(each.service, ""), each.version, each.digest, each.service in changed, each.retired)
        for each in records
    )


def show(services: Iterable[Moved], console: Console) -> None:
    """Print a table of them, for a person."""
    from rich.table import Table

    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("  SERVICE", "BEFORE", "NOW", "DIGEST"):
        table.add_column(column, no_wrap=True)
    for each in services:
        table.add_row(f"  {each.service}", each.before or "-", "retired" if each.retired else each.version, each.digest[:19])
    console.print(table)
