"""What the load tests themselves can do and cost: the generator's ceiling, the shop's own, and what looking takes.

The generator's ceiling is found on the loopback interface against a server that does nothing, beside what a client that only
sends gets out of a core there. The shop's is found by sending ever more until somebody has to wait.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slipway import access, names, ports
from slipway.bench_load import ceiling, cost
from slipway.bench_load.ceiling import Ceiling
from slipway.bench_load.cost import Used
from slipway.errors import SlipwayError
from slipway.load import figures, measuring, running
from slipway.load.climb import Point, saturation
from slipway.load.model import INVALID, Asked, Run
from slipway.progress import Phase, Progress
from slipway.prometheus import Prometheus
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Report", "bench_load", "show"]

# Where it is sent to: two pods of each service, as in prod, and nobody's work.
ENVIRONMENT = "stage"

# The climb to where the shop has enough: journeys a second at its end, and seconds.
CLIMB_RATE, CLIMB_SECONDS = 120.0, 120.0


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        ceiling: The most that a worker of the generator sends.
        floor: Requests that a client which only sends gets answered for each second of a core's time.
        point: Where the shop has enough; None when it had not by the end of the climb.
        climb: Requests a second of the climb's best five seconds.
        aside: Seconds of an ordinary test in which nothing was sent: looking, waiting for the last of it, tidying up.
        sending: Seconds of the same test in which something was.
        used: Cores that those used who looked meanwhile.
        runs: The tests that these numbers are of.
    """

    ceiling: Ceiling
    floor: float
    point: Point | None
    climb: float
    aside: float
    sending: float
    used: tuple[Used, ...]
    runs: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """How many requests the client that only sends gets out of a core for one of the generator's."""
        return round(self.floor / self.ceiling.per_core, 1)


def bench_load(settings: Settings, *, progress: Progress) -> Report:
    """What load tests can do and cost on this machine: steps on the loopback interface, and two tests against stage.

    Raises:
        SlipwayError: A test could not be made, or nobody can trust what it measured.
    """
    with progress.showing():
        with ceiling.server() as port:
            with progress.phase("a client that only sends") as phase:
                floor = ceiling.floor(port)
                phase.say(f"{floor:g} requests per core")
            with progress.phase("the generator's ceiling") as phase:
                found = _ceiling(settings, port, phase)
                phase.say(f"{found.per_core:g} requests per core")
        began, own, clock = time.time(), time.process_time(), time.monotonic()
        ordinary = _measured(settings, Asked(ENVIRONMENT), progress)
        whole, mine = time.monotonic() - clock, time.process_time() - own
        prometheus = Prometheus(names.url("prometheus", port=access.open(settings).port), timeout=measuring.TIMEOUT)
        looked = (*cost.used(prometheus, began, time.time()), Used(cost.COMMAND, None, round(mine / whole, 3), "its own clock"))
        climb = running.run(settings, Asked(ENVIRONMENT, "breakpoint", rate=CLIMB_RATE, duration=CLIMB_SECONDS), progress)
    _trusted(climb, but=("late", "generator-saturated"))  # with how much it can bear it may end as well
    # Workers wait for who is late before they tidy up, and end after that.
    sending = max(one.at + 1 for one in ordinary.client.seconds if one.requests) - ordinary.client.began
    point, most = saturation(climb)
    return Report(
        ceiling=found,
        floor=floor,
        point=point,
        climb=most,
        aside=round(whole - sending, 1),
        sending=round(sending, 1),
        used=looked,
        runs=(ordinary.id, climb.id),
    )


def _ceiling(settings: Settings, port: int, phase: Phase) -> Ceiling:
    url = f"http://{ports.LOOPBACK}:{port}"
    return ceiling.ceiling(lambda rate: ceiling.step(settings, url, rate, phase), phase.say)


def _measured(settings: Settings, asked: Asked, progress: Progress) -> Run:
    return _trusted(running.run(settings, asked, progress))


def _trusted(made: Run, *, but: Collection[str] = ()) -> Run:
    """A run whose measurement can be trusted, but for some of the rules; then its limits do not matter either.

    Raises:
        SlipwayError: It cannot be.
    """
    ignored = (*but, *figures.LIMITS) if but else ()
    wrong = [reason.said for reason in made.verdict.reasons if reason.rule not in ignored]
    if made.verdict.outcome == INVALID and wrong:
        why = "; ".join(wrong[:3])
        raise SlipwayError(f"nobody can trust what run {made.id} measured: {why}. Repeat when the machine is quiet.")
    return made


def show(report: Report, console: Console) -> None:
    """Print a report for a person."""
    most, point = report.ceiling, report.point
    console.print(
        f"Generator    {most.per_core:g} requests a second per core; a worker sent {most.requests:g} with {most.cpu:.0%} of one, "
        f"and no more: {most.why}\n"
        f"Floor        {report.floor:g} requests a second per core, by a client that only sends: {report.ratio:g}x",
        markup=False,
    )
    if point:
        console.print(
            f"Saturation   {point.requests:g} requests a second ({point.journeys:g} journeys a second) were borne well; then "
            f"{point.why}",
            markup=False,
        )
    else:
        console.print(f"Saturation   not reached: {report.climb:g} requests a second were still borne well", markup=False)
    console.print(
        f"Measuring    {report.aside:g} s beside the {report.sending:g} s in which a test sends: looking, waiting for the last "
        "customers and the last scrape, tidying up",
        markup=False,
    )
    for one in report.used:
        console.print(f"             {_cores(one.during)} for {one.who}{_before(one)}", markup=False)
    console.print(
        f"\nGenerator and floor were measured on this host, against a server that does nothing; in the cluster the generator "
        f"and the shop shared this machine. Runs: {', '.join(report.runs)}",
        markup=False,
    )


def _cores(value: float | None) -> str:
    return "nobody knows how much" if value is None else f"{value:.2f} of a core"


def _before(one: Used) -> str:
    return "" if one.before is None else f" ({one.before:.2f} before)"
