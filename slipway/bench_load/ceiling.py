"""How fast the load generator can send, and how fast anything can: both to a server that does nothing, on the loopback interface.

Steps of ever more customers, until the generator breaks a rule by which a test is invalid: then it and not the server sets the
pace. The steps, their length and the highest of them are bounded.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import urllib3

from slipway import httpload, ports, shell
from slipway.bench_load import responder
from slipway.errors import SlipwayError
from slipway.load import generator, profiles
from slipway.load import plan as planning
from slipway.load.model import KEEP_ALIVE, Asked
from slipway.load.model import Phase as Part
from slipway.load.workers import MOST_CPU, MOST_LATE
from slipway.progress import Phase
from slipway.settings import Settings

# Journeys a second of the first step, times which each next one is faster, and how many steps there are at most; then so many
# between the last one that went well and the first one that did not.
FIRST, FACTOR, STEPS, BETWEEN = 50.0, 2.0, 6, 2

# Seconds of a step, of which the first ones do not count.
WARM, COUNTED = 2.0, 5.0

# Of the client that does nothing but send: seconds and connections.
FLOOR_SECONDS, FLOOR_CONNECTIONS = 3.0, 8

# Seconds until the server listens, and after which it ends by itself, whatever became of those who started it.
_START, _BOUND = 10.0, 600.0

# Who the journeys ask: everybody is the server. It cannot know what is in a cart, so all put one thing there, or nothing.
_SERVICES = ("cart", "catalog", "orders", "storefront")
_JOURNEYS = ("browse", "search", "lookup", "program")


@dataclass(frozen=True)
class Step:
    """What one step came to.

    Attributes:
        journeys: Journeys a second that were planned.
        requests: Requests a second that it sent.
        cpu: The share of a core that the generator took, in 95 of 100 seconds.
        mean: The same, on average: what stands against its requests, which are of all those seconds too.
        late: Seconds that it started journeys late, for 99 of 100 of them.
    """

    journeys: float
    requests: float
    cpu: float
    mean: float
    late: float

    @property
    def trouble(self) -> str:
        """Why the generator could not keep that pace; empty when it could."""
        if self.cpu > MOST_CPU:
            return f"it took {self.cpu:.0%} of its core"
        return f"customers came {self.late:.2f} s late" if self.late > MOST_LATE else ""


@dataclass(frozen=True)
class Ceiling:
    """The most that one worker of the generator sends.

    Attributes:
        requests: Requests a second of the fastest step that went well.
        cpu: The share of a core that it took for them.
        per_core: Requests for each second of a core's time at that step.
        why: What was wrong with the next one.
    """

    requests: float
    cpu: float
    per_core: float
    why: str


def ceiling(drive: Callable[[float], Step], say: Callable[[str], object]) -> Ceiling:
    """The most that the generator sends.

    Args:
        drive: Makes a step of so many journeys a second.
        say: Told of every step.

    Raises:
        SlipwayError: It could not keep the slowest pace.
    """
    good, bad = _step(drive, FIRST, say), None
    if good.trouble:
        raise SlipwayError(f"at {FIRST:g} customers a second already {good.trouble}. Repeat when the machine is quiet.")
    for _ in range(STEPS - 1):
        step = _step(drive, good.journeys * FACTOR, say)
        if step.trouble:
            bad = step
            break
        good = step
    for _ in range(BETWEEN if bad else 0):
        step = _step(drive, (good.journeys + bad.journeys) / 2 if bad else 0.0, say)
        good, bad = (good, step) if step.trouble else (step, bad)
    why = bad.trouble if bad else "it was not tried faster"
    return Ceiling(good.requests, good.mean, round(good.requests / good.mean), why)


def _step(drive: Callable[[float], Step], rate: float, say: Callable[[str], object]) -> Step:
    made = drive(rate)
    say(f"{made.requests:g} requests a second: {made.trouble or f'{made.cpu:.0%} of a core'}")
    return made


def step(settings: Settings, url: str, rate: float, phase: Phase) -> Step:
    """What came of so many journeys a second to a server that does nothing, sent by one worker on this host.

    Raises:
        SlipwayError: The server failed somebody, or nobody measured the generator.
    """
    profile = profiles.find(settings.root / profiles.FILE, "smoke")
    phases = (Part("warm-up", WARM, rate, rate, counted=False), Part("step", COUNTED, rate, rate, counted=True))
    plan = planning.make(profile, Asked(workers=1, streams={KEEP_ALIVE: 1.0}))
    weights = profiles.normal({name: plan.weights[name] for name in _JOURNEYS})
    plan = replace(plan, phases=phases, weights=weights, think=0.0, patience=5.0, drain=5.0)
    run = planning.identify()
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        order = planning.order(plan, run, dict.fromkeys(_SERVICES, url), hosts={}, keep=True)
        client = generator.on_host(
            settings, run=run, order=order, plan=plan, folder=Path(folder), on_second=lambda _: None, phase=phase
        )
    failed = {error: count for one in client.endpoints for error, count in one.errors.items()}
    [worker] = client.workers
    requests = sum(one.requests for one in client.endpoints) / COUNTED
    if worker.lost or not worker.cpu_p95 or not worker.cpu_mean or worker.late_p99 is None:
        raise SlipwayError(f"a step of {rate:g} customers a second tells nothing: {client.said or 'nobody measured it'}.")
    made = Step(rate, round(requests, 1), round(worker.cpu_p95, 3), round(worker.cpu_mean, 3), round(worker.late_p99, 4))
    if failed and not made.trouble:  # a generator that is at its end gives up by itself
        raise SlipwayError(f"a step of {rate:g} customers a second tells nothing: {failed}.")
    return made


def floor(port: int) -> float:
    """Requests that a client which does nothing but send gets answered for each second of its processor time.

    Raises:
        SlipwayError: It got no answer.
    """
    load = httpload.Load(ports.LOOPBACK, port, "/", connections=FLOOR_CONNECTIONS, seconds=FLOOR_SECONDS)
    try:
        sent = httpload.run(load)
    except OSError as error:
        raise SlipwayError(f"the server of the benchmark cannot be reached: {error}.") from error
    used = sent.busy * sent.seconds
    if not sent.answers or used <= 0 or sent.errors:
        raise SlipwayError(f"the server of the benchmark does not answer: {sent.errors}.")
    return round(sent.answers / used)


@contextmanager
def server() -> Generator[int]:
    """The port on which a server that does nothing listens while the block runs."""
    told, there = list[str](), threading.Event()

    def hear(line: str) -> None:
        told.append(line)
        there.set()

    def serve() -> None:
        words = [sys.executable, "-I", Path(responder.__file__), f"{_BOUND:g}"]
        shell.run(words, timeout=_BOUND + _START, on_line=hear, check=False)
        there.set()

    thread = threading.Thread(target=serve, name="bench-responder", daemon=True)
    thread.start()
    if not there.wait(_START) or not told or not told[0].isdigit():
        raise SlipwayError(f"the server of the benchmark did not begin within {_START:g} s: {' '.join(told[-3:]) or 'nothing'}.")
    port = int(told[0])
    try:
        yield port
    finally:
        with contextlib.suppress(urllib3.exceptions.HTTPError), urllib3.PoolManager(retries=False, timeout=_START) as asking:
            asking.request("GET", f"http://{ports.LOOPBACK}:{port}{responder.OVER}")
        thread.join(_START)
