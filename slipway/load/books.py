"""The books of a load test: what has to be the same, counted twice by parts that know nothing of each other.

Every journey ends; the ids of answered requests stand in the services' logs; orders that customers have are rows in
PostgreSQL; requests that were sent were served. What cannot be counted is None, which nobody may take for good.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.kube import NOT_YET, Kube, KubeError
from slipway.load import counters, measuring
from slipway.load.model import Books, Client
from slipway.prometheus import NoAnswer, Prometheus

# The store of the orders, as the checkout's chart delivers it: its pod and container, the superuser inside it, the database.
_POD, _CONTAINER, _USER, _DATABASE = "postgresql-0", "postgresql", "postgres", "orders"

# Seconds for one question to the database: it counts the rows of a test.
_QUERY_TIMEOUT = 20.0

# Seconds between two looks for pods that are new, and without a line after which a log is taken up anew.
_LOOK, _QUIET = 2.0, 5.0

# Seconds after the test until every sampled id must have been read; what was said is on the way for less than one.
FOUND_TIMEOUT = 20.0

_RUN = re.compile(r"[A-Za-z0-9._-]{1,48}")


def prefix(run: str) -> str:
    """What the ids of a test's requests begin with.

    Raises:
        ValueError: It is no run's name; one that is goes into a query as it is.
    """
    if not _RUN.fullmatch(run):
        raise ValueError(f"{run!r} is no name of a run")
    return f"load-{run}-"


class Finder:
    """Reads the logs of an environment's services while a test runs, for the ids of its requests.

    A pod that ends takes its log along, and a log that grows is turned over: so it is read as it is written. Used as a
    context; leaving it ends the reading.

    Args:
        kube: The cluster.
        environment: The environment.
        services: The services, each of which has a container of its name.
        run: The test's name.
        each: Which requests may be asked for: every so many-th of a worker. The others' ids are not kept; an hour has very many.
    """

    def __init__(self, kube: Kube, environment: str, services: Collection[str], run: str, *, each: int = 1) -> None:
        self._kube, self._environment, self._services = kube, environment, frozenset(services)
        self._ids = re.compile(rb'"request_id": "(' + re.escape(prefix(run).encode()) + rb'[0-9]+-([0-9]+))"')
        self._each = each
        self._found: set[str] = set()
        self._read: dict[str, threading.Thread] = {}
        self._over = threading.Event()
        self._began = time.monotonic()
        self._looking = threading.Thread(target=self._look, name="load-logs", daemon=True)
        self.trouble = ""

    def __enter__(self) -> Finder:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def found(self, ids: Iterable[str], *, timeout: float = FOUND_TIMEOUT) -> int | None:
        """How many of these ids the logs have; waits for those that are still on their way. None when logs cannot be read."""
        wanted, until = frozenset(ids), time.monotonic() + timeout
        while not wanted <= self._found and time.monotonic() < until:
            self._over.wait(0.2)
        seen = len(wanted & self._found)
        if seen < len(wanted):
            seen = len(wanted & (self._found | self._again()))
        return seen if self._read and not (self.trouble and seen < len(wanted)) else None

    def _again(self) -> set[str]:
        """What the logs of the pods that are there now say since the begin, all of it once more."""
        again = set[str]()
        for pod, service in self._pods().items():
            try:
                since = time.monotonic() - self._began
                for line in self._kube.log_lines(pod, namespace=self._environment, container=service, since=since):
                    self._take(line, again)
            except KubeError as error:
                self.trouble = str(error)
        return again

    def _look(self) -> None:
        while not self._over.is_set():
            for pod, service in self._pods().items():
                if pod not in self._read:
                    self._read[pod] = threading.Thread(target=self._follow, args=(pod, service), name=f"log-{pod}", daemon=True)
                    self._read[pod].start()
            self._over.wait(_LOOK)

    def _pods(self) -> Mapping[str, str]:
        try:
            pods = self._kube.list("Pod", namespace=self._environment, labels="app.kubernetes.io/component=service")
        except NOT_YET as error:
            self.trouble = f"the pods of {self._environment} cannot be listed ({type(error).__name__})"
            return {}
        return {pod["metadata"]["name"]: service for pod in pods if (service := self._serves(pod))}

    def _serves(self, pod: Mapping[str, Any]) -> str:
        service = (pod["metadata"].get("labels") or {}).get("app.kubernetes.io/name", "")
        running = (pod.get("status") or {}).get("phase") == "Running"
        return service if running and service in self._services else ""

    def _follow(self, pod: str, service: str) -> None:
        last = self._began
        while not self._over.is_set():
            began = time.monotonic()
            try:
                since = began - last + 1.0
                where = {"namespace": self._environment, "container": service}
                for line in self._kube.log_lines(pod, **where, since=since, follow=True, quiet=_QUIET):
                    self._take(line, self._found)
                    if self._over.is_set():
                        return
            except KubeError:  # it is gone, or the connection broke: which of the two, the next look for pods tells
                if pod not in self._pods():
                    return
            last = began
            self._over.wait(0.5)

    def _take(self, line: bytes, into: set[str]) -> None:
        seen = self._ids.search(line)
        if seen and int(seen[2]) % self._each == 0:
            into.add(seen[1].decode("ascii", "replace"))


def question(run: str) -> str:
    """What PostgreSQL is asked about a test's orders."""
    return f"SELECT count(*) FROM orders WHERE starts_with(request_id, '{prefix(run)}')"  # noqa: S608 only letters, digits, dots, dashes


def order_rows(kube: Kube, environment: str, run: str) -> int | None:
    """How many orders of a test are in the environment's PostgreSQL; None when it cannot be asked.

    A row keeps the id of the request that placed it, and a request keeps its id on its way through the services.
    """
    query = question(run)
    words = ["psql", f"--username={_USER}", f"--dbname={_DATABASE}", "--no-psqlrc", "--tuples-only", "--no-align"]
    try:
        said = kube.execute(
            _POD, [*words, f"--command={query}"], namespace=environment, container=_CONTAINER, timeout=_QUERY_TIMEOUT
        )
        return int(said)
    except (KubeError, ValueError):
        return None


@dataclass(frozen=True)
class Served:
    """Requests from outside that services counted: at least, and at most.

    What services ask each other is counted by both sides, and taken away. Of a question without an answer nobody knows
    whether it came to be counted where it was asked: it makes the difference between the two.
    """

    least: float
    most: float

    def nearest(self, answered: float) -> float:
        """The number in between that fits best to how many were answered, as whoever asked knows."""
        return min(answered, self.most) if self.least < answered else self.least


def served(prometheus: Prometheus, environment: str, begin: float, until: float) -> Served | None:
    """Requests from outside that the services of an environment counted between two moments; None when nobody knows.

    Args:
        prometheus: Whom to ask.
        environment: The environment.
        begin: Seconds since 1970 before which the generator sent nothing, not even what prepares the test.
        until: The same for when every pod had been scraped after the test.
    """

    def grown(selector: str) -> float | None:
        courses = counters.taken(prometheus, selector, begin, until)
        return sum(counters.increase(course, begin) for course in courses) if courses else None

    try:
        counted, sure, unanswered, retries = (grown(selector) for selector in selectors(environment))
    except NoAnswer:
        return None
    sure, unsure = sure or 0.0, (unanswered or 0.0) + (retries or 0.0)
    return None if counted is None else Served(counted - sure - unsure, counted - sure)


def selectors(environment: str) -> tuple[str, ...]:
    """What services counted of requests, and of what they asked each other: with an answer, without one, and once more."""
    here = f'job="services",environment="{environment}"'
    return (
        measuring.requests(environment),
        f'upstream_requests_total{{{here},result=~"[1-5]xx"}}',
        f'upstream_requests_total{{{here},result!~"[1-5]xx"}}',
        f"upstream_retries_total{{{here}}}",
    )


def close(client: Client, *, found: int | None, rows: int | None, served: Served | None) -> Books:
    """The books of a test, from what its client told and what was counted elsewhere."""
    answered, sent = sum(client.answered.values()), sum(client.sent.values())
    return Books(
        journeys_planned=sum(journey.planned for journey in client.journeys),
        journeys_ended=sum(journey.ok + journey.failed for journey in client.journeys),
        sampled=len(client.sampled),
        found=found,
        orders_accepted=client.orders_accepted,
        order_rows=rows,
        requests_sent=sent,
        requests_served=served.nearest(answered) if served else None,
    )
