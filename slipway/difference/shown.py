"""What differs, for a person: a line for everything, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from slipway.difference.comparing import ARTIFACT, ENVIRONMENT, UNKNOWN, Difference, Service

if TYPE_CHECKING:
    from rich.console import Console

_WHY = {
    ENVIRONMENT: "follows from the environment",
    ARTIFACT: "another artifact",
    UNKNOWN: "cannot be told: its commit is not in app.git",
}

_SHORT = 12


def show(seen: Difference, console: Console) -> None:
    """Print it for a person: a line for everything that differs, and why."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("SERVICE", "WHAT", seen.first.upper(), seen.second.upper(), "WHY"):
        table.add_column(column, overflow="fold", no_wrap=column == "SERVICE")
    for one in seen.services:
        rows = _rows(one)
        for number, row in enumerate(rows):
            cells = (one.service if not number else "", *row)
            table.add_row(*map(Text, cells), end_section=number == len(rows) - 1, style="" if one.same else "yellow")
    console.print(table)
    both, services = f"\n{seen.first} and {seen.second} run", len(seen.services)
    drifted = f"{both} different artifacts of {len(seen.drifted)} of {services}: {', '.join(seen.drifted)}."
    console.print(drifted if seen.drifted else f"{both} the same artifacts of all {services}.", markup=False)


def _rows(one: Service) -> list[tuple[str, str, str, str]]:
    if not one.first or not one.second:
        here, there = ("-" if side is None else side.version for side in (one.first, one.second))
        return [("record", here, there, "only in one of them")]
    names = [(item.name, _short(item.first), _short(item.second), "another artifact") for item in one.artifact]
    if one.same:
        names = [(*row[:3], "another name for the same artifact") for row in names]
    values = [(item.name, _short(item.first), _short(item.second), _WHY[item.cause]) for item in one.values]
    told = ", ".join(f"{name.removesuffix(f' {one.service}')} {count}" for name, count in one.objects.items())
    objects = [("fields that differ", "", "", told)] if told else []
    return [*names, *values, *objects] or [("nothing", "", "", "the same in both")]


def _short(value: Any) -> str:
    text = "-" if value is None or value == "" else str(value)
    hashed = text.removeprefix("sha256:")
    return hashed[:_SHORT] if len(hashed) in (40, 64) and not set(hashed) - set("0123456789abcdef") else text
