"""Each function of the policy that refuses pushes is missed by the tables of what was agreed, when it is gone."""

from __future__ import annotations

import ast
import inspect

import pytest

from slipway import policy
from slipway.policy import Push, pushes
from tests.unit.test_policy import PUSHES, TIERS, TRUNKS, chosen

TABLES: tuple[tuple[str, list[tuple[str, Push, set[str]]]], ...] = (
    ("gitflow", PUSHES),
    ("gitflow", TIERS),
    ("trunk", TRUNKS),
)

# What each function is and answers when it is gone; `judge_push` and what only finds things out are not among them.
GONE = (
    "_judge_records",
    "_judge_results",
    "_judge_tag",
    "_judge_branch",
    "_history",
    "_removal",
    "_creation",
    "_cut",
    "_landing",
    "_request",
)

# What finds something out for a rule; gone means that it finds nothing against it.
TRUE = ("_may", "_runs_in_prod")


def noticed() -> list[str]:
    """The rows of the tables that are not judged as it was agreed."""
    return [
        what
        for preset, rows in TABLES
        for what, asked, expected in rows
        if {refusal.rule for refusal in policy.judge_push(chosen(preset), asked)} != expected
    ]


def test_with_every_rule_in_its_place_everything_is_as_agreed() -> None:
    assert noticed() == []


@pytest.mark.parametrize("function", [*GONE, *TRUE])
def test_a_rule_that_is_gone_is_missed(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: object = True if function in TRUE else ()
    monkeypatch.setattr(pushes, function, lambda *_, **__: nothing)
    assert noticed(), f"nothing notices that {function} is gone"


def test_every_function_that_judges_a_push_is_tried() -> None:
    tree = ast.parse(inspect.getsource(pushes))
    functions = {item.name for item in tree.body if isinstance(item, ast.FunctionDef)}
    assert functions == {"judge_push", *GONE, *TRUE}
