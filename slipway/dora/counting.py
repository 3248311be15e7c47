"""The four metrics of environments and services, counted from their histories."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from slipway.dora.standing import Event, restores
from slipway.gitops import CHART, Record
from slipway.history import Change

# Who says when an environment ran a commit: the run that waited for it, Argo CD, or for want of both the commit itself.
RUN, CLUSTER, GIT = "run", "cluster", "git"

_DAY = 86400


@dataclass(frozen=True)
class Sample:
    """Seconds that something took: the median and the longest of so many; None when there is none."""

    median: float | None
    longest: float | None
    samples: int


@dataclass(frozen=True)
class Row:
    """The four metrics of one service in one environment, or of all of them.

    Attributes:
        service: The service; empty for the environment as a whole.
        deployments: How many there were.
        watched: Seconds since the environment began.
        per_day: Deployments a day; None when there was none, or when it was not watched for a day yet.
        lead: From the commit of the application until the environment ran it.
        failed: How many deployments were taken back.
        failure_rate: The share of them; None when there was no deployment.
        restore: From the commit of a failed deployment until the environment ran again what it ran before.
    """

    environment: str
    service: str
    deployments: int
    watched: float
    per_day: float | None
    lead: Sample
    failed: int
    failure_rate: float | None
    restore: Sample


@dataclass(frozen=True)
class Report:
    """The four metrics.

    Attributes:
        rows: Each environment, then each of its services.
        sources: How many times who said when an environment ran a commit.
    """

    rows: tuple[Row, ...]
    sources: Mapping[str, int]


def measure(
    told: Mapping[str, Sequence[Change]],
    committed: Callable[[str], int | None],
    when: Callable[[Change], tuple[float, str]],
    *,
    now: float,
) -> Report:
    """The four metrics.

    Args:
        told: The history of each environment, the newest first.
        committed: When a commit of the application was made; None when nobody knows.
        when: When an environment ran a commit, and who says so.
        now: The time.
    """
    rows: list[Row] = []
    said: list[str] = []
    for environment, changes in told.items():
        events = _events(changes, when)
        said += [event.said for event in events]
        records = [step.after for change in changes for step in change.steps if step.after]
        services = sorted({record.service for record in records if record.chart == CHART})
        watched = now - changes[-1].time if changes else 0.0
        rows += [_row(environment, name, watched, events, committed) for name in ("", *services)]
    return Report(tuple(rows), {name: said.count(name) for name in (RUN, CLUSTER, GIT)})


def _events(changes: Sequence[Change], when: Callable[[Change], tuple[float, str]]) -> list[Event]:
    """Everything after which something else ran, the oldest first."""
    events: list[Event] = []
    for change in reversed(changes):
        rolled = [step.after for step in change.rolled if step.after]
        if rolled and change.kind != "genesis":
            services = {record.service: record.source_commit for record in rolled}
            content = {record.service: _content(record) for record in rolled}
            events.append(Event(change.commit, change.time, change.kind, services, content, *when(change)))
    return events


def _content(record: Record) -> tuple[str, ...]:
    """What makes a service run anew when it changes."""
    return record.digest, record.chart, record.chart_version, record.config


def _row(environment: str, service: str, watched: float, events: Sequence[Event], committed: Callable[[str], int | None]) -> Row:
    mine = [event for event in events if not service or service in event.services]
    made, taken = [event for event in mine if not event.back], restores(mine)
    leads: list[float] = []
    for event in made:
        sources = {event.services[service]} if service else set(event.services.values())
        leads += [max(0.0, event.ran - moment) for source in sorted(sources) if (moment := committed(source)) is not None]
    return Row(
        environment,
        service,
        deployments=len(made),
        watched=round(watched),
        per_day=round(len(made) / (watched / _DAY), 2) if made and watched >= _DAY else None,
        lead=_sample(leads),
        failed=len(taken),
        failure_rate=round(len(taken) / len(made), 3) if made else None,
        restore=_sample(taken),
    )


def _sample(seconds: Sequence[float]) -> Sample:
    if not seconds:
        return Sample(None, None, 0)
    return Sample(round(statistics.median(seconds), 1), round(max(seconds), 1), len(seconds))
