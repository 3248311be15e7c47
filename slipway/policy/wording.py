"""How the policy speaks: the words that refusals have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from slipway.policy.facts import Refusal
from slipway.policy.model import Line, Policy

_HOW = {"automatic": "automatically", "request": "on request", "dispatch": "by dispatch"}


def text(refusals: Iterable[Refusal]) -> str:
    """All refusals, as they are shown to whoever was refused."""
    return "\n".join(str(refusal) for refusal in refusals)


def reaches(found: Line) -> str:
    """Where a line gets, in words: "dev or qa on request; stage automatically"."""
    said = [
        f"{either(names)} {_HOW[how]}"
        for how in _HOW
        if (names := [environment for environment, reach in found.reach.items() if reach == how])
    ]
    return "; ".join(said) or "no environment"


def gets(policy: Policy, environment: str) -> str:
    """Which lines an environment gets, in words."""
    return either([found.name for found in policy.lines if found.reach.get(environment, "refused") != "refused"])


def all_lines(policy: Policy) -> str:
    """The branches that the policy knows, in words."""
    return f"branches {', '.join(found.name for found in policy.lines)}"


def either(names: Sequence[str]) -> str:
    """Names as a sentence has them: "developer, lead or pipeline"."""
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
