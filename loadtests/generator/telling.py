"""What the master tells of its books at the end, in the words of slipway/load/model/client.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .arrivals import Phase, phase_at
from .buckets import Times
from .ledger import Kind, Ledger

# Seconds that count of which a worker is judged at a time, or a little more or less: over a whole test, a bad half minute at the
# end of ten would be lost among the good ones.
WINDOW = 60


@dataclass
class Seen:
    """What the master knows of a worker."""

    index: int
    heard: float
    sequence: int = 0
    lost: bool = False
    ended: bool = False
    unfinished: int | None = None
    removed: int = 0
    carts: int = 0
    ready: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    cpu: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    under_way: dict[int, int] = field(default_factory=dict[int, int])


def windows(phases: Sequence[Phase]) -> list[list[int]]:
    """The seconds that count, in parts of which each is judged by itself."""
    seconds = range(int(sum(phase.seconds for phase in phases)))
    counted = [index for index in seconds if (phase := phase_at(phases, index + 0.5)) and phase.counted]
    number = max(1, round(len(counted) / WINDOW))
    return [counted[len(counted) * part // number : len(counted) * (part + 1) // number] for part in range(number)]


def endpoint(service: str, name: str, journey: str, kind: Kind) -> dict[str, Any]:
    """What came of the requests of one kind of journey to an endpoint."""
    times = kind.times
    more = {"p999": times.within(0.999), "maximum": times.most, "histogram": times.histogram}
    return {"service": service, "name": name, "journey": journey, **outcome(kind), **_percentiles(times), **more}


def journey(name: str, planned: int, kind: Kind) -> dict[str, Any]:
    """What came of the journeys of one kind."""
    states = {state: kind.counts[state] for state in ("started", "ok", "failed")}
    unfinished = states["started"] - states["ok"] - states["failed"]
    return {"name": name, "planned": planned, **states, "unfinished": unfinished, **_percentiles(kind.times)}


def worker(seen: Seen, parts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What is known of a worker; of the shares of the seconds that count, those of their worst part."""
    busy = [_share([share for second, share in seen.cpu if second in part], 0.95) for part in map(frozenset, parts)]
    counted = frozenset(second for part in parts for second in part)
    used = [share for second, share in seen.cpu if second in counted]
    lateness = [_lateness(seen, part) for part in parts]
    return {
        "name": f"worker-{seen.index}",
        "lost": seen.lost,
        "cpu_max": max((share for _, share in seen.cpu), default=None),
        "cpu_p95": None if None in busy else max(share for share in busy if share is not None),
        "cpu_mean": sum(used) / len(used) if used else None,
        "late_p99": _worst(lateness, 0.99),
        "late_p50": _worst(lateness, 0.5),
        "late_max": seen.ledger.lateness.most,
        "journeys": seen.ledger.lateness.total,
        "unfinished": None if seen.lost else seen.unfinished,
    }


def _worst(parts: Sequence[Times], share: float) -> float | None:
    return max((value for part in parts if (value := part.within(share)) is not None), default=None)


def _lateness(seen: Seen, part: Iterable[int]) -> Times:
    whole = Times()
    for second in part:
        if second in seen.ledger.seconds:
            whole.merge(seen.ledger.seconds[second].lateness)
    return whole


def turned_away(merged: Ledger) -> list[str]:
    """That customers were not let in, if any."""
    number = merged.counts["turned_away"]
    return [f"{number} journeys were turned away: too many were under way"] if number else []


def broken(merged: Ledger) -> list[str]:
    """Journeys that came to an answer in which nobody could find what has to be there, by what was wrong with it."""
    seen = [(name, why, count) for name, kind in sorted(merged.journeys.items()) for why, count in sorted(kind.errors.items())]
    return [f"{count} journeys ({name}) broke on an answer: {why}" for name, why, count in seen]


def outcome(kind: Kind) -> dict[str, Any]:
    """How many requests there were, how many failed, and what of."""
    return {**{name: kind.counts[name] for name in ("requests", "failures")}, "errors": dict(kind.errors)}


def _percentiles(times: Times) -> dict[str, float | None]:
    return {"p50": times.within(0.5), "p95": times.within(0.95), "p99": times.within(0.99)}


def _share(values: list[float], share: float) -> float | None:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
