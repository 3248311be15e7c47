"""When which customer comes: drawn once from a seed, the same in every process that draws it.

Arrivals are a Poisson process whose rate follows the plan's phases. Each is due at its moment whatever became of those
before it, so that a server that stalls is charged for everybody who came meanwhile.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

DRAIN = "drain"


@dataclass(frozen=True)
class Phase:
    """A part of the plan, in which the rate goes evenly from one value to another."""

    name: str
    seconds: float
    begin_rate: float
    end_rate: float
    counted: bool

    @property
    def journeys(self) -> float:
        """How many arrive in it, on average."""
        return self.seconds * (self.begin_rate + self.end_rate) / 2


@dataclass(frozen=True)
class Arrival:
    """One customer.

    Attributes:
        number: Its place in the whole schedule, from 0.
        due: Seconds since the plan's begin.
        journey: What it comes for.
        stream: How its connections are made.
    """

    number: int
    due: float
    journey: str
    stream: str


def schedule(
    phases: Sequence[Phase], weights: Mapping[str, float], streams: Mapping[str, float], *, seed: int
) -> Iterator[Arrival]:
    """Every arrival of the plan, in order.

    Args:
        phases: The plan's.
        weights: How often each journey is chosen, relative to the others.
        streams: How often each kind of connection is, likewise.
        seed: What all of it follows from.
    """
    # One generator for each decision: another weight leaves the moments as they are.
    moments, kinds, ways = (random.Random(f"{seed}/{name}") for name in ("moments", "journeys", "streams"))  # noqa: S311
    choose, pick = _chooser(weights), _chooser(streams)
    for number, due in enumerate(_moments(phases, moments)):
        yield Arrival(number, due, choose(kinds), pick(ways))


def share(arrivals: Iterator[Arrival], *, index: int, workers: int) -> Iterator[Arrival]:
    """The arrivals that one of several workers takes care of."""
    return (arrival for arrival in arrivals if arrival.number % workers == index)


def phase_at(phases: Sequence[Phase], moment: float) -> Phase | None:
    """The phase that a moment (seconds since the plan's begin) lies in; None before the first and after the last."""
    if moment < 0:
        return None
    end = 0.0
    for phase in phases:
        end += phase.seconds
        if moment < end:
            return phase
    return None


def _moments(phases: Sequence[Phase], drawn: random.Random) -> Iterator[float]:
    # In time that runs as fast as customers come, arrivals are a Poisson process of rate one.
    position, begin, passed = drawn.expovariate(1.0), 0.0, 0.0
    for phase in phases:
        while position < passed + phase.journeys:
            yield begin + _within(phase, position - passed)
            position += drawn.expovariate(1.0)
        begin, passed = begin + phase.seconds, passed + phase.journeys


def _within(phase: Phase, journeys: float) -> float:
    """Seconds since the phase's begin after which so many have come, on average."""
    slope = (phase.end_rate - phase.begin_rate) / phase.seconds
    if abs(slope) < 1e-12:
        return journeys / phase.begin_rate
    # rate*t + slope*t*t/2 = journeys, in the form that loses no digits near a rate of nothing
    root = math.sqrt(max(0.0, phase.begin_rate * phase.begin_rate + 2 * slope * journeys))
    return min(phase.seconds, 2 * journeys / (phase.begin_rate + root))


class _chooser:
    def __init__(self, weights: Mapping[str, float]) -> None:
        self._names = sorted(name for name, weight in weights.items() if weight > 0)
        self._sums = list(accumulate(weights[name] for name in self._names))

    def __call__(self, drawn: random.Random) -> str:
        return drawn.choices(self._names, cum_weights=self._sums)[0]
