"""What the services of an instance do, by Prometheus: requests, errors, latency, accepted orders and alerts."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from slipway import names
from slipway.prometheus import Alert, Alertmanager, NoAnswer, Prometheus, Sample, Series, matches

# Environment and service.
Key = tuple[str, str]

# The rules that charts/monitoring records, and what stands behind them.
RATE = "environment_service:http_requests:rate2m"
ERRORS = "environment_service:http_errors:ratio_rate2m"
P95 = "environment_service:http_request_duration_seconds:p95_2m"
_RECORDED = f'{{__name__=~"{RATE}|{ERRORS}|{P95}"}}'
_REQUESTS = 'http_requests_total{route!~"/healthz|/readyz|/metrics"}'
# A rate needs two samples: of a counter that is younger than its window, and did not grow since, it sees nothing.
_BEGUN = f"sum by (environment, service) ({_REQUESTS} unless {_REQUESTS} offset 2m) > 0"
_READ = 'max by (environment, service) (up{job="services", environment!=""})'
_ORDERS = "60 * sum by (environment) (rate(orders_accepted_total[2m]))"

# Seconds that the history of the rate covers, and between its points.
HISTORY, STEP = 900, 30


@dataclass(frozen=True)
class Traffic:
    """What one service does in one environment, over the last two minutes.

    Attributes:
        rate: Requests per second; None when there is no such number.
        errors: The share of them that failed, 0 to 1; None without requests.
        p95: Seconds that the slowest twentieth took at least; None without requests.
        read: Whether Prometheus reads its metrics now; without that a missing number says nothing.
        begun: There were first requests, too few for a rate.
        history: Requests per second over the last quarter of an hour, oldest first; None where there is no number.
    """

    rate: float | None = None
    errors: float | None = None
    p95: float | None = None
    read: bool = False
    begun: bool = False
    history: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What Prometheus and Alertmanager say.

    Attributes:
        traffic: By environment and service; one that nobody measures is not in it.
        orders: Accepted orders per minute, by environment.
        alerts: Those that fire, the worst and then the oldest first.
        trouble: Why there are no numbers and no alerts; else empty.
        unheard: Why alerts reach nobody; else empty.
        link: Where a browser sees an expression.
        told: Where a browser sees an alert of a name.
    """

    traffic: Mapping[Key, Traffic] = field(default_factory=dict[Key, Traffic])
    orders: Mapping[str, float] = field(default_factory=dict[str, float])
    alerts: tuple[Alert, ...] = ()
    trouble: str = ""
    unheard: str = ""
    link: Callable[[str], str] = field(default=lambda _: "", repr=False, compare=False)
    told: Callable[[str], str] = field(default=lambda _: "", repr=False, compare=False)


def measure(prometheus: Prometheus, alertmanager: Alertmanager, *, pages: bool, now: float | None = None) -> Measured:
    """What they say now; what does not answer is named, never guessed.

    Args:
        prometheus: Whom to ask for numbers and alerts.
        alertmanager: Whom to ask for silences.
        pages: Whether this Prometheus has pages for people.
        now: Seconds since 1970 at which the history ends.
    """
    # Points at round times: they stay where they are from look to look.
    end = (time.time() if now is None else now) // STEP * STEP
    with ThreadPoolExecutor(7) as pool:
        recorded = pool.submit(prometheus.query, _RECORDED)
        begun = pool.submit(prometheus.query, _BEGUN)
        read = pool.submit(prometheus.query, _READ)
        orders = pool.submit(prometheus.query, _ORDERS)
        history = pool.submit(prometheus.range, RATE, start=end - HISTORY, end=end, step=STEP)
        firing = pool.submit(prometheus.alerts)
        silenced = pool.submit(alertmanager.silenced)
    unheard = ""
    try:
        quiet = silenced.result()
    except NoAnswer as error:
        quiet, unheard = (), str(error)
    try:
        numbers = {
            rule: {_key(s): s.value for s in recorded.result() if s.labels["__name__"] == rule} for rule in (RATE, ERRORS, P95)
        }
        times = [end - HISTORY + STEP * index for index in range(HISTORY // STEP + 1)]
        courses = {_key(series): dict(series.points) for series in history.result()}
        known = {_key(sample): sample.value == 1 for sample in read.result()}
        fresh = {_key(sample) for sample in begun.result()}
        traffic = {
            key: Traffic(
                rate=numbers[RATE].get(key),
                errors=numbers[ERRORS].get(key),
                p95=numbers[P95].get(key),
                read=known.get(key, False),
                begun=key in fresh,
                history=tuple(courses[key].get(at) for at in times) if key in courses else (),
            )
            for key in {*known, *numbers[RATE]}
        }
        alerts = [dataclasses.replace(alert, silenced=matches(alert, quiet)) for alert in firing.result() if not _at_work(alert)]
        alerts.sort(key=lambda alert: (alert.silenced, alert.severity != "critical", alert.since, alert.name))
        return Measured(
            traffic,
            {sample.labels.get("environment", ""): sample.value for sample in orders.result()},
            tuple(alerts),
            unheard=unheard,
            link=lambda expression: prometheus.link(expression, pages=pages),
            told=alertmanager.link,
        )
    except NoAnswer as error:
        return Measured(trouble=str(error), unheard=unheard)


def _at_work(alert: Alert) -> bool:
    """Whether an alert is about somebody's work under way; Alertmanager is not told of it either."""
    return names.LOCAL in (alert.labels.get("namespace"), alert.labels.get("environment"))


def _key(of: Sample | Series) -> Key:
    return of.labels.get("environment", ""), of.labels.get("service", "")


def place(alert: Alert, known: Collection[Key]) -> Key:
    """Environment and service that an alert is about, each empty when it is about none of those known.

    Args:
        alert: It may name a service, an application of Argo CD, or a pod.
        known: Every environment and service there is.
    """
    named = (alert.labels.get(label, "") for label in ("environment", "dest_namespace", "namespace"))
    environments = {environment for environment, _ in known}
    environment = next((name for name in named if name in environments), "")
    own = [service for where, service in known if where == environment]
    if alert.labels.get("service") in own:
        return environment, alert.labels["service"]
    application = alert.labels.get("name", "")
    for where, service in known:
        if application == f"{service}-{where}":
            return where, service
    pod = alert.labels.get("pod", "")
    return environment, max((service for service in own if pod.startswith(f"{service}-")), key=len, default="")
