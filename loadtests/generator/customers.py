"""One customer at a time: who asks, what it asked, and what the books say of it."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gevent

from .arrivals import Arrival, phase_at
from .asking import SLOW, Answer, Roads
from .closed import Closed, users
from .journeys import JOURNEYS, Shelf, Wrong
from .ledger import Ledger
from .order import Order

# The longest that a customer thinks, in average ones; a few very slow ones would only lengthen the test.
MOST_THOUGHT = 4.0

# Seconds until who prepares the test or tidies up gives a request up: a service that hangs must hold neither up.
HURRY = 2.0


@dataclass
class Work:
    """What all customers of a worker share.

    Attributes:
        zero: The plan's begin, by the clock that nobody sets.
        ledger: Books since they were last sent.
        under_way: Journeys that were started and have not ended.
        carts: Carts that were written to.
        closed: The users of a closed client, who send what they are free for.
    """

    order: Order
    worker: int
    roads: Roads
    shelf: Shelf = field(default_factory=Shelf)
    ledger: Ledger = field(default_factory=Ledger)
    zero: float = 0.0
    under_way: int = 0
    carts: set[str] = field(default_factory=set[str])
    numbers: Iterator[int] = field(default_factory=itertools.count)
    closed: Closed = field(init=False)

    def __post_init__(self) -> None:
        self.closed = Closed(users(self.order))

    @property
    def now(self) -> float:
        """Seconds since the plan's begin."""
        return time.monotonic() - self.zero

    def begin(self, moment: float) -> None:
        """Learn the moment of the plan's begin; a clock that is set afterwards changes nothing."""
        self.zero = time.monotonic() + moment - time.time()


class Customer:
    """One customer, on one journey.

    Args:
        work: What it shares with the others.
        arrival: When it is due, and what it comes for; None for one that prepares the test, and whom nobody counts.
        name: What its cart and its order are called by.
    """

    def __init__(self, work: Work, arrival: Arrival | None, name: str) -> None:
        order = work.order
        self._work, self._arrival = work, arrival
        self.rng = random.Random(f"{order.seed}/{name}")  # noqa: S311
        self.cart, self.key = f"{order.prefix}{name}", f"{order.prefix}{name}"
        self.name = f"Load test {order.run}"
        self.lines: dict[str, int] = {}
        self._due = arrival.due if arrival else work.now

    def go(self) -> None:
        """Make the journey, and write down how it went."""
        arrival, work = self._arrival, self._work
        if arrival is None:
            raise RuntimeError("who prepares the test makes no journey")
        work.ledger.started(arrival.journey, due=arrival.due, late=max(0.0, work.now - arrival.due))
        work.under_way += 1
        ok = False
        try:
            JOURNEYS[arrival.journey](self, work.shelf)
            ok = True
        except Wrong:
            pass
        except Exception as error:  # an answer in which nobody could find what has to be there
            work.ledger.broke(arrival.journey, f"{type(error).__name__}: {error}"[:120])
        finally:
            work.under_way -= 1
        work.ledger.ended(arrival.journey, at=work.now, seconds=max(0.0, work.now - arrival.due), ok=ok)

    def ask(
        self,
        service: str,
        endpoint: str,
        path: str,
        *,
        expect: Sequence[int] = (200,),
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        check: Callable[[Answer], str] | None = None,
    ) -> Answer:
        """The answer, which is as it should be.

        Raises:
            Wrong: It is not, or there was none.
        """
        work, stream = self._work, self._arrival.stream if self._arrival else "keep-alive"
        if (ahead := self._due - work.now) > 0:
            gevent.sleep(ahead)
        method = endpoint.partition(" ")[0]
        request = f"{work.order.prefix}{work.worker}-{next(work.numbers)}"
        host = work.order.hosts.get(service)
        told = {"X-Request-ID": request, **({"Host": host} if host else {}), **(headers or {})}
        if method == "PUT":
            work.carts.add(self.cart)
        work.ledger.sent[service] += 1
        base, patience = work.order.addresses[service], work.order.patience if self._arrival else HURRY
        if method == "POST":
            # Who is ended while waiting does not come back to say so.
            work.ledger.counts["orders_unsure"] += 1
        user, sent = (work.closed.send() if self._arrival and stream != SLOW else None), work.now
        try:
            answer = work.roads.ask(
                stream, base, method, path, name=f"{service} {endpoint}", headers=told, body=body, patience=patience
            )
        finally:
            if user is not None:
                work.closed.answered(user)
        error = answer.trouble or ("" if answer.status in expect else f"status {answer.status}")
        error = error or (check(answer) if check else "")
        if answer.status:
            work.ledger.answered[service] += 1
        if method == "POST":
            self._count_order(answer)
        if self._arrival:
            at = work.now
            seconds = max(0.0, at - self._due - answer.held)
            phase = phase_at(work.order.phases, self._due)
            counted = bool(phase and phase.counted)
            work.ledger.closed.counts["left_out"] += counted and user is None and stream != SLOW
            work.ledger.asked(
                (service, endpoint, self._arrival.journey),
                stream=stream,
                at=at,
                seconds=seconds,
                error=error,
                counted=counted,
                phase=phase.name if phase else "",
                sent=None if user is None else max(0.0, at - sent),
            )
            if answer.status and int(request.rpartition("-")[2]) % work.order.each == 0:
                work.ledger.sampled.append(request)
        self._due = work.now + self._thought()
        if error:
            raise Wrong(f"{endpoint}: {error}")
        return answer

    def _count_order(self, answer: Answer) -> None:
        counts = self._work.ledger.counts
        if not answer.status or answer.status >= 500:
            return
        counts["orders_unsure"] -= 1
        if answer.status in (200, 201):
            # What it says may be wrong; that there is an order, it has said.
            counts["orders_accepted"] += 1

    def _thought(self) -> float:
        think = self._work.order.think
        return min(self.rng.expovariate(1 / think), MOST_THOUGHT * think) if think > 0 else 0.0
