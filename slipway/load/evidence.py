"""All that a verdict looks at, and what it finds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from slipway.load.model import Books, Change, Check, Client, Endpoint, Plan, Pods, Reason, Server, Target
from slipway.load.thresholds import Threshold

Figures = Mapping[str, float | int | str]


@dataclass(frozen=True)
class Evidence:
    """What was planned, and what everybody saw.

    Attributes:
        limits: What has to be shown.
        afterwards: Which image of each service must run after the test; as before it, unless a change was driven meanwhile.
        change: That change; None for none.
    """

    plan: Plan
    target: Target
    client: Client
    server: Server
    pods: Pods
    books: Books
    limits: tuple[Threshold, ...]
    afterwards: Mapping[str, str] = field(default_factory=dict[str, str])
    change: Change | None = None


@dataclass(frozen=True)
class Found:
    """What one look found: always a line of what was checked, and a reason when it is not as it should be.

    Attributes:
        unsure: Whether it could not be seen at all: then nothing is proven either way.
    """

    check: Check
    reason: Reason | None = None
    unsure: bool = False


def found(
    rule: str, limit: str, seen: float | int | str | None, ok: bool, said: str, *, source: str, figures: Figures | None = None
) -> Found:
    """What a look found.

    Args:
        rule: The rule.
        limit: What is allowed, in words.
        seen: What was seen; None, or what is no number, is never all right.
        ok: Whether it is all right.
        said: What is wrong, as a sentence; of no account otherwise.
        source: Where it was seen.
        figures: The numbers that decided.
    """
    unsure = seen is None or (isinstance(seen, float) and not math.isfinite(seen))
    good = ok and not unsure
    check = Check(rule, limit, None if unsure else seen, good)
    return Found(check, None if good else Reason(rule, said, dict(figures or {}), source), unsure)


def nobody(rule: str, limit: str, source: str) -> Found:
    """What a look found that had nobody to look at: where it would have been seen is empty."""
    return found(rule, limit, None, False, f"there is nobody to look at ({source} is empty)", source=source)


def merged(endpoints: Iterable[Endpoint]) -> Mapping[float, int]:
    """How many requests there are in each bucket of several endpoints together, by its upper bound in seconds."""
    counts: dict[float, int] = {}
    for one in endpoints:
        for bound, count in one.histogram:
            counts[bound] = counts.get(bound, 0) + count
    return counts


def within(counts: Mapping[float, int], share: float) -> float | None:
    """Seconds within which a share of the requests lies; None when there are none."""
    total, seen = sum(counts.values()), 0
    for bound in sorted(counts):
        seen += counts[bound]
        if seen >= max(1, math.ceil(share * total - 1e-9)):
            return bound
    return None


def ratio(part: float, whole: float) -> float | None:
    """The share of a part in the whole; None when there is no whole."""
    return part / whole if whole > 0 else None


def named(names: Sequence[str], most: int = 4) -> str:
    """Names as a sentence lists them."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def known(**figures: float | int | None) -> dict[str, float | int | str]:
    """The numbers that there are."""
    return {name: value for name, value in figures.items() if value is not None}
