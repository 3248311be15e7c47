"""What the load generator saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Second:
    """One second of the test, all workers together.

    Attributes:
        at: The moment at which it began.
        phase: The plan's phase; "drain" after the last.
        planned: Journeys due in it.
        started: Of those due in it, how many were started, whenever that was.
        ok: Journeys that ended well in it.
        failed: Journeys that ended badly in it.
        requests: Requests that ended in it, well or badly.
        failures: Of these, the failed ones.
        in_flight: Journeys under way at its end.
        p50: Seconds from when a request was due to its end, of those that ended in it.
        p95: The same for 95 of 100.
        p99: The same for 99 of 100.
        late_p99: Seconds that journeys due in it were started late, for 99 of 100 of them.
        late_max: The same for the latest.
    """

    at: float
    phase: str
    planned: int
    started: int
    ok: int
    failed: int
    requests: int
    failures: int
    in_flight: int
    p50: float | None
    p95: float | None
    p99: float | None
    late_p99: float | None
    late_max: float | None


@dataclass(frozen=True)
class Endpoint:
    """What came of the requests of one journey to one endpoint, over the counted phases.

    A request is due when its journey is (the first one) or when the customer has thought (every other one); its latency is
    counted from then, so that whoever makes it wait is charged.

    Attributes:
        service: The service that was asked.
        name: The method and the path's template ("GET /products/{product_id}").
        errors: How often each thing went wrong.
        histogram: Upper bound in seconds and count of every bucket that is not empty, in order; buckets are at most 1 % wide.
    """

    service: str
    name: str
    journey: str
    requests: int
    failures: int
    errors: Mapping[str, int]
    p50: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    maximum: float | None
    histogram: tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class Journey:
    """What came of the journeys of one kind, over all phases: planned = ok + failed + unfinished + those never started.

    Attributes:
        planned: How many were due.
        unfinished: How many had been started and had not ended when the test was over.
        p50: Seconds from the intended start to the end, think times included, of those that ended.
        p95: The same for 95 of 100.
        p99: The same for 99 of 100.
    """

    name: str
    planned: int
    started: int
    ok: int
    failed: int
    unfinished: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Stream:
    """What came of the requests on one kind of connection, over all phases."""

    name: str
    requests: int
    failures: int
    errors: Mapping[str, int]


@dataclass(frozen=True)
class Worker:
    """One process that sent.

    Attributes:
        lost: Whether it was gone before it had told its results.
        cpu_max: The most of one core that it used in a second; None when nobody measured.
        cpu_p95: The same for 95 of 100 seconds, in the worst minute or so of those that count.
        cpu_mean: What it used on average, over all seconds that count.
        late_p99: Seconds that it started journeys late, for 99 of 100 of them, in the worst minute or so likewise.
        late_p50: The same for half of them.
        late_max: The same for the latest of all.
        journeys: How many it started.
        unfinished: How many of them it had to end, by its own count and not by the books; None when it could not tell.
    """

    name: str
    lost: bool
    cpu_max: float | None
    cpu_p95: float | None
    cpu_mean: float | None
    late_p99: float | None
    late_p50: float | None
    late_max: float | None
    journeys: int
    unfinished: int | None


@dataclass(frozen=True)
class Locusts:
    """Locust's own figures: latencies from when a request was sent, rounded as Locust rounds, over all phases."""

    requests: int
    failures: int
    p50: float | None
    p95: float | None
    p99: float | None
    rps: float


@dataclass(frozen=True)
class Stage:
    """What came of the requests that were due in one phase, from when each was due.

    Attributes:
        name: The phase's.
    """

    name: str
    requests: int
    failures: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True)
class Closed:
    """What a closed client would have told of the phases that count: a few users, each of whom waits for its answer.

    The requests that fall due are given to its users in turns. Who still waits for an answer leaves its turn out, as Locust's own
    users and most other load tools do; latencies are from when a request was sent. Slow senders have no part in it.

    Attributes:
        users: How many there are: one for every ten requests a second.
        requests: Those that it would have sent.
        left_out: Those that it would not.
    """

    users: int
    requests: int
    left_out: int
    failures: int
    p50: float | None
    p95: float | None
    p99: float | None
    maximum: float | None


@dataclass(frozen=True)
class Client:
    """What the generator saw.

    Attributes:
        began: The moment of the plan's begin.
        ended: The moment at which the last journey had ended or was given up, and the carts were removed.
        sampled: Ids of requests that were answered, to be looked for in the services' logs.
        orders_accepted: Orders that were acknowledged to this test's customers, each counted once.
        orders_unsure: Orders that were asked for, and nobody knows whether they were accepted (no answer, a 5xx, or
            the customer was ended before).
        sent: Requests that were sent, by service, whichever phase: those that made and removed the test's data too.
        answered: Of these, those that got an answer, whatever it said: the services have counted at least these.
        carts: Carts that the journeys wrote to.
        removed: How much of the test's data was removed afterwards, by kind; None of a kind when it could not be.
        exit_codes: Of the generator's processes, by name.
        said: What the generator said that was no figure: warnings, errors.
        phases: What came of the requests of each phase, in the plan's order; without those in which none was due.
        closed: What a closed client would have told; None when nobody knows.
        stale: Kept connections that the services had closed while nothing was asked on them; others were taken in their place.
    """

    began: float
    ended: float
    seconds: tuple[Second, ...]
    endpoints: tuple[Endpoint, ...]
    journeys: tuple[Journey, ...]
    streams: tuple[Stream, ...]
    workers: tuple[Worker, ...]
    expected_workers: int
    locust: Locusts
    sampled: tuple[str, ...]
    orders_accepted: int
    orders_unsure: int
    sent: Mapping[str, int]
    answered: Mapping[str, int]
    carts: int
    removed: Mapping[str, int | None]
    exit_codes: Mapping[str, int]
    said: tuple[str, ...]
    phases: tuple[Stage, ...] = ()
    closed: Closed | None = None
    stale: int = 0
