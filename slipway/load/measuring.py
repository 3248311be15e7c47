"""What Prometheus and the cluster saw of a load test: courses for the eye, and sums of what was scraped for the verdict.

Nothing here is taken for good because nobody looked: a query that answers nothing, a hole between two scrapes and a
Prometheus that was restarted are all told as missing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from slipway.load import counters, sums
from slipway.load.model import Series, Server
from slipway.prometheus import NoAnswer, Prometheus
from slipway.waiting import Clock, Pending, Ready, WaitTimeout, wait_for

# Seconds for one answer: whole courses are more than the board's numbers.
TIMEOUT = 15.0

# What asks the services besides customers: the kubelet, and Prometheus itself.
PROBES = "/healthz|/readyz|/metrics"

# Seconds after the test until every pod was scraped once more, which they are every few seconds; and until the node's account
# of the containers was, which is made every half minute.
SETTLED_TIMEOUT, LIMITED_TIMEOUT = 45.0, 90.0

# Points of a course: more than a picture is wide shows nobody anything.
_POINTS = 400

_THREADS = 4


@dataclass(frozen=True)
class Asked:
    """What is asked for.

    Attributes:
        environment: The environment.
        services: Its services.
        busy: Those that were sent something, of which rates and latencies must be there.
        begin: Seconds since 1970 at which the test began.
        end: The same for its end.
        until: The same for when every pod had been scraped once more, up to which counters are read.
        limits: Cores that a pod of a service may use; None for as much as there is.
        since: Seconds since 1970 at which the first phase that counts began; the test's begin when that is later.
        judged: The same for when the last phase that counts ended: answers are judged up to the next scrape; 0 for the end.
    """

    environment: str
    services: tuple[str, ...]
    busy: frozenset[str]
    begin: float
    end: float
    until: float
    limits: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    since: float = 0.0
    judged: float = 0.0


@dataclass(frozen=True)
class _Query:
    """One course per service.

    Attributes:
        text: What is asked.
        always: Whether a service without requests has it as well.
        whole: Whether it is asked once, at the end, about all of the phases that count.
        own: Whether a service says it of itself, so that one which answers nobody does not.
    """

    name: str
    unit: str
    text: str
    always: bool = True
    whole: bool = False
    own: bool = True


def requests(environment: str, more: str = "") -> str:
    """The counters of requests in an environment, without those of probes."""
    return f'http_requests_total{{job="services",environment="{environment}",route!~"{PROBES}"{more}}}'


def queries(environment: str, window: int, whole: int) -> tuple[_Query, ...]:
    """What is asked of Prometheus over the time of a test.

    Args:
        environment: The environment.
        window: Seconds that a rate is taken over; two scrapes must lie in it.
        whole: Seconds from the first phase that counts to the end of the last.
    """
    here = f'job="services",environment="{environment}"'
    rate = f"sum by (service) (rate({requests(environment)}[{window}s]))"
    failed = requests(environment, ',status=~"5.."')
    buckets = f'http_request_duration_seconds_bucket{{{here},route!~"{PROBES}"}}'
    restarts = f'kube_pod_container_status_restarts_total{{namespace="{environment}"}}'
    return (
        _Query("requests", "1/s", rate, always=False),
        _Query("errors", "1/s", f"sum by (service) (rate({failed}[{window}s])) or 0 * {rate}", always=False),
        *(_Query(f"p{share * 100:g}", "s", _quantile(share, buckets, window), always=False) for share in (0.5, 0.95, 0.99)),
        # Over a few seconds one slow request is a percentile of its own: what is judged is taken of all of them.
        *(
            _Query(f"p{share * 100:g} of all", "s", _quantile(share, buckets, whole), always=False, whole=True)
            for share in (0.95, 0.99)
        ),
        _Query("in flight", "1", f"sum by (service) (http_requests_in_flight{{{here}}})"),
        _Query("cpu", "cores", f"sum by (service) (rate(process_cpu_seconds_total{{{here}}}[{window}s]))"),
        _Query("memory", "B", f"max by (service) (process_resident_memory_bytes{{{here}}})"),
        _Query(
            "memory growth", "B/s", f"max by (service) (deriv(process_resident_memory_bytes{{{here}}}[{whole}s]))", whole=True
        ),
        _Query("restarts", "1", f'sum by (service) (label_replace({restarts}, "service", "$1", "container", "(.+)"))', own=False),
    )


def scrapes(environment: str) -> str:
    """Whether each pod of an environment's services was scraped."""
    return f'up{{job="services",environment="{environment}"}}'


def _quantile(share: float, buckets: str, window: int) -> str:
    return f"histogram_quantile({share:g}, sum by (service, le) (rate({buckets}[{window}s])))"


def settle(
    prometheus: Prometheus, environment: str, after: float, *, limited: Collection[str] = (), clock: Clock | None = None
) -> str:
    """Why Prometheus has not scraped every pod of an environment since a moment, in time; empty when it has.

    Args:
        prometheus: Whom to ask.
        environment: The environment.
        after: Seconds since 1970; the moment of the call when that is later, for tidying up is counted as well.
        limited: Services that may use only so much of the processor: how long they waited for it is told more seldom.
        clock: Another clock, for tests.
    """
    selector = f"timestamp({scrapes(environment)})"
    periods = f'timestamp(container_cpu_cfs_periods_total{{namespace="{environment}"}})'
    now = max(after, time.time())

    def look() -> Ready[None] | Pending:
        try:
            seen, waited = prometheus.query(selector), prometheus.query(periods) if limited else ()
        except NoAnswer as error:
            return Pending(str(error))
        late = sorted({sample.labels.get("service", "?") for sample in seen if sample.value < now})
        # A container that is gone is told of for a while, as it was: the newest one of a service says when all were looked at.
        told = {sample.labels.get("container", "") for sample in waited if sample.value >= after}
        if not seen:
            return Pending(f"it scrapes nothing of {environment}")
        if late:
            return Pending(f"not yet of {', '.join(late)}")
        lacking = sorted(set(limited) - told)
        return Pending(f"not yet of how long {', '.join(lacking)} had to wait") if lacking else Ready(None)

    try:
        timeout = LIMITED_TIMEOUT if limited else SETTLED_TIMEOUT
        wait_for(f"a scrape of every pod of {environment}", look, timeout=timeout, clock=clock)
    except WaitTimeout as error:
        return str(error).splitlines()[0]
    return ""


def measure(prometheus: Prometheus, asked: Asked) -> Server:
    """What Prometheus saw, and what it did not; it raises nothing.

    Args:
        prometheus: Whom to ask, with patience for a long answer.
        asked: What.
    """
    try:
        scraped = counters.taken(prometheus, scrapes(asked.environment), asked.begin, asked.until)
        restarted = prometheus.began() > asked.begin
    except NoAnswer as error:
        return _nothing(asked, str(error))
    gap = counters.gap(scraped)
    window, step = max(10, math.ceil(2 * gap + 1)), max(gap, (asked.until - asked.begin) / _POINTS, 1.0)
    since, until = max(asked.begin, asked.since), min(asked.until, asked.judged + gap if asked.judged else asked.until)
    every = queries(asked.environment, window, max(window, math.ceil(until - since)))
    missing = ["Prometheus itself was restarted while the test ran"] if restarted else []
    looks, down = dict[str, int](), dict[str, float]()
    for service, mine in counters.by_service(scraped, asked.services).items():
        looks[service] = sum(asked.begin <= at <= asked.until for one in mine for at, _ in one.points)
        if where := counters.hole(mine, asked.begin, asked.until, gap):
            missing.append(f"up of {service}: {where}")
        else:
            down[service] = counters.down(mine, asked.begin, asked.until, gap)
    silent = frozenset(service for service, seconds in down.items() if seconds)
    times = {True: (until, until, step), False: (asked.begin, asked.until, step)}
    limits = {service: asked.limits.get(service) for service in asked.services}
    with ThreadPoolExecutor(_THREADS) as pool:
        courses = list(pool.map(lambda one: _course(prometheus, one, asked, times[one.whole], silent), every))
        grown = sums.take(prometheus, asked.environment, limits, asked.begin, asked.until, down=silent)
        courses.append(_answers(prometheus, asked, since, until, silent))
    return Server(
        tuple(series for found, _ in courses for series in found),
        tuple(dict.fromkeys([*missing, *(text for _, lost in courses for text in lost), *grown.lacking])),
        looks,
        down,
        grown.restarts,
        grown.throttled,
        grown.saturated,
    )


def _answers(
    prometheus: Prometheus, asked: Asked, begin: float, until: float, silent: Collection[str]
) -> tuple[list[Series], list[str]]:
    """How many requests there were in the phases that count, and how many were answered with an error."""
    all_of_them, name = requests(asked.environment), "requests of all"
    selectors = {name: all_of_them, "errors of all": requests(asked.environment, ',status=~"5.."')}
    try:
        found = sums.answers(prometheus, selectors, asked.services, begin=begin, until=until)
    except NoAnswer as error:
        return [], [f"{name}: {error}"]
    lost = sorted(asked.busy - set(silent) - {one.service for one in found})
    return list(found), [f"{name} of {service}: nothing answers {all_of_them}" for service in lost]


def _course(
    prometheus: Prometheus, query: _Query, asked: Asked, times: tuple[float, float, float], silent: Collection[str]
) -> tuple[list[Series], list[str]]:
    """The courses of a query by service, and for which services it answers nothing though it should."""
    begin, end, step = times
    try:
        found = {
            series.labels.get("service", ""): series.points
            for series in prometheus.range(query.text, start=begin, end=end, step=step)
        }
    except NoAnswer as error:
        return [], [f"{query.name}: {error}"]
    wanted = [name for name in asked.services if (query.always or name in asked.busy) and not (query.own and name in silent)]
    lost = [f"{query.name} of {service}: nothing answers {query.text}" for service in wanted if not found.get(service)]
    known = [name for name in asked.services if found.get(name)]
    return [Series(query.name, name, query.unit, query.text, found[name]) for name in known], lost


def _nothing(asked: Asked, why: str) -> Server:
    return Server((), (why,), dict.fromkeys(asked.services, 0), {}, {}, {}, {})
