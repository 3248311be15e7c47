"""Times in buckets of which each is one percent wider than the one before: small, exact to a percent, and easily added up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

# Seconds. What is shorter counts as this.
SMALLEST = 1e-5

# A value is told as its bucket's upper bound, which is at most one percent too much, and never too little.
GROWTH = 1.01
_STEP = math.log(GROWTH)


class Times:
    """Some times, in seconds."""

    __slots__ = ("counts", "maximum")

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.maximum = 0.0

    def add(self, seconds: float) -> None:
        """Take one in."""
        self.counts[bucket(seconds)] += 1
        self.maximum = max(self.maximum, seconds)

    def merge(self, other: Times) -> None:
        """Take all of another's in."""
        self.counts.update(other.counts)
        self.maximum = max(self.maximum, other.maximum)

    @property
    def total(self) -> int:
        """How many there are."""
        return self.counts.total()

    def within(self, share: float) -> float | None:
        """Seconds within which this share of them lies; None when there are none."""
        rank, seen = max(1, math.ceil(share * self.total - 1e-9)), 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= rank:
                return min(upper(index), self.maximum)
        return None

    @property
    def most(self) -> float | None:
        """The longest; None when there are none."""
        return self.maximum if self.counts else None

    @property
    def histogram(self) -> list[tuple[float, int]]:
        """Upper bound and count of every bucket that is not empty, in order."""
        return [(upper(index), self.counts[index]) for index in sorted(self.counts)]

    def plain(self) -> Any:
        """All of it, as JSON has it."""
        return {"counts": {str(index): count for index, count in self.counts.items()}, "maximum": self.maximum}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Times:
        """What `plain` told."""
        made = cls()
        made.counts.update({int(index): int(count) for index, count in plain["counts"].items()})
        made.maximum = float(plain["maximum"])
        return made


def bucket(seconds: float) -> int:
    """The bucket that a time belongs into."""
    # A bound belongs to its own bucket, whatever the logarithm makes of its last digit.
    return max(0, math.ceil(math.log(seconds / SMALLEST) / _STEP - 1e-9)) if seconds > SMALLEST else 0


def upper(index: int) -> float:
    """The longest time of a bucket."""
    return SMALLEST * GROWTH**index
