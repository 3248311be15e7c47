"""Mann-Whitney's test of two groups, exact, and Holm's method for several tests: small enough to need no library for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

# A difference that chance makes this seldom is taken for one.
ALPHA = 0.05


def fewest(alpha: float = ALPHA) -> int:
    """How many runs of each there must be for any difference at all to be told from chance."""
    count = 1
    while 2 / math.comb(2 * count, count) >= alpha:
        count += 1
    return count


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """How often chance alone makes two groups as different as these, or more: exact, on both sides, ties in the middle.

    Raises:
        ValueError: A group is empty.
    """
    if not first or not second:
        raise ValueError("both groups need a value")
    ranks = _ranks((*first, *second))
    counts = _sums(tuple(sorted(ranks)), len(first))
    middle = len(first) * (len(ranks) + 1)  # of twice the ranks: the mean of their sum, which the counts lie around evenly or not
    seen = abs(sum(ranks[: len(first)]) - middle)
    return min(1.0, sum(number for total, number in counts if abs(total - middle) >= seen) / math.comb(len(ranks), len(first)))


def _ranks(values: Sequence[float]) -> list[int]:
    """Twice the rank of each value, so that the middle of equal ones is a whole number."""
    ordered = sorted(values)
    where = {value: (ordered.index(value), ordered.count(value)) for value in set(values)}
    return [2 * where[value][0] + where[value][1] + 1 for value in values]


@lru_cache(maxsize=64)
def _sums(ranks: tuple[int, ...], size: int) -> tuple[tuple[int, int], ...]:
    """Every sum of so many of the ranks, and in how many ways it comes about."""
    ways: list[dict[int, int]] = [{0: 1}, *({} for _ in range(size))]
    for rank in ranks:
        for taken in range(size - 1, -1, -1):
            for total, number in ways[taken].items():
                ways[taken + 1][total + rank] = ways[taken + 1].get(total + rank, 0) + number
    return tuple(ways[size].items())


def adjusted(values: Sequence[float]) -> list[float]:
    """What each p of several tests is worth when all of them were made (Holm's method)."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    made, least_yet = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        least_yet = max(least_yet, min(1.0, (len(values) - rank) * values[place]))
        made[place] = least_yet
    return made
