"""What the load tests themselves can do and cost: the generator's ceiling, the shop's own, and the time beside the sending.

The ceiling is what a core of the generator could send, by what a test took of one, beside what the barest client that keeps
its connections open gets out of a core of this machine. The shop's is found by sending ever more until somebody has to wait.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slipway import access, httpload, names, ports
from slipway.bench_load.found import Point, Price, price, saturation
from slipway.errors import SlipwayError
from slipway.load import running
from slipway.load.model import INVALID, Asked, Run
from slipway.progress import Progress
from slipway.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Report", "bench_load", "show"]

# Where it is sent to: two pods of each service, as in prod, and nobody's work.
ENVIRONMENT = "stage"

# Of the barest client: seconds, connections, and what it asks. The gateway answers it by asking a service.
FLOOR_SECONDS, FLOOR_CONNECTIONS, FLOOR_PATH = 3.0, 8, "/healthz"

# The climb to where the shop has enough: journeys a second at its end, and seconds.
CLIMB_RATE, CLIMB_SECONDS = 120.0, 120.0


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        price: What a request costs the generator.
        floor: Requests that the barest client sends for each second of processor time.
        point: Where the shop has enough; None when it had not by the end of the climb.
        climb: Requests a second of the climb's best five seconds.
        aside: Seconds of an ordinary test in which nothing was sent: looking, waiting for the last scrape, tidying up.
        sending: Seconds of the same test in which something was.
        runs: The tests that these numbers are of.
    """

    price: Price
    floor: float
    point: Point | None
    climb: float
    aside: float
    sending: float
    runs: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """How many requests the barest client sends for one of the generator's."""
        return round(self.floor / self.price.per_core, 1)


def bench_load(settings: Settings, *, progress: Progress) -> Report:
    """What load tests can do and cost on this machine, by two of them against stage.

    Raises:
        SlipwayError: A test could not be made, or nobody can trust what it measured.
    """
    with progress.showing():
        with progress.phase("the barest client") as phase:
            floor = _floor(settings)
            phase.say(f"{floor:g} requests per core")
        began = time.monotonic()
        ordinary = _measured(settings, Asked(ENVIRONMENT), progress)
        whole = time.monotonic() - began
        climb = running.run(settings, Asked(ENVIRONMENT, "breakpoint", rate=CLIMB_RATE, duration=CLIMB_SECONDS), progress)
    sending = ordinary.client.ended - ordinary.client.began
    point, most = saturation(climb)
    return Report(price(ordinary), floor, point, most, round(whole - sending, 1), round(sending, 1), (ordinary.id, climb.id))


def _measured(settings: Settings, asked: Asked, progress: Progress) -> Run:
    made = running.run(settings, asked, progress)
    if made.verdict.outcome == INVALID:
        why = "; ".join(reason.said for reason in made.verdict.reasons[:3])
        raise SlipwayError(f"nobody can trust what run {made.id} measured: {why}. Repeat when the machine is quiet.")
    return made


def _floor(settings: Settings) -> float:
    """Requests that the barest client sends for each second of processor time.

    Raises:
        SlipwayError: It got no answer.
    """
    load = httpload.Load(
        ports.LOOPBACK,
        access.open(settings).port,
        FLOOR_PATH,
        headers={"Host": names.host_name("catalog", ENVIRONMENT)},
        connections=FLOOR_CONNECTIONS,
        seconds=FLOOR_SECONDS,
    )
    try:
        sent = httpload.run(load)
    except OSError as error:
        raise SlipwayError(f"the catalog of {ENVIRONMENT} cannot be reached: {error}. `./invoke status` says why.") from error
    used = sent.busy * sent.seconds
    if not sent.answers or used <= 0:
        raise SlipwayError(f"the catalog of {ENVIRONMENT} does not answer: {sent.errors}. `./invoke status` says why.")
    return round(sent.answers / used)


def show(report: Report, console: Console) -> None:
    """Print a report for a person."""
    cost, point = report.price, report.point
    console.print(
        f"Generator    {cost.per_core:g} requests a second per core ({cost.rate:g}/s took {cost.cpu:.1%} of one)\n"
        f"Floor        {report.floor:g} requests a second per core, by a client that does nothing but send: {report.ratio:g}x",
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
        "scrape, tidying up",
        markup=False,
    )
    console.print(f"\nThe generator and the shop shared this machine. Runs: {', '.join(report.runs)}", markup=False)
