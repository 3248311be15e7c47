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
    """Where nobody looked at a service between two moments for longer than one missed scrape explains; "" for nowhere.

    A look that was not answered is one: what a service does not answer is its own fault.

    Args:
        courses: The series `up` of its pods.
        begin: Seconds since 1970.
        end: The same.
        usual: Seconds between two scrapes.
    """
    looks = {at for course in courses for at, _ in course.points}
    longest, since = _longest(looks, begin, end)
    if not any(begin < at < end for at in looks) or longest > _HOLE * usual:
        return f"nothing was scraped for {longest:.0f} s, {since - begin:.0f} s after the begin"
    return ""


def down(courses: Iterable[Series], begin: float, end: float, usual: float) -> float:
    """The longest, in seconds, that no pod of a service answered a scrape; 0 for what missed scrapes explain.

    Args:
        courses: The series `up` of its pods, between which there is no hole.
        begin: Seconds since 1970.
        end: The same.
        usual: Seconds between two scrapes.
    """
    longest, _ = _longest({at for course in courses for at, value in course.points if value == 1}, begin, end)
    return longest if longest > _HOLE * usual else 0.0


def _longest(moments: Iterable[float], begin: float, end: float) -> tuple[float, float]:
    """The longest time between two of some moments, or the begin or the end; and since when."""
    edges = [begin, *sorted(at for at in moments if begin < at < end), end]
    return max((later - earlier, earlier) for earlier, later in pairwise(edges))
