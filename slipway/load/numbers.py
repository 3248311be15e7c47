"""The numbers of a run that are compared with those of others."""

from __future__ import annotations

from collections.abc import Iterable

from slipway.load.evidence import merged, ratio, within
from slipway.load.model import Run
from slipway.load.statistics import Metric

_HISTOGRAMS = "client.endpoints[].histogram, {}, from when each request was due"
_ALL = "all services"

_FAILED, _PROCESSOR = "failed requests", "processor time"


def metrics(services: Iterable[str]) -> tuple[Metric, ...]:
    """What is compared of runs against some services. The fewer numbers decide, the fewer runs tell; the others stand aside.

    Each service's middle decides: it hardly moves from run to run, and what is seldom asked would not be seen in one of all.
    """
    names = sorted(services)
    return (
        *(Metric(f"p50 of {name}", "s", _HISTOGRAMS.format(name), service=name) for name in names),
        Metric("p95", "s", _HISTOGRAMS.format(_ALL)),
        Metric(_FAILED, "share", "client.endpoints[].failures by .requests"),
        Metric("p50", "s", _HISTOGRAMS.format(_ALL), headline=False),
        Metric("p99", "s", _HISTOGRAMS.format(_ALL), headline=False),
        *(Metric(f"p95 of {name}", "s", _HISTOGRAMS.format(name), headline=False, service=name) for name in names),
        Metric(_PROCESSOR, "cores", "the mean of the courses named cpu, of all services together", headline=False),
    )


def seen(metric: Metric, run: Run) -> float | None:
    """A number of a run; None when it was not measured."""
    endpoints = [one for one in run.client.endpoints if metric.service in ("", one.service)]
    if metric.name == _FAILED:
        return ratio(sum(one.failures for one in endpoints), sum(one.requests for one in endpoints))
    if metric.name == _PROCESSOR:
        courses = [one.points for one in run.server.series if one.name == "cpu" and one.points]
        return sum(sum(value for _, value in points) / len(points) for points in courses) if courses else None
    return within(merged(endpoints), int(metric.name.partition(" ")[0][1:]) / 100)
