"""What was scraped of counters: how much they grew after a moment, and where nobody looked."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from slipway.prometheus import Prometheus, Series

# Seconds before the test from which samples are read: a scrape of everything that is read lies there, the slowest every 30 s.
BEFORE = 65.0

# Seconds between two scrapes where nothing tells: what the monitoring's chart has for all that is no service.
_USUAL_GAP = 15.0

# How many distances between two scrapes may lie between two of them before something was missed.
_HOLE = 3.0


def taken(prometheus: Prometheus, selector: str, begin: float, end: float) -> Sequence[Series]:
    """The samples of counters from well before a moment, so that what was there before is known, to another.

    Raises:
        NoAnswer: Prometheus does not answer.
    """
    return prometheus.samples(selector, start=begin - BEFORE, end=end)


def increase(course: Series, begin: float) -> float:
    """How much a counter grew after a moment, by what was scraped of it: a counter that begins, or begins anew, began at 0.

    Args:
        course: Its samples; the first ones are of before that moment when it was there already.
        begin: Seconds since 1970.
    """
    grown, last = 0.0, 0.0
    for at, value in course.points:
        if at > begin:
            grown += value - last if value >= last else value
        last = value
    return grown


def shares(course: Series, begin: float) -> Iterable[float]:
    """How much of one core a process used between every two scrapes after a moment."""
    for (earlier, before), (later, after) in pairwise(course.points):
        if later > begin and after >= before and later > earlier:
            yield (after - before) / (later - earlier)


def gap(scraped: Iterable[Series]) -> float:
    """Seconds between two scrapes of one target, as they were."""
    gaps = [later - earlier for course in scraped for (earlier, _), (later, _) in pairwise(course.points)]
    return statistics.median(gaps) if gaps else _USUAL_GAP


def by_service(courses: Iterable[Series], services: Iterable[str]) -> Mapping[str, Sequence[Series]]:
    """The series of each service; what is about a container is its service's."""
    found: dict[str, list[Series]] = {service: [] for service in services}
    for course in courses:
        service = course.labels.get("service") or course.labels.get("container", "")
        if service in found:
            found[service].append(course)
    return found


def hole(courses: Iterable[Series], begin: float, end: float, usual: float) -> str:
    """Where a service was not scraped between two moments for longer than one missed scrape explains; "" for nowhere.

    Args:
        courses: The series `up` of its pods.
        begin: Seconds since 1970.
        end: The same.
        usual: Seconds between two scrapes.
    """
    good = {at for course in courses for at, value in course.points if value == 1}
    edges = [begin, *sorted(at for at in good if begin < at < end), end]
    longest, since = max((later - earlier, earlier) for earlier, later in pairwise(edges))
    if len(edges) == 2 or longest > _HOLE * usual:
        return f"nothing was scraped for {longest:.0f} s, {since - begin:.0f} s after the begin"
    return ""
