"""Where every number of a load test's report is from: a part of the run's file, and who counted it by which question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slipway.load import books, measuring, sums
from slipway.load.model import Run

_GENERATOR, _PROMETHEUS, _CLUSTER = "the generator's books", "Prometheus", "the cluster"


@dataclass(frozen=True)
class Source:
    """Where some numbers are from.

    Attributes:
        what: Which numbers, as the page calls them.
        who: Who counted.
        asked: A part of the run's file, or what was asked, word for word.
    """

    what: str
    who: str
    asked: tuple[str, ...]


def sources(run: Run) -> Sequence[Source]:
    """The sources of a report's numbers."""
    environment = run.target.environment
    counted = sums.counted(environment)
    courses: dict[str, list[str]] = {}
    for one in run.server.series:
        queries = courses.setdefault(one.name, [])
        if one.query not in queries:
            queries.append(one.query)
    return (
        Source("journeys", _GENERATOR, ("client.journeys[]",)),
        Source("requests, failures and percentiles of endpoints, how long requests took", _GENERATOR, ("client.endpoints[]",)),
        Source("timeline: latency, planned, ended well, requests, failed", _GENERATOR, ("client.seconds[]",)),
        Source("phases", _GENERATOR, ("client.phases[]", "client.seconds[].planned")),
        Source("what a closed client would have told", _GENERATOR, ("client.closed",)),
        Source("Locust, all phases", "Locust's own statistics", ("client.locust",)),
        Source("connections", _GENERATOR, ("client.streams[]", "client.stale")),
        Source("workers", _GENERATOR, ("client.workers[]",)),
        Source("images, pods, rollouts", _CLUSTER, ("pods.before", "pods.after", "status.containerStatuses of the pods")),
        Source("pods that came and went", _PROMETHEUS, (measuring.scrapes(environment),)),
        Source("what changed meanwhile", "the command that did it", ("change",)),
        *(Source(f"course: {name}", _PROMETHEUS, tuple(queries)) for name, queries in courses.items()),
        Source("scrapes", _PROMETHEUS, (measuring.scrapes(environment),)),
        Source("restarts", _PROMETHEUS, (f"increase of {counted['restarts']}",)),
        Source("throttled", _PROMETHEUS, (f"increase of {counted['throttling']}", f"by that of {counted['periods']}")),
        Source("saturated", _PROMETHEUS, (f"the most between two scrapes of {counted['cpu']}",)),
        Source("requests served", _PROMETHEUS, tuple(f"increase of {one}" for one in books.selectors(environment))),
        Source("request ids in the logs", f"the logs of the services in {environment}", ("field request_id",)),
        Source("rows in PostgreSQL", "PostgreSQL", (books.question(run.id),)),
    )
