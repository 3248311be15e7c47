"""Sums of what was scraped while a load test ran, by service: unlike a rate, they have what a counter began with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from slipway.load import counters
from slipway.load.model import Series
from slipway.prometheus import NoAnswer, Prometheus
from slipway.prometheus import Series as Course

# What a service can use of the processor when nothing limits it: each is one process with one thread that works.
_ONE_CORE = 1.0


@dataclass(frozen=True)
class Sums:
    """What grew, and what of it could not be had."""

    restarts: Mapping[str, int]
    throttled: Mapping[str, float]
    saturated: Mapping[str, float]
    lacking: Sequence[str]


def counted(environment: str) -> Mapping[str, str]:
    """The counters whose growth is summed up, by what they are called."""
    inside = f'namespace="{environment}"'
    return {
        "restarts": f"kube_pod_container_status_restarts_total{{{inside}}}",
        "periods": f"container_cpu_cfs_periods_total{{{inside}}}",
        "throttling": f"container_cpu_cfs_throttled_periods_total{{{inside}}}",
        "cpu": f'process_cpu_seconds_total{{job="services",environment="{environment}"}}',
    }


def take(
    prometheus: Prometheus,
    environment: str,
    limits: Mapping[str, float | None],
    begin: float,
    until: float,
    *,
    down: Collection[str] = (),
) -> Sums:
    """Restarts, throttling and saturation of every service.

    Args:
        prometheus: Whom to ask.
        environment: The environment.
        limits: Cores that a pod of each service may use; None for as much as there is.
        begin: Seconds since 1970.
        until: The same for the last sample.
        down: Services that did not answer Prometheus: what they would have said of themselves is not lacking.
    """
    restarts, throttled, saturated = dict[str, int](), dict[str, float](), dict[str, float]()
    lacking: list[str] = []

    asked = counted(environment)

    def ask(name: str) -> Mapping[str, Sequence[Course]]:
        try:
            courses = counters.taken(prometheus, asked[name], begin, until)
        except NoAnswer as error:
            lacking.append(f"{name}: {error}")
            return {}
        return counters.by_service(courses, limits)

    counts, periods, waited, used = (ask(name) for name in ("restarts", "periods", "throttling", "cpu"))
    for service, limit in limits.items():
        if courses := counts.get(service):
            restarts[service] = round(_grown(courses, begin))
        else:
            lacking.append(f"restarts of {service}: nothing answers {asked['restarts']}")
        if limit is None:
            throttled[service] = 0.0  # nothing limits it, so nothing makes it wait
        elif all_periods := _grown(periods.get(service, ()), begin):
            throttled[service] = _grown(waited.get(service, ()), begin) / all_periods
        else:
            lacking.append(f"throttling of {service}: nothing answers {asked['periods']}")
        shares = [share for course in used.get(service, ()) for share in counters.shares(course, begin)]
        if shares:
            saturated[service] = max(shares) / min(limit or _ONE_CORE, _ONE_CORE)
        elif service not in down:
            lacking.append(f"cpu of {service}: nothing answers process_cpu_seconds_total")
    return Sums(restarts, throttled, saturated, lacking)


def answers(
    prometheus: Prometheus, selectors: Mapping[str, str], services: Sequence[str], *, begin: float, until: float
) -> Sequence[Series]:
    """How many requests each service answered between two moments, by what was scraped of its counters: one point for each sum.

    Args:
        prometheus: Whom to ask.
        selectors: What is summed up, by the name that the sum gets. The first is of all requests: a service without any of
            them has no sums, and of the others it has nothing where it has none.
        services: The services.
        begin: Seconds since 1970.
        until: The same for the last sample.

    Raises:
        NoAnswer: Prometheus does not answer.
    """
    courses = {
        name: counters.by_service(counters.taken(prometheus, selector, begin, until), services)
        for name, selector in selectors.items()
    }
    first = courses[next(iter(selectors))]
    return [
        Series(name, service, "1", selectors[name], ((until, _grown(mine[service], begin)),))
        for name, mine in courses.items()
        for service in services
        if first[service]
    ]


def _grown(courses: Sequence[Course], begin: float) -> float:
    return sum(counters.increase(course, begin) for course in courses)
