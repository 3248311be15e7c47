"""The verdict of a load test, and all that led to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PASS, FAIL, INVALID = "pass", "fail", "invalid"

# What `./invoke load` exits with. The environment's own trouble is an error, and has the fourth.
CODES: Mapping[str, int] = {PASS: 0, FAIL: 1, INVALID: 2}
ENVIRONMENT_CODE = 3


@dataclass(frozen=True)
class Reason:
    """Why the verdict is what it is.

    Attributes:
        rule: The rule's name.
        said: One sentence for a person.
        figures: The numbers that decided.
        source: Where they come from: a query, or a part of this run's file.
    """

    rule: str
    said: str
    figures: Mapping[str, float | int | str]
    source: str


@dataclass(frozen=True)
class Check:
    """A rule that was looked at.

    Attributes:
        limit: What is allowed, in words.
        seen: What was seen; None when it could not be.
    """

    rule: str
    limit: str
    seen: float | int | str | None
    ok: bool


@dataclass(frozen=True)
class Verdict:
    """What the test says: "pass", "fail" or "invalid"."""

    outcome: str
    reasons: tuple[Reason, ...]
    checked: tuple[Check, ...]
