"""The policy: which branch may reach which environment, and who may push, merge, cut and approve.

One set of functions, asked in three places: by the tasks before they try, by the Git server before it takes a push, and
by the tests. All of them hand over facts and get back every rule that forbids; nothing here looks at a repository or a
cluster. Only the standard library, and nothing else of Slipway: the Git server imports it as well.

Whatever the policy does not name is refused. A fact that nobody could establish is its default, and no default permits.
"""

from __future__ import annotations

from slipway.policy.deploys import judge_approval, judge_deploy
from slipway.policy.facts import Deploy, Push, Refusal, Released
from slipway.policy.model import (
    APP,
    ASKED,
    CONDITIONS,
    DEPLOY,
    GUARDED,
    LABELS,
    LOADS,
    PUSH_OPTIONS,
    REACHES,
    RECORDS,
    RESULTS,
    SKIP,
    Environment,
    Gate,
    Kind,
    Line,
    Load,
    Order,
    Policy,
    Reach,
    Role,
    asks,
    comes_home,
    line,
    number,
    taker,
)
from slipway.policy.parsing import PolicyError, parse, where
from slipway.policy.pushes import judge_push
from slipway.policy.wording import either, gets, reaches, text

__all__ = [
    "APP",
    "ASKED",
    "CONDITIONS",
    "DEPLOY",
    "GUARDED",
    "LABELS",
    "LOADS",
    "PUSH_OPTIONS",
    "REACHES",
    "RECORDS",
    "RESULTS",
    "SKIP",
    "Deploy",
    "Environment",
    "Gate",
    "Kind",
    "Line",
    "Load",
    "Order",
    "Policy",
    "PolicyError",
    "Push",
    "Reach",
    "Refusal",
    "Released",
    "Role",
    "asks",
    "comes_home",
    "either",
    "gets",
    "judge_approval",
    "judge_deploy",
    "judge_push",
    "line",
    "number",
    "parse",
    "reaches",
    "taker",
    "text",
    "where",
]
