"""The books of the load: what became of every journey and every request. Parts of them are sent, and added up elsewhere."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from .buckets import Times


class Second:
    """What happened in one second; see `Second` in slipway/load/model/client.py."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.latency, self.lateness = Times(), Times()


class Kind:
    """What became of the requests to one endpoint, of the journeys of one kind, or of the requests on one kind of connection."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.times = Times()


class Ledger:
    """The books of one process, or of several together.

    Attributes:
        seconds: By whole seconds since the plan's begin.
        endpoints: By service, name and journey; counted phases alone.
        journeys: By name.
        streams: By name.
        phases: Requests by the phase that they were due in.
        closed: Requests that a closed client would have sent, from when they were; counted phases alone.
        lateness: Of every journey's start.
        counts: Orders and carts.
        sent: Requests by service, with those that prepared and tidied up.
        answered: Of these, those that were answered.
        sampled: Ids of answered requests.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[int, Second] = defaultdict(Second)
        self.endpoints: defaultdict[tuple[str, str, str], Kind] = defaultdict(Kind)
        self.journeys: defaultdict[str, Kind] = defaultdict(Kind)
        self.streams: defaultdict[str, Kind] = defaultdict(Kind)
        self.phases: defaultdict[str, Kind] = defaultdict(Kind)
        self.closed = Kind()
        self.lateness = Times()
        self.counts: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.sampled: list[str] = []

    def started(self, journey: str, *, due: float, late: float) -> None:
        """A journey that was due at a moment (seconds since the plan's begin) began so many seconds late."""
        second = self.seconds[int(due)]
        second.counts["started"] += 1
        second.lateness.add(late)
        self.lateness.add(late)
        self.journeys[journey].counts["started"] += 1

    def ended(self, journey: str, *, at: float, seconds: float, ok: bool) -> None:
        """A journey came to its end so many seconds after it was due."""
        state = "ok" if ok else "failed"
        self.seconds[int(at)].counts[state] += 1
        self.journeys[journey].counts[state] += 1
        self.journeys[journey].times.add(seconds)

    def broke(self, journey: str, why: str) -> None:
        """A journey came to an answer that it did not know what to do with."""
        self.journeys[journey].errors[why] += 1

    def asked(
        self,
        endpoint: tuple[str, str, str],
        *,
        stream: str,
        at: float,
        seconds: float,
        error: str,
        counted: bool,
        phase: str = "",
        sent: float | None = None,
    ) -> None:
        """A request came to its end so many seconds after it was due; `error` says what was wrong, if anything.

        Args:
            endpoint: Service, name and journey.
            stream: How its connection was made.
            at: Seconds since the plan's begin.
            seconds: How long after it was due.
            error: What was wrong.
            counted: Whether the phase counts in which it was due.
            phase: That phase; empty for none.
            sent: Seconds since it was sent, if a closed client would have sent it.
        """
        second = self.seconds[int(at)]
        second.latency.add(seconds)
        kinds = [self.streams[stream], *([self.phases[phase]] if phase else []), *([self.endpoints[endpoint]] if counted else [])]
        for counts in (second.counts, *(kind.counts for kind in kinds)):
            counts["requests"] += 1
            counts["failures"] += bool(error)
        for kind in kinds:
            kind.times.add(seconds)
            if error:
                kind.errors[error] += 1
        if counted and sent is not None:
            self.closed.counts["requests"] += 1
            self.closed.counts["failures"] += bool(error)
            self.closed.times.add(sent)

    def merge(self, other: Ledger) -> None:
        """Take all of another's in."""
        for index, second in other.seconds.items():
            mine = self.seconds[index]
            mine.counts.update(second.counts)
            mine.latency.merge(second.latency)
            mine.lateness.merge(second.lateness)
        for own, others in ((self.journeys, other.journeys), (self.streams, other.streams), (self.phases, other.phases)):
            for name, kind in others.items():
                _add(own[name], kind)
        _add(self.closed, other.closed)
        for endpoint, kind in other.endpoints.items():
            _add(self.endpoints[endpoint], kind)
        self.lateness.merge(other.lateness)
        for mine, theirs in ((self.counts, other.counts), (self.sent, other.sent), (self.answered, other.answered)):
            mine.update(theirs)
        self.sampled += other.sampled

    def plain(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "seconds": {
                str(index): {"counts": dict(one.counts), "latency": one.latency.plain(), "lateness": one.lateness.plain()}
                for index, one in self.seconds.items()
            },
            "endpoints": [[*endpoint, _plain(kind)] for endpoint, kind in self.endpoints.items()],
            "journeys": {name: _plain(kind) for name, kind in self.journeys.items()},
            "streams": {name: _plain(kind) for name, kind in self.streams.items()},
            "phases": {name: _plain(kind) for name, kind in self.phases.items()},
            "closed": _plain(self.closed),
            "lateness": self.lateness.plain(),
            "counts": dict(self.counts),
            "sent": dict(self.sent),
            "answered": dict(self.answered),
            "sampled": self.sampled,
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Ledger:
        """What `plain` told."""
        made = cls()
        for index, told in plain["seconds"].items():
            second = made.seconds[int(index)]
            second.counts.update(told["counts"])
            second.latency, second.lateness = Times.of(told["latency"]), Times.of(told["lateness"])
        for service, name, journey, told in plain["endpoints"]:
            made.endpoints[service, name, journey] = _kind(told)
        made.journeys.update({name: _kind(told) for name, told in plain["journeys"].items()})
        made.streams.update({name: _kind(told) for name, told in plain["streams"].items()})
        made.phases.update({name: _kind(told) for name, told in plain["phases"].items()})
        made.closed = _kind(plain["closed"])
        made.lateness = Times.of(plain["lateness"])
        for counts, name in ((made.counts, "counts"), (made.sent, "sent"), (made.answered, "answered")):
            counts.update(plain[name])
        made.sampled = list(plain["sampled"])
        return made


def _add(mine: Kind, theirs: Kind) -> None:
    mine.counts.update(theirs.counts)
    mine.errors.update(theirs.errors)
    mine.times.merge(theirs.times)


def _plain(kind: Kind) -> dict[str, Any]:
    return {"counts": dict(kind.counts), "errors": dict(kind.errors), "times": kind.times.plain()}


def _kind(told: Mapping[str, Any]) -> Kind:
    made = Kind()
    made.counts.update(told["counts"])
    made.errors.update(told["errors"])
    made.times = Times.of(told["times"])
    return made
