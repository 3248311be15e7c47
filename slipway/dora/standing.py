"""Which deployments of an environment still stand, and which were taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ROLLBACK, REVERT = "rollback", "revert"
BACK = (ROLLBACK, REVERT)


@dataclass(frozen=True)
class Event:
    """A deployment, or what took one back.

    Attributes:
        commit: The commit of the GitOps repository.
        time: When it was made, in seconds since 1970.
        kind: What it says of itself; a rollback and a revert take back, everything else is a deployment.
        services: The source commit of each service that it rolled.
        content: What each of them ran then; equal where equal things run.
        ran: When the environment ran it.
        said: Who says so.
    """

    commit: str
    time: int
    kind: str
    services: Mapping[str, str]
    content: Mapping[str, tuple[str, ...]]
    ran: float
    said: str

    @property
    def back(self) -> bool:
        """Whether it is no deployment."""
        return self.kind in BACK

    def shares(self, other: Event) -> bool:
        """Whether both rolled a service."""
        return bool(self.services.keys() & other.services.keys())

    def same(self, other: Event) -> bool:
        """Whether the services that both rolled ran the same after either."""
        both = self.content.keys() & other.content.keys()
        return bool(both) and all(self.content[name] == other.content[name] for name in both)


@dataclass(frozen=True)
class _Gone:
    """A deployment that does not stand any more.

    Attributes:
        by: What took it back.
        seconds: How long it was there until then; None when nobody knows whether it failed.
    """

    event: Event
    by: Event
    seconds: float | None


@dataclass
class _Told:
    """What a history has come to so far, the oldest first; of what is gone, what went first."""

    standing: list[Event] = field(default_factory=list[Event])
    gone: list[_Gone] = field(default_factory=list[_Gone])
    brought: list[tuple[Event, _Gone]] = field(default_factory=list[tuple[Event, _Gone]])

    def take_back(self, event: Event, last: Event | None) -> None:
        """Count what a rollback or a revert took back, and what it brought back; `last` is what its services ran until then."""
        mine = [one for one in self.standing if one.shares(event)]
        here = _newest(mine, event)
        again = _newest([one.event for one in self.gone], event) if here is None else None
        away = mine[-1:] if here is None else mine[here + 1 :]
        if again is not None and (last is None or last.back):
            away = []  # it goes on from a rollback to something newer: nothing that was deployed is taken back
        self.standing = [one for one in self.standing if one not in away]
        if again is not None:
            self._bring(event, [one for one in self.gone[again:] if one.event.shares(event)])
        self.gone += [_Gone(one, event, event.ran - one.time if one is away[-1] else None) for one in reversed(away)]

    def undo(self, event: Event) -> None:
        """Let a rollback count as if it had never come."""
        back = [one for one in self.gone if one.by is event]
        self.gone = [one for one in self.gone if one.by is not event]
        self.standing += [one.event for one in reversed(back)]
        left = [one for by, one in self.brought if by is event]
        self.standing = [one for one in self.standing if one not in [gone.event for gone in left]]
        self.gone += left

    def _bring(self, event: Event, them: Sequence[_Gone]) -> None:
        self.gone = [one for one in self.gone if one not in them]
        self.standing += [one.event for one in reversed(them)]
        self.brought += [(event, one) for one in them]


def _newest(events: Sequence[Event], event: Event) -> int | None:
    """Which one is the last after which the same ran."""
    return next((number for number in reversed(range(len(events))) if events[number].same(event)), None)


def restores(events: Sequence[Event]) -> list[float]:
    """How long each failed deployment was there until it was taken back; one for each step back, however far it went.

    What was taken back as unhealthy counts as if it had never come, a rollback too. And what a later rollback brought back
    has not failed.

    Args:
        events: Everything after which something else ran, the oldest first.
    """
    told = _Told()
    for number, event in enumerate(events):
        last = next((one for one in reversed(events[:number]) if one.shares(event)), None)
        if not event.back:
            told.standing.append(event)
        elif event.kind == REVERT and last and last.kind == ROLLBACK:
            told.undo(last)
        else:
            told.take_back(event, last)
    return [one.seconds for one in told.gone if one.seconds is not None]
