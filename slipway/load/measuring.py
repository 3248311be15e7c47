"""What Prometheus and the cluster saw of a load test: courses for the eye, and sums of what was scraped for the verdict.

Nothing here is taken for good because nobody looked: a query that answers nothing, a hole between two scrapes and a
Prometheus that was restarted are all told as missing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from slipway.load import counters
from slipway.load.model import Series, Server
from slipway.prometheus import NoAnswer, Prometheus
from slipway.prometheus import Series as Course
from slipway.waiting import Clock, Pending, Ready, WaitTimeout, wait_for

# Seconds for one answer: whole courses are more than the board's numbers.
TIMEOUT = 15.0

# What asks the services besides customers: the kubelet, and Prometheus itself.
PROBES = "/healthz|/readyz|/metrics"

# Seconds after the test until every pod was scraped once more; they are looked at every few seconds.
SETTLED_TIMEOUT = 45.0

# Points of a course: more than a picture is wide shows nobody anything.
_POINTS = 400

# What a service can use of the processor when nothing limits it: each is one process with one thread that works.
_ONE_CORE = 1.0

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
    """

    environment: str
    services: tuple[str, ...]
    busy: frozenset[str]
    begin: float
    end: float
    until: float
    limits: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    since: float = 0.0


@dataclass(frozen=True)
class _Query:
    """One course per service.

    Attributes:
        text: What is asked.
        always: Whether a service without requests has it as well.
        whole: Whether it is asked once, at the end, about the whole of the test.
    """

    name: str
    unit: str
    text: str
    always: bool = True
    whole: bool = False


def requests(environment: str, more: str = "") -> str:
    """The counters of requests in an environment, without those of probes."""
    return f'http_requests_total{{job="services",environment="{environment}",route!~"{PROBES}"{more}}}'


def queries(environment: str, window: int, whole: int) -> tuple[_Query, ...]:
    """What is asked of Prometheus over the time of a test.

    Args:
        environment: The environment.
        window: Seconds that a rate is taken over; two scrapes must lie in it.
        whole: Seconds from the first phase that counts to the end.
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
        _Query("restarts", "1", f'sum by (service) (label_replace({restarts}, "service", "$1", "container", "(.+)"))'),
    )


def scrapes(environment: str) -> str:
    """Whether each pod of an environment's services was scraped."""
    return f'up{{job="services",environment="{environment}"}}'


def sums(environment: str) -> Mapping[str, str]:
    """Counters whose growth over the test is summed up here, by what they are called."""
    inside = f'namespace="{environment}"'
    return {
        "restarts": f"kube_pod_container_status_restarts_total{{{inside}}}",
        "periods": f"container_cpu_cfs_periods_total{{{inside}}}",
        "throttling": f"container_cpu_cfs_throttled_periods_total{{{inside}}}",
        "cpu": f'process_cpu_seconds_total{{job="services",environment="{environment}"}}',
    }


def _quantile(share: float, buckets: str, window: int) -> str:
    return f"histogram_quantile({share:g}, sum by (service, le) (rate({buckets}[{window}s])))"


def settle(prometheus: Prometheus, environment: str, after: float, *, clock: Clock | None = None) -> str:
    """Why Prometheus has not scraped every pod of an environment since a moment, in time; empty when it has.

    Args:
        prometheus: Whom to ask.
        environment: The environment.
        after: Seconds since 1970; the moment of the call when that is later, for tidying up is counted as well.
        clock: Another clock, for tests.
    """
    selector = f"timestamp({scrapes(environment)})"
    after = max(after, time.time())

    def look() -> Ready[None] | Pending:
        try:
            seen = prometheus.query(selector)
        except NoAnswer as error:
            return Pending(str(error))
        late = sorted({sample.labels.get("service", "?") for sample in seen if sample.value < after})
        if not seen:
            return Pending(f"it scrapes nothing of {environment}")
        return Pending(f"not yet of {', '.join(late)}") if late else Ready(None)

    try:
        wait_for(f"a scrape of every pod of {environment}", look, timeout=SETTLED_TIMEOUT, clock=clock)
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
    every = queries(asked.environment, window, max(window, math.ceil(asked.until - max(asked.begin, asked.since))))
    with ThreadPoolExecutor(_THREADS) as pool:
        courses = list(pool.map(lambda one: _course(prometheus, one, asked, step), every))
        raw = pool.submit(_sums, prometheus, asked)
    restarts, throttled, saturated, lacking = raw.result()
    missing = [text for _, lost in courses for text in lost] + lacking
    if restarted:
        missing.append("Prometheus itself was restarted while the test ran")
    counted = dict[str, int]()
    for service, mine in counters.by_service(scraped, asked.services).items():
        counted[service] = sum(asked.begin <= at <= asked.until and value == 1 for one in mine for at, value in one.points)
        if where := counters.hole(mine, asked.begin, asked.until, gap):
            missing.append(f"up of {service}: {where}")
    return Server(
        tuple(series for found, _ in courses for series in found),
        tuple(dict.fromkeys(missing)),
        counted,
        restarts,
        throttled,
        saturated,
    )


def _course(prometheus: Prometheus, query: _Query, asked: Asked, step: float) -> tuple[list[Series], list[str]]:
    """The courses of a query by service, and for which services it answers nothing though it should."""
    begin = asked.until if query.whole else asked.begin
    try:
        found = {
            series.labels.get("service", ""): series.points
            for series in prometheus.range(query.text, start=begin, end=asked.until, step=step)
        }
    except NoAnswer as error:
        return [], [f"{query.name}: {error}"]
    wanted = asked.services if query.always else [name for name in asked.services if name in asked.busy]
    lost = [f"{query.name} of {service}: nothing answers {query.text}" for service in wanted if not found.get(service)]
    known = [name for name in asked.services if found.get(name)]
    return [Series(query.name, name, query.unit, query.text, found[name]) for name in known], lost


def _sums(prometheus: Prometheus, asked: Asked) -> tuple[Mapping[str, int], Mapping[str, float], Mapping[str, float], list[str]]:
    """Restarts, throttling and saturation by service, and what of it could not be had."""
    restarts, throttled, saturated = dict[str, int](), dict[str, float](), dict[str, float]()
    lacking: list[str] = []

    selectors = sums(asked.environment)

    def ask(name: str) -> Mapping[str, Sequence[Course]]:
        try:
            courses = counters.taken(prometheus, selectors[name], asked.begin, asked.until)
        except NoAnswer as error:
            lacking.append(f"{name}: {error}")
            return {}
        return counters.by_service(courses, asked.services)

    def grown(courses: Sequence[Course]) -> float:
        return sum(counters.increase(course, asked.begin) for course in courses)

    counts, periods, waited, used = (ask(name) for name in ("restarts", "periods", "throttling", "cpu"))
    for service in asked.services:
        if courses := counts.get(service):
            restarts[service] = round(grown(courses))
        else:
            lacking.append(f"restarts of {service}: nothing answers {selectors['restarts']}")
        limit = asked.limits.get(service)
        if limit is None:
            throttled[service] = 0.0  # nothing limits it, so nothing makes it wait
        elif all_periods := grown(periods.get(service, ())):
            throttled[service] = grown(waited.get(service, ())) / all_periods
        else:
            lacking.append(f"throttling of {service}: nothing answers {selectors['periods']}")
        shares = [share for course in used.get(service, ()) for share in counters.shares(course, asked.begin)]
        if shares:
            saturated[service] = max(shares) / min(limit or _ONE_CORE, _ONE_CORE)
        else:
            lacking.append(f"cpu of {service}: nothing answers process_cpu_seconds_total")
    return restarts, throttled, saturated, lacking


def _nothing(asked: Asked, why: str) -> Server:
    return Server((), (why,), dict.fromkeys(asked.services, 0), {}, {}, {})
