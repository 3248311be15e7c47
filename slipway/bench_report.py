"""What was measured, for machines and for a person: the price of a request, and ways beside their floors."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from slipway.bench_shop import BARE

if TYPE_CHECKING:
    from rich.console import Console

# Connections of a closed load; and the pace of an open one, as a share of what the closed one reached.
CONNECTIONS = 8
OPEN_SHARE = 0.4

# A generator that is this busy may have set the pace itself; a server that is given less of its core has to wait for others.
SATURATED = 0.9
_OWN_CORE = 0.7


@dataclass(frozen=True)
class Row:
    """One route of one service.

    Attributes:
        per_core: Requests for each second of processor time that the service's container used.
        ratio: The bare server's requests per core, on the route that does as much, to these; None for the bare server.
        p50: Milliseconds within which half the answers came, in the open load.
        p99: The same for 99 of 100.
        pace: Requests a second of the open load.
        bytes: Size of an answer's body.
        answers: Good answers in both loads.
        errors: How often each other thing happened.
        core: The share of its core that the service got in the closed load.
        generator: The share of a core that the generator used in the closed load.
    """

    service: str
    route: str
    per_core: float
    ratio: float | None
    p50: float
    p99: float
    pace: float
    bytes: int
    answers: int
    errors: Mapping[str, int]
    core: float
    generator: float


@dataclass(frozen=True)
class Report:
    """What every service costs.

    Attributes:
        rows: Each route; the bare server's first.
        ceiling: The most requests a second that the generator sent, which is to the bare server.
        generator: The share of a core that it took for that.
        seconds: How long all of it took.
    """

    rows: tuple[Row, ...]
    ceiling: float
    generator: float
    seconds: float

    @property
    def well(self) -> bool:
        """Whether every request got a good answer, and every route at least one."""
        return not any(row.errors or not row.answers for row in self.rows)

    @property
    def noisy(self) -> bool:
        """Whether other work kept the bare server from its core, though the generator had time left."""
        floor = [row for row in self.rows if row.service == BARE]
        return any(row.core < _OWN_CORE and row.generator < SATURATED for row in floor)


def show(report: Report, console: Console) -> None:
    """Print a report for a person."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("SERVICE", "ROUTE", "PER CORE", "BARE IS", "P50 MS", "P99 MS", "AT", "BYTES", "ERRORS"):
        table.add_column(column, justify="left" if column in ("SERVICE", "ROUTE", "ERRORS") else "right")
    for row in report.rows:
        ratio = f"{row.ratio:g}x" if row.ratio else ""
        wrong = ", ".join(f"{count} x {what}" for what, count in row.errors.items())
        numbers = (f"{row.per_core:g}/s", ratio, f"{row.p50:.1f}", f"{row.p99:.1f}", f"{row.pace:g}/s", f"{row.bytes}")
        table.add_row(row.service, row.route, *numbers, Text(wrong, style="red"))
    console.print(table)
    console.print(
        f"\nPER CORE: requests for each second of processor time, under a closed load of {CONNECTIONS} connections."
        f"\nP50, P99: under an open load at {OPEN_SHARE:.0%} of what that reached, from when a request was due."
        f"\nThe generator sent at most {report.ceiling:g} requests a second, and took {report.generator:.0%} of a core for it"
        + ("." if report.generator < SATURATED else ": it, not the server, set the pace. PER CORE holds all the same."),
        markup=False,
    )
    if report.noisy:
        console.print("\nOther work ran on this machine: latencies say little, and requests cost more. Repeat when it is quiet.")
    if not report.well:
        console.print("\nNot every request got a good answer: the numbers above are of something that is broken.", style="red")


@dataclass(frozen=True)
class Leg:
    """One way that was timed several times, beside the least that the same result costs; in seconds.

    Attributes:
        budget: What it may take; None where nothing is asked for.
        runs: Every time.
        floors: The same of the floor; empty where there is none.
        floor: The median of the floor; None where there is none.
        ratio: Median to median.
    """

    name: str
    median: float
    worst: float
    budget: float | None
    floor: float | None
    ratio: float | None
    runs: tuple[float, ...]
    floors: tuple[float, ...]

    @property
    def within(self) -> bool:
        """Whether the median keeps to the budget."""
        return self.budget is None or self.median <= self.budget


def leg(name: str, runs: Sequence[float], *, floors: Sequence[float] = (), budget: float | None = None) -> Leg:
    """A way, from all its times and those of its floor."""
    median, floor = statistics.median(runs), statistics.median(floors) if floors else None
    return Leg(
        name,
        median=round(median, 2),
        worst=round(max(runs), 2),
        budget=budget,
        floor=round(floor, 2) if floor is not None else None,
        ratio=round(median / floor, 1) if floor else None,
        runs=tuple(round(one, 2) for one in runs),
        floors=tuple(round(one, 2) for one in floors),
    )


def show_legs(title: str, legs: Sequence[Leg], console: Console) -> None:
    """Print ways for a person, those that are over their budgets in yellow."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in (title, "MEDIAN", "WORST", "OF", "BUDGET", "FLOOR", "RATIO", ""):
        table.add_column(column, justify="left" if column in (title, "") else "right", no_wrap=True)
    for one in legs:
        budget = f"{one.budget:g} s" if one.budget is not None else ""
        beside = (f"{one.floor:.2f} s" if one.floor is not None else "", f"{one.ratio:g}x" if one.ratio is not None else "")
        cells = (f"{one.median:.2f} s", f"{one.worst:.2f} s", str(len(one.runs)), budget, *beside)
        table.add_row(one.name, *cells, "" if one.within else "over budget", style="" if one.within else "yellow")
    console.print(table)
