"""The judging of pushes without some of its rules: it runs where they are judged, in the Git server or in a hook of a test.

Each rule yields refusals that bear its name; without it nobody hears of them, and what comes after it is asked instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

from slipway import policy, receive
from slipway.policy import Refusal
from slipway.receive import changes, deploys, documents
from slipway.receive.application import Application

# Where refusals arise, or are asked for what comes after.
PLACES: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (policy, ("judge_push", "judge_deploy", "judge_approval")),
    (documents, ("judge",)),
    (deploys, ("judge",)),
    (changes, ("_form", "_signature", "_paths", "_kind")),
    (Application, ("_results",)),
    (receive, ("judge",)),
)


def drop(rules: Collection[str]) -> None:
    """Judge without these from now on: whole rules ("lock"), or what one says in some words ("lock: it lacks", by pattern)."""
    for owner, names in PLACES:
        for name in names:
            setattr(owner, name, _without(rules, getattr(owner, name)))


def _without(rules: Collection[str], judge: Callable[..., Iterable[Refusal]]) -> Callable[..., tuple[Refusal, ...]]:
    def dropped(refusal: Refusal) -> bool:
        told = (one.partition(": ") for one in rules)
        return any(rule == refusal.rule and re.search(words, refusal.wrong) for rule, _, words in told)

    def judged(*words: Any, **named: Any) -> tuple[Refusal, ...]:
        return tuple(refusal for refusal in judge(*words, **named) if not dropped(refusal))

    return judged
