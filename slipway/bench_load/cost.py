"""What the measuring itself costs a machine: the processor time of those that look, while a test runs and before it."""

from __future__ import annotations

from dataclasses import dataclass

from slipway.prometheus import Prometheus

# Who looks, by the name of Prometheus's job: itself, and the kubelet, which reads the services' logs for whoever follows them.
JOBS = {"Prometheus": "prometheus", "the kubelet (with the logs)": "kubelet"}

# The command that follows the logs and reads the generator's lines, by its own clock.
COMMAND = "the command (follows the logs)"

# Seconds before a test that are compared with it: the slowest of these jobs is scraped every 30.
BEFORE = 90.0


@dataclass(frozen=True)
class Used:
    """Cores that somebody used; None when there were not two scrapes to know it by.

    Attributes:
        source: What was asked.
    """

    who: str
    before: float | None
    during: float | None
    source: str


def used(prometheus: Prometheus, begin: float, end: float) -> tuple[Used, ...]:
    """What those that look used between two moments (seconds since 1970), and before.

    Raises:
        NoAnswer: Prometheus does not answer.
    """
    return tuple(_used(prometheus, who, job, begin, end) for who, job in JOBS.items())


def _used(prometheus: Prometheus, who: str, job: str, begin: float, end: float) -> Used:
    selector = f'process_cpu_seconds_total{{job="{job}"}}'
    before = share(prometheus, selector, begin - BEFORE, begin)
    return Used(who, before, share(prometheus, selector, begin, end), selector)


def share(prometheus: Prometheus, selector: str, begin: float, end: float) -> float | None:
    """Cores that all processes of a selector used between the first and the last scrape within two moments."""
    found: list[float] = []
    for course in prometheus.samples(selector, start=begin, end=end):
        if len(course.points) < 2:
            continue
        (first, had), (last, has) = course.points[0], course.points[-1]
        if has >= had:
            found.append((has - had) / (last - first))
    return round(sum(found), 3) if found else None
