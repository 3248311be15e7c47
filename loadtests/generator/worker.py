"""A worker: starts its share of the customers when they are due, and tells the master every second what became of them."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections import Counter, deque
from typing import Any

import gevent
from gevent import Greenlet, GreenletExit
from gevent.event import Event
from gevent.pool import Pool as Greenlets
from locust.env import Environment

from . import arrivals, order
from .asking import KEEP_ALIVE, Roads
from .customers import HURRY, Customer, Work
from .journeys import order_directly

log = logging.getLogger("load")

# Messages: the master's to prepare, to begin and to stop; the worker's when it is ready, once a second and at its end.
PREPARE, BEGIN, STOP = "load-prepare", "load-begin", "load-stop"
READY, BEAT, ENDED = "load-ready", "load-beat", "load-ended"

# Journeys that may be under way in a worker; whoever comes beyond is turned away and counted as never started.
MOST_UNDER_WAY = 5000

# Orders that are there to be looked up when the first customer comes.
_FIRST_ORDERS = 3

# Seconds after which whatever was prepared, or tidied up, has to do: less than the master waits for either.
_ENOUGH = 15.0

# Requests at a time that tidy up; and how many of them may fail: a service that hangs does not get better by being asked.
_TIDYING, _FAILED = 8, 3

# Seconds after the plan's end before which nothing is tidied up: it is no customer's, and the services are still being judged.
_UNTOUCHED = 6.0


class Worker:
    """One worker's part.

    Args:
        environment: Locust's.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._runner: Any = environment.runner
        self._order = order.read()
        self._roads = Roads(environment, patience=self._order.patience)
        self._work = Work(self._order, 0, self._roads)
        self._known, self._told, self._stopped = Event(), Event(), Event()
        self._index, self._sequence, self._stale = 0, 0, 0
        self._cpu: list[tuple[int, float]] = []
        self._runner.register_message(PREPARE, self._learn)
        self._runner.register_message(BEGIN, self._begin)
        self._runner.register_message(STOP, self._stop)

    def _learn(self, environment: Environment, msg: Any, **_: Any) -> None:
        self._index = self._work.worker = msg.data["index"]
        self._known.set()

    def _begin(self, environment: Environment, msg: Any, **_: Any) -> None:
        self._work.begin(msg.data["began"])
        self._told.set()

    def _stop(self, environment: Environment, msg: Any, **_: Any) -> None:
        self._stopped.set()
        self._known.set()
        self._told.set()

    def run(self) -> None:
        """Do the whole of it; returns when the last word was sent."""
        self._known.wait()
        self._prepare()
        self._runner.send_message(READY, {})
        self._told.wait()
        beating = gevent.spawn(self._beat)
        customers = Greenlets(MOST_UNDER_WAY)
        try:
            self._dispatch(customers)
            self._wait_for(customers)
        finally:
            unfinished = _ended(customers)
            removed = 0 if self._order.keep else self._tidy()
            beating.kill()
            self._report_locust()
            self._send(ENDED, unfinished=unfinished, carts=len(self._work.carts), removed=removed)

    def _prepare(self) -> None:
        """Learn what is sold, and place a few orders that can be looked up."""
        work, until = self._work, time.monotonic() + _ENOUGH
        for attempt in itertools.count():
            customer = Customer(work, None, f"first-{self._index}-{attempt}")
            try:
                work.shelf.stock(customer.ask("catalog", "GET /products", "/products?limit=100").content)
                for number in range(_FIRST_ORDERS):
                    buyer = Customer(work, None, f"first-{self._index}-{attempt}-{number}")
                    work.shelf.orders.append(order_directly(buyer, work.shelf))
            except Exception as error:  # whatever a broken service answers, its customers come all the same
                log.warning("worker %d could not prepare the test: %s", self._index, error)
            else:
                return
            if time.monotonic() > until or self._stopped.wait(1.0):
                return

    def _dispatch(self, customers: Greenlets) -> None:
        drawn = arrivals.share(self._order.arrivals(), index=self._index, workers=self._order.workers)
        work = self._work
        for arrival in drawn:
            if (ahead := arrival.due - work.now) > 0 and self._stopped.wait(ahead):
                return
            if self._stopped.is_set():
                return
            if customers.full():
                work.ledger.counts["turned_away"] += 1
                continue
            customers.spawn(Customer(work, arrival, f"{arrival.number:06d}").go)

    def _wait_for(self, customers: Greenlets) -> None:
        """Let journeys end, as long as the plan says."""
        deadline = self._order.seconds + self._order.drain
        while len(customers) and self._work.now < deadline and not self._stopped.wait(0.05):
            pass

    def _tidy(self) -> int:
        """How many carts were emptied of those that were written to."""
        self._stopped.wait(max(0.0, self._order.seconds + _UNTOUCHED - self._work.now))
        until, left, done = time.monotonic() + _ENOUGH, deque(sorted(self._work.carts)), Counter[bool]()

        def empty() -> None:
            while left and done[False] < _FAILED and time.monotonic() < until:
                done[self._empty(left.popleft())] += 1

        gevent.joinall([gevent.spawn(empty) for _ in range(_TIDYING)])
        return done[True]

    def _empty(self, cart: str) -> bool:
        base, name = self._order.addresses["cart"], "cart DELETE /carts/{cart_id}"
        host = self._order.hosts.get("cart")
        headers = {"X-Request-ID": f"{cart}-tidy", **({"Host": host} if host else {})}
        self._work.ledger.sent["cart"] += 1
        path = f"/carts/{cart}"
        answer = self._roads.ask(KEEP_ALIVE, base, "DELETE", path, name=name, headers=headers, body=None, patience=HURRY)
        self._work.ledger.answered["cart"] += bool(answer.status)
        return answer.status == 204

    def _beat(self) -> None:
        wall, used = time.monotonic(), time.process_time()
        while True:
            gevent.sleep(1.0 - self._work.now % 1.0)
            before, wall = wall, time.monotonic()
            had, used = used, time.process_time()
            # What is told now was used in the second that is just over.
            self._cpu.append((round(self._work.now) - 1, (used - had) / max(wall - before, 1e-6)))
            self._send(BEAT)

    def _send(self, kind: str, **more: Any) -> None:
        """Hand over the books since the last time; the master adds them up."""
        work = self._work
        before, self._stale = self._stale, self._roads.stale
        work.ledger.counts["stale"] += self._stale - before
        ledger, work.ledger = work.ledger, type(work.ledger)()
        told = {
            "index": self._index,
            "sequence": self._sequence,
            "at": work.now,
            "under_way": work.under_way,
            "cpu": self._cpu,
            "ledger": ledger.plain(),
            **more,
        }
        self._sequence, self._cpu = self._sequence + 1, []
        self._runner.send_message(kind, {"text": json.dumps(told)})

    def _report_locust(self) -> None:
        """Send Locust's own figures now: its next report may come after the end."""
        data: dict[str, Any] = {}
        self._environment.events.report_to_master.fire(client_id=self._runner.client_id, data=data)
        self._runner.send_message("stats", data)


def _ended(customers: Greenlets) -> int:
    """How many journeys were still under way, and are none any more: counted by what became of them, not by the books."""
    left: list[Greenlet[..., object]] = list(customers)
    customers.kill(timeout=2.0)
    # One that came to its end just before it was told to stop is a journey that ended.
    return sum(not one.ready() or isinstance(one.value, GreenletExit) for one in left)
