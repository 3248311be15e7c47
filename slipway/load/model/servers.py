"""What Prometheus and the cluster saw, and what has to be the same when it is counted twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Series:
    """One measured thing over time.

    Attributes:
        unit: Of the values ("s", "1/s", "1", "B").
        query: What was asked for it, word for word.
        points: Moment and value; a gap is a moment that is not there.
    """

    name: str
    service: str
    unit: str
    query: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Server:
    """What Prometheus saw.

    Attributes:
        missing: Queries that answered nothing.
        scrapes: Samples of `up`, by service, while the test ran: how often Prometheus looked, whether it was answered or not.
        down: The longest, in seconds, that no pod of a service answered it though it looked; 0 for less than a missed scrape.
        restarts: How many containers were restarted meanwhile, by service.
        throttled: Share of the scheduler's periods in which a container had to wait for its limit, by service.
        saturated: The most of its limit of processor time that any pod used, by service; 1 is all of it.
    """

    series: tuple[Series, ...]
    missing: tuple[str, ...]
    scrapes: Mapping[str, int]
    down: Mapping[str, float]
    restarts: Mapping[str, int]
    throttled: Mapping[str, float]
    saturated: Mapping[str, float]


@dataclass(frozen=True)
class Pod:
    """A pod of a service, at one look."""

    service: str
    name: str
    digest: str
    restarts: int
    started: str


@dataclass(frozen=True)
class Rollout:
    """Something that changed what runs while the test ran.

    Attributes:
        time: When, in seconds since 1970.
        service: Of which service.
        what: What happened, in words.
        pod: To which pod; empty for one that nobody can name.
    """

    time: float
    service: str
    what: str
    pod: str = ""


@dataclass(frozen=True)
class Pods:
    """What ran, before the test and after it.

    Attributes:
        limits: Cores that a pod of each service may use; None where nothing limits it.
    """

    before: tuple[Pod, ...]
    after: tuple[Pod, ...]
    rollouts: tuple[Rollout, ...]
    limits: Mapping[str, float | None] = field(default_factory=dict[str, "float | None"])


@dataclass(frozen=True)
class Books:
    """What has to be the same, counted twice; None is what could not be counted.

    Attributes:
        sampled: Request ids that were looked for in the services' logs.
        found: Of these, how many were found.
        order_rows: Orders of this test in the database.
        requests_sent: Requests that the generator sent to services, whichever phase.
        requests_served: Requests that the services counted meanwhile, without those of probes and Prometheus.
    """

    journeys_planned: int
    journeys_ended: int
    sampled: int
    found: int | None
    orders_accepted: int
    order_rows: int | None
    requests_sent: int
    requests_served: float | None
