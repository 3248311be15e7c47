"""The policy, rule by rule: what may reach which environment, and what the repositories take from whom."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slipway import policy
from slipway.policy import Deploy, Kind, Policy, Push, Released, deploys
from slipway.settings import ROOT, load

FILE = ROOT / "cluster" / "policy.yaml"
LOCK = "sha256:" + "a1" * 32
EVERYBODY = ("developer", "lead", "pipeline")
ENVIRONMENTS = ("dev", "qa", "stage", "prod")
FORWARD: tuple[Kind, ...] = ("automatic", "request", "dispatch")

# How each branch reaches dev, qa, stage and prod. This is the agreement; the file has to say the same.
AUTOMATIC, REQUEST, DISPATCH, REFUSED = "automatic", "request", "dispatch", "refused"
FEATURE = (REQUEST, REQUEST, REFUSED, REFUSED)
GITFLOW = {
    "feature/basket": FEATURE,
    "bugfix/rounding": FEATURE,
    "hotfix/leak": FEATURE,
    "develop": (AUTOMATIC, AUTOMATIC, REFUSED, REFUSED),
    "release/v0.2.0": (REQUEST, REQUEST, AUTOMATIC, DISPATCH),
    "release/v10.20.30": (REQUEST, REQUEST, AUTOMATIC, DISPATCH),
    "main": (REFUSED, REFUSED, REFUSED, REFUSED),
}
TRUNK = {
    "feature/basket": FEATURE,
    "bugfix/rounding": FEATURE,
    "hotfix/leak": FEATURE,
    "main": (REQUEST, REQUEST, AUTOMATIC, DISPATCH),
}
AGREED = {
    ("gitflow", False): GITFLOW,
    ("gitflow", True): {**GITFLOW, "develop": (AUTOMATIC, AUTOMATIC, AUTOMATIC, REFUSED)},
    ("trunk", False): TRUNK,
    ("trunk", True): TRUNK,
}
CASES = [
    (preset, option, branch, environment, how)
    for (preset, option), lines in AGREED.items()
    for branch, reach in lines.items()
    for environment, how in zip(ENVIRONMENTS, reach, strict=True)
]
# Names that look like a branch of a line and are none.
STRANGERS = (
    "",
    "feature",
    "feature/",
    "feature/a b",
    "Feature/basket",
    "features/basket",
    "xfeature/basket",
    "develop2",
    "develop/x",
    "develop\n",
    "release/0.2.0",
    "release/v0.2",
    "release/v0.2.0-rc.1",
    "release/v0.2.0/x",
    "release/v00.2.0",
    "release/v0.2.0\n",
    "releases/v0.2.0",
    "main/x",
    "maine",
    "master",
    "HEAD",
)


@cache
def chosen(preset: str = "gitflow", develop_reaches_stage: bool = False, load: str = "off") -> Policy:
    """The policy of the checkout, with one preset, the option, and a load test or none."""
    data = yaml.safe_load(FILE.read_text())
    options = {"develop_reaches_stage": develop_reaches_stage}
    return policy.parse({**data, "preset": preset, "options": options, "load": load})


def deploy(environment: str = "prod", branch: str = "release/v0.2.0", kind: str = DISPATCH, **facts: Any) -> Deploy:
    """A change with every fact in its favour."""
    good = Deploy(
        environment,
        branch,
        cast("Kind", kind),
        "developer",
        on_branch=True,
        order="newer",
        release="v0.2.0",
        lock=LOCK,
        locked=True,
        passed=("stage",),
        authors=("developer",),
        approvers=("lead",),
        restores=True,
        running="v0.1.0",
        loaded=("stage",),
        held=False,
        wished=True,
        version="0.2.0-rc.2",
        former="0.2.0-rc.1",
        grows=True,
    )
    if branch == "release/v10.20.30":
        good = dataclasses.replace(good, release="v10.20.30")
    return dataclasses.replace(good, **facts)


def push(reference: str = "feature/basket", user: str = "developer", **facts: Any) -> Push:
    """A push of new commits on top of what is there."""
    name = reference if reference.startswith("refs/") else f"refs/heads/{reference}"
    return dataclasses.replace(Push("app", user, name, "1" * 40, "2" * 40, fast_forward=True), **facts)


def merge(target: str = "develop", user: str = "developer", **facts: Any) -> Push:
    """A push of one clean merge of a commit that passed, and that runs in prod."""
    released = Released("v0.2.0", "3" * 40)
    good = push(
        target, user, merged="3" * 40, merge_of=("release/v0.2.0",), merge_clean=True, merge_passed=True, prod=(released,)
    )
    return dataclasses.replace(good, **facts)


def cut(release: str = "v0.3.0", user: str = "developer", **facts: Any) -> Push:
    """A release's branch, made where it may be."""
    good = push(f"release/{release}", user, old="", fast_forward=False, based_on=("develop", "feature/basket"))
    good = dataclasses.replace(
        good, tags=("v0.1.0", "v0.2.0"), releases=("v0.1.0", "v0.2.0"), prod=(Released("v0.2.0", "4" * 40),)
    )
    return dataclasses.replace(good, **facts)


def hotfix(release: str = "v0.2.1", **facts: Any) -> Push:
    """The branch of a hotfix, made at the tag of what runs in prod."""
    return dataclasses.replace(cut(release, based_on=("v0.2.0",)), **facts)


def rules(refusals: Sequence[policy.Refusal]) -> set[str]:
    return {refusal.rule for refusal in refusals}


# --- which branch reaches which environment


@pytest.mark.parametrize(("preset", "option", "branch", "environment", "how"), CASES)
def test_every_branch_reaches_exactly_what_was_agreed(preset: str, option: bool, branch: str, environment: str, how: str) -> None:
    found = policy.line(chosen(preset, option), branch)
    assert found
    assert found.reach[environment] == how


@pytest.mark.parametrize("kind", FORWARD)
@pytest.mark.parametrize(("preset", "option", "branch", "environment", "how"), CASES)
def test_what_was_agreed_is_what_is_judged(preset: str, option: bool, branch: str, environment: str, how: str, kind: str) -> None:
    expected = {
        AUTOMATIC: {"automatic": set[str](), "request": set[str](), "dispatch": set[str]()},
        REQUEST: {"automatic": {"branches"}, "request": set[str](), "dispatch": set[str]()},
        DISPATCH: {"automatic": {"dispatch"}, "request": {"dispatch"}, "dispatch": set[str]()},
        REFUSED: {"automatic": {"branches"}, "request": {"branches"}, "dispatch": {"branches"}},
    }[how][kind]
    if environment == "prod" and kind != "dispatch":
        expected = expected | {"dispatch"}
    asked = deploy(environment, branch, kind)
    if environment in ("dev", "qa"):
        asked = dataclasses.replace(asked, lock="", release="", passed=(), authors=(), approvers=(), running="")
    assert rules(policy.judge_deploy(chosen(preset, option), asked)) == expected


@pytest.mark.parametrize("preset", ["gitflow", "trunk"])
@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("branch", STRANGERS)
def test_a_branch_that_the_policy_does_not_know_reaches_nothing(preset: str, environment: str, branch: str) -> None:
    assert policy.line(chosen(preset), branch) is None
    assert "branches" in rules(policy.judge_deploy(chosen(preset), deploy(environment, branch)))


def test_trunk_knows_neither_develop_nor_release_branches() -> None:
    assert [policy.line(chosen("trunk"), branch) for branch in ("develop", "release/v0.2.0")] == [None, None]


def test_a_kind_of_change_that_there_is_not_reaches_nothing() -> None:
    for branch, environment in (("develop", "dev"), ("feature/basket", "dev"), ("release/v0.2.0", "prod")):
        assert policy.judge_deploy(chosen(), deploy(environment, branch, "magic"))


# --- each rule alone: one wrong fact, one refusal, and nothing else that would have caught it

# The rule, the function that is it, and a change that breaks this rule only.
WRONG: list[tuple[str, str, Deploy]] = [
    ("branches", "_branches", deploy("stage", "feature/basket", release="v0.2.0")),
    ("branches", "_branches", deploy("dev", "feature/basket", "automatic")),
    ("branches", "_branches", deploy("prod", "develop")),
    ("branches", "_branches", deploy("dev", "main", "request")),
    ("branches", "_branches", deploy("dev", "wip", "request")),
    ("wish", "_wish", deploy("dev", "feature/basket", "request", wished=False)),
    ("wish", "_wish", deploy("stage", kind="request", wished=False)),
    ("held", "_held", deploy("dev", "develop", "automatic", held=True)),
    ("held", "_held", deploy("stage", kind="automatic", held=True)),
    ("version", "_version", deploy("dev", "develop", "automatic", grows=False)),
    ("version", "_version", deploy("prod", grows=False)),
    ("origin", "_origin", deploy("dev", "feature/basket", "request", on_branch=False)),
    ("origin", "_origin", deploy("prod", on_branch=False)),
    ("order", "_order", deploy("dev", "develop", "automatic", order="older")),
    ("order", "_order", deploy("prod", order="older")),
    ("order", "_order", deploy("prod", order="unrelated", running="v0.3.0")),
    ("order", "_order", deploy("prod", order="newer", running="v0.10.0")),
    ("order", "_order", deploy("dev", "develop", "automatic", order=cast("policy.Order", "?"))),
    ("lock", "_lock", deploy("prod", lock="")),
    ("lock", "_lock", deploy("stage", kind="automatic", lock="")),
    ("lock", "_lock", deploy("prod", locked=False)),
    ("lock", "_lock", deploy("stage", kind="automatic", locked=False)),
    ("lock", "_lock", deploy("dev", "develop", "automatic", locked=False)),
    ("lock", "_lock", deploy("prod", release="v0.2.1")),
    ("lock", "_lock", deploy("prod", release="")),
    ("stage-first", "_stage_first", deploy("prod", passed=())),
    ("stage-first", "_stage_first", deploy("prod", passed=("dev", "qa"))),
    ("load", "_load", deploy("prod", loaded=())),
    ("load", "_load", deploy("prod", loaded=("dev", "qa"))),
    ("approval", "_approval", deploy("prod", approvers=())),
    ("approval", "_approval", deploy("prod", authors=("lead",), approvers=("developer",))),
    ("approval", "_approval", deploy("prod", approvers=("stranger",))),
    ("four-eyes", "_four_eyes", deploy("prod", authors=("lead",))),
    ("four-eyes", "_four_eyes", deploy("prod", authors=("developer", "lead"))),
    ("four-eyes", "_four_eyes", deploy("prod", authors=())),
    ("dispatch", "_dispatch", deploy("prod", kind="automatic")),
    ("dispatch", "_dispatch", deploy("prod", kind="request")),
    ("dispatch", "_dispatch", deploy("prod", user="stranger")),
    ("dispatch", "_dispatch", deploy("prod", user="")),
    ("dispatch", "_dispatch", deploy("prod", kind="rollback", user="stranger")),
    ("rollback", "_goes_back", deploy("prod", kind="rollback", restores=False)),
    ("rollback", "_goes_back", deploy("prod", kind="revert", restores=False)),
    ("rollback", "_goes_back", deploy("dev", "develop", "rollback", restores=False)),
]


@pytest.mark.parametrize(("rule", "function", "asked"), WRONG)
def test_one_wrong_fact_is_refused_by_its_rule_alone_and_by_nothing_without_it(
    rule: str, function: str, asked: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rules(policy.judge_deploy(chosen(load="required"), asked)) == {rule}
    monkeypatch.setattr(deploys, function, lambda *_: None)
    assert policy.judge_deploy(chosen(load="required"), asked) == ()


def test_every_rule_that_there_is_has_its_wrong_facts() -> None:
    tried = {rule for rule, _, _ in WRONG}
    assert tried == {
        "branches",
        "wish",
        "held",
        "version",
        "origin",
        "order",
        "lock",
        "stage-first",
        "load",
        "approval",
        "four-eyes",
        "dispatch",
        "rollback",
    }


def test_a_load_test_is_asked_for_only_where_the_policy_says_so_and_only_where_approval_is_needed() -> None:
    assert yaml.safe_load(FILE.read_text())["load"] is False, "off, as YAML reads it"
    assert policy.judge_deploy(chosen(), deploy("prod", loaded=())) == ()
    for environment, branch in (("stage", "release/v0.2.0"), ("dev", "develop"), ("qa", "develop")):
        asked = deploy(environment, branch, "automatic", loaded=())
        assert policy.judge_deploy(chosen(load="required"), asked) == ()


@pytest.mark.parametrize("kind", ["rollback", "revert"])
def test_what_comes_back_is_asked_for_no_load_test(kind: str) -> None:
    assert policy.judge_deploy(chosen(load="required"), deploy("prod", kind=kind, loaded=())) == ()


def test_a_refusal_for_want_of_a_load_test_says_which_lock_and_what_to_type() -> None:
    (refused,) = policy.judge_deploy(chosen(load="required"), deploy("prod", loaded=()))
    assert refused.wrong == (
        "v0.2.0 (lock a1a1a1a1a1a1) has passed no load test in stage, and the policy requires one (load: required)"
    )
    assert "./invoke load --env stage --release 0.2.0" in refused.allowed


@pytest.mark.parametrize("kind", [*FORWARD, "rollback", "revert"])
@pytest.mark.parametrize("environment", ["", "production", "DEV", "local"])
def test_an_environment_that_there_is_not_takes_nothing(environment: str, kind: str) -> None:
    (refused,) = policy.judge_deploy(chosen(), deploy(environment, kind=kind))
    assert refused.rule == "environment"
    assert refused.allowed == "one of dev, qa, stage, prod"


def test_facts_that_nobody_established_let_nothing_into_prod_or_onto_a_branch() -> None:
    asked = Deploy("prod", "release/v0.2.0", "dispatch", "lead", on_branch=True, order="newer", release="v0.2.0", lock=LOCK)
    assert rules(policy.judge_deploy(chosen(), asked)) == {"version", "lock", "stage-first", "approval"}
    for branch in ("feature/basket", "develop", "release/v0.2.0", "main"):
        assert policy.judge_push(chosen(), Push("app", "lead", f"refs/heads/{branch}", "1" * 40, "2" * 40))


def test_all_rules_that_forbid_are_named_at_once() -> None:
    asked = Deploy("prod", "feature/basket", "automatic", "stranger", on_branch=False, order="older")
    refused = rules(policy.judge_deploy(chosen(), asked))
    assert refused == {"branches", "held", "origin", "order", "version", "lock", "stage-first", "approval", "dispatch"}


@pytest.mark.parametrize("order", ["newer", "same", "unrelated", "new"])
def test_whatever_is_not_older_may_come(order: policy.Order) -> None:
    assert policy.judge_deploy(chosen(), deploy("dev", "develop", "automatic", order=order, lock="", release="")) == ()


def test_the_same_release_may_come_again_and_a_hotfix_may_follow_in_stage_what_is_higher() -> None:
    assert policy.judge_deploy(chosen(), deploy("prod", running="v0.2.0", order="same")) == ()
    assert policy.judge_deploy(chosen(), deploy("stage", kind="automatic", running="v0.3.0", order="unrelated")) == ()


def test_releases_compare_as_numbers_not_as_text() -> None:
    asked = deploy("prod", "release/v10.20.30", running="v9.99.99")
    assert policy.judge_deploy(chosen(), asked) == ()


def test_develop_in_stage_needs_no_lock_when_the_option_lets_it_there() -> None:
    asked = deploy("stage", "develop", "automatic", lock="", release="", passed=(), approvers=(), authors=())
    assert policy.judge_deploy(chosen(develop_reaches_stage=True), asked) == ()
    assert rules(policy.judge_deploy(chosen(), asked)) == {"branches"}


def test_where_no_lock_is_needed_none_is_missed() -> None:
    for environment, branch in (("dev", "feature/basket"), ("qa", "release/v0.2.0")):
        assert policy.judge_deploy(chosen(), deploy(environment, branch, "request", lock="", locked=False, release="")) == ()


def test_a_lock_of_no_release_is_refused_also_on_a_branch_that_names_none() -> None:
    assert policy.judge_deploy(chosen("trunk"), deploy("prod", "main")) == ()
    for release in ("", "0.2.0", "v0.2"):
        assert rules(policy.judge_deploy(chosen("trunk"), deploy("prod", "main", release=release))) == {"lock"}


@pytest.mark.parametrize("kind", ["rollback", "revert"])
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_ran_there_before_may_come_back_without_a_new_approval(environment: str, kind: str) -> None:
    asked = Deploy(environment, "main", cast("Kind", kind), "lead", on_branch=False, order="older", restores=True)
    assert policy.judge_deploy(chosen(), asked) == ()


def test_a_revert_in_prod_needs_no_dispatcher_since_it_ends_what_one_began() -> None:
    assert policy.judge_deploy(chosen(), deploy("prod", kind="revert", user="")) == ()


def test_one_approval_by_somebody_else_is_enough_whoever_else_approved() -> None:
    data = yaml.safe_load(FILE.read_text())
    data["approvals"]["prod"]["approvers"] = ["lead", "developer"]
    two = policy.parse(data)
    assert policy.judge_deploy(two, deploy("prod", authors=("developer",), approvers=("developer", "lead"))) == ()
    assert rules(policy.judge_deploy(two, deploy("prod", authors=("developer",), approvers=("developer",)))) == {"four-eyes"}


# --- approvals


@pytest.mark.parametrize(
    ("user", "authors", "exists", "expected"),
    [
        ("lead", ("developer",), True, set[str]()),
        ("developer", ("lead",), True, {"approval"}),
        ("pipeline", ("developer",), True, {"approval"}),
        ("stranger", ("developer",), True, {"approval"}),
        ("", ("developer",), True, {"approval"}),
        ("lead", ("lead",), True, {"four-eyes"}),
        ("lead", ("developer", "lead"), True, {"four-eyes"}),
        ("lead", (), True, {"four-eyes"}),
        ("lead", ("developer",), False, {"lock"}),
        ("lead", (), False, {"lock"}),
        ("developer", ("developer",), False, {"approval", "four-eyes", "lock"}),
    ],
)
def test_a_lock_that_there_is_is_approved_by_a_lead_who_is_no_author(
    user: str, authors: tuple[str, ...], exists: bool, expected: set[str]
) -> None:
    assert rules(policy.judge_approval(chosen(), user, authors, exists)) == expected
    assert rules(policy.judge_approval(chosen(), user, authors, exists, environment="prod")) == expected


def test_nobody_approves_for_an_environment_that_asks_for_no_approval() -> None:
    assert rules(policy.judge_approval(chosen(), "lead", ("developer",), lock_exists=True, environment="qa")) == {"approval"}


# --- who may push what


NEW: dict[str, Any] = {"old": "", "fast_forward": False}
OLD: dict[str, Any] = {"new": "", "fast_forward": False}
PUSHES: list[tuple[str, Push, set[str]]] = [
    ("feature lines are pushed to by developers", push(), set()),
    ("and by leads", push(user="lead"), set()),
    ("not by the pipeline", push(user="pipeline"), {"push"}),
    ("nor by somebody unknown", push(user="stranger"), {"push"}),
    ("nor by nobody", push(user=""), {"push"}),
    ("a bugfix is such a line", push("bugfix/rounding"), set()),
    ("and a hotfix", push("hotfix/leak"), set()),
    ("they are made by developers", push(**NEW), set()),
    ("not by the pipeline", push(user="pipeline", **NEW), {"push"}),
    ("they are removed by those who push", push(**OLD), set()),
    ("not by the pipeline", push(user="pipeline", **OLD), {"removable"}),
    ("nor by somebody unknown", push(user="stranger", **OLD), {"removable"}),
    ("they are never rewritten", push(fast_forward=False), {"history"}),
    ("not by a lead either", push(user="lead", fast_forward=False), {"history"}),
    ("nobody pushes commits to develop: not a developer", push("develop"), {"merge"}),
    ("not a lead", push("develop", "lead"), {"merge"}),
    ("not the pipeline", push("develop", "pipeline"), {"merge"}),
    ("not somebody unknown", push("develop", "stranger"), {"push"}),
    ("develop is never rewritten, not by a good merge", merge(fast_forward=False), {"history"}),
    ("develop is never removed", push("develop", "lead", **OLD), {"removable"}),
    ("develop is made by the pipeline", push("develop", "pipeline", **NEW), set()),
    ("not by a lead", push("develop", "lead", **NEW), {"push"}),
    ("main is made by the pipeline", push("main", "pipeline", **NEW), set()),
    ("not by a lead", push("main", "lead", **NEW), {"push"}),
    ("nobody pushes commits to main: not a developer", push("main"), {"push"}),
    ("not a lead", push("main", "lead"), {"merge"}),
    ("not the pipeline", push("main", "pipeline"), {"merge"}),
    ("main is never removed", push("main", "pipeline", **OLD), {"removable"}),
    ("main is never rewritten", merge("main", "lead", fast_forward=False), {"history"}),
    ("a release's branch is pushed to by developers", push("release/v0.2.0"), set()),
    ("and leads", push("release/v0.2.0", "lead"), set()),
    ("not by the pipeline", push("release/v0.2.0", "pipeline"), {"push"}),
    ("nor rewritten", push("release/v0.2.0", "lead", fast_forward=False), {"history"}),
    ("nor removed", push("release/v0.2.0", "lead", **OLD), {"removable"}),
    ("there are no other branches", push("wip"), {"references"}),
    ("none by the pipeline either", push("wip", "pipeline", **NEW), {"references"}),
    ("nor other references", push("refs/replace/" + "1" * 40), {"references"}),
    ("nor a branch's bare name", dataclasses.replace(push(), reference="feature/basket"), {"references"}),
    ("nor one named like a branch", push("refs/remotes/feature/basket"), {"references"}),
    ("nothing is not pushed", push(old="", new=""), {"references"}),
    # tags
    ("a release is tagged by the pipeline", push("refs/tags/v0.2.0", "pipeline", **NEW), set()),
    ("not by a lead", push("refs/tags/v0.2.0", "lead", **NEW), {"tags"}),
    ("not by somebody unknown", push("refs/tags/v0.2.0", "stranger", **NEW), {"tags"}),
    ("a tag is never moved", push("refs/tags/v0.2.0", "pipeline"), {"tags"}),
    ("nor removed", push("refs/tags/v0.2.0", "pipeline", **OLD), {"tags"}),
    ("only releases are tagged", push("refs/tags/v0.2.0-rc.1", "pipeline", **NEW), {"references"}),
    ("and by version", push("refs/tags/latest", "pipeline", **NEW), {"references"}),
    # how runs ended
    ("the pipeline says how a run ended", push("refs/notes/ci", "pipeline"), set()),
    ("also the first time", push("refs/notes/ci", "pipeline", **NEW), set()),
    ("nobody else does: not a developer", push("refs/notes/ci"), {"push"}),
    ("not a lead", push("refs/notes/ci", "lead"), {"push"}),
    ("it does not take its word back", push("refs/notes/ci", "pipeline", fast_forward=False), {"history"}),
    ("nor remove it", push("refs/notes/ci", "pipeline", **OLD), {"removable"}),
    ("there are no other notes", push("refs/notes/commits", "pipeline"), {"references"}),
    # merges into develop
    ("a clean merge of what passed lands on develop", merge(), set()),
    ("by a lead", merge(user="lead"), set()),
    ("by the pipeline", merge(user="pipeline"), set()),
    ("of a feature", merge(merge_of=("feature/basket",)), set()),
    ("not by somebody unknown", merge(user="stranger"), {"push"}),
    ("not one that did not pass", merge(merge_passed=False), {"merge"}),
    ("not one that is not clean", merge(merge_clean=False), {"merge"}),
    ("not several commits", merge(merged=""), {"merge"}),
    ("not of main", merge(merge_of=("main",)), {"merge"}),
    ("not of what is on no branch", merge(merge_of=()), {"merge"}),
    ("not of a branch that the policy does not know", merge(merge_of=("wip",)), {"merge"}),
    # merges into main
    ("what runs in prod is merged into main by a lead", merge("main", "lead"), set()),
    ("and by the pipeline", merge("main", "pipeline"), set()),
    ("whatever else contains it", merge("main", "lead", merge_of=("wip", "release/v0.2.0")), set()),
    ("without a run of its own", merge("main", "lead", merge_passed=False), set()),
    ("not by a developer", merge("main"), {"push"}),
    ("not before it is in prod", merge("main", "lead", prod=()), {"merge"}),
    ("not when another release is", merge("main", "lead", prod=(Released("v0.1.0", "3" * 40),)), {"merge"}),
    ("not with commits that came later", merge("main", "lead", merged="9" * 40), {"merge"}),
    ("not of a feature", merge("main", "lead", merge_of=("feature/basket",)), {"merge"}),
    ("not of develop", merge("main", "lead", merge_of=("develop",)), {"merge"}),
    ("not one that is not clean", merge("main", "pipeline", merge_clean=False), {"merge"}),
    # releases
    ("a developer cuts a release from develop", cut(), set()),
    ("a lead as well", cut(user="lead"), set()),
    ("not the pipeline", cut(user="pipeline"), {"push"}),
    ("a step of any size is one", cut("v1.0.0"), set()),
    ("whatever other tags there are", cut(tags=("v0.2.0", "nightly"), releases=("v0.2.0", "summer")), set()),
    ("not one that is tagged", cut("v0.2.0", releases=()), {"release-name"}),
    ("not one that was cut before", cut("v0.3.0", releases=("v0.3.0",)), {"release-name"}),
    ("not one below what is tagged", cut("v0.2.0", tags=("v0.3.0",), releases=()), {"release-name"}),
    ("not one below what was cut", cut("v0.3.0", releases=("v0.10.0",)), {"release-name"}),
    ("not from a feature", cut(based_on=("feature/basket",)), {"release-name"}),
    ("not from a commit that is nowhere", cut(based_on=()), {"release-name"}),
    ("not from a tag", cut(based_on=("v0.2.0",)), {"release-name"}),
    ("a hotfix begins at the tag that runs in prod", hotfix(), set()),
    ("also while the next release is under way", hotfix(releases=("v0.3.0",)), set()),
    ("also when a former one was given up", hotfix("v0.2.2", releases=("v0.2.1",)), set()),
    ("not at develop", hotfix(based_on=("develop",)), {"release-name"}),
    ("not at a tag that does not run in prod", hotfix(prod=(Released("v0.1.0", "4" * 40),)), {"release-name"}),
    ("not at a branch that has a tag's name", hotfix(tags=()), {"release-name"}),
    ("not of another release than that", hotfix("v0.1.1", based_on=("v0.2.0",)), {"release-name"}),
    ("not of another X", hotfix("v1.2.1"), {"release-name"}),
    ("not one that there is", hotfix(releases=("v0.2.1",)), {"release-name"}),
    ("not one below the last", hotfix("v0.2.1", releases=("v0.2.2",)), {"release-name"}),
    ("not when nothing runs in prod", hotfix(prod=()), {"release-name"}),
    ("none without a place and a name", cut("v0.2.0", based_on=(), tags=("v0.3.0",), releases=()), {"release-name"}),
    # what a push asks for
    ("a feature asks for dev", push(options={"deploy": "dev"}), set()),
    ("or qa", push(options={"deploy": "qa"}), set()),
    ("also when it is new", push(**NEW, options={"deploy": "dev"}), set()),
    ("not for stage", push(options={"deploy": "stage"}), {"branches"}),
    ("not for prod", push(options={"deploy": "prod"}), {"branches"}),
    ("not for an environment that there is not", push(options={"deploy": "moon"}), {"branches"}),
    ("not for nothing", push(options={"deploy": ""}), {"branches"}),
    ("a push asks for no run", push(options={"ci.skip": ""}), set()),
    ("not with a misspelt option", push(options={"deplyo": "dev"}), {"request"}),
    ("not when it is removed", push(**OLD, options={"deploy": "dev"}), {"request"}),
    ("a release asks for stage, which it reaches anyhow", push("release/v0.2.0", options={"deploy": "stage"}), set()),
    ("not for prod, which needs a dispatch", push("release/v0.2.0", options={"deploy": "prod"}), {"branches"}),
    ("a merge to main asks for nothing", merge("main", "lead", options={"deploy": "dev"}), {"branches"}),
    ("nor does a new release", cut(options={"deploy": "prod"}), {"branches"}),
    ("nor a tag", push("refs/tags/v0.2.0", "pipeline", **NEW, options={"deploy": "dev"}), {"request"}),
    ("nor a run's end", push("refs/notes/ci", "pipeline", options={"deploy": "dev"}), {"request"}),
]


@pytest.mark.parametrize(
    ("asked", "expected"), [pytest.param(asked, rule, id=f"{at}: {what}") for at, (what, asked, rule) in enumerate(PUSHES)]
)
def test_the_application_takes_what_was_agreed(asked: Push, expected: set[str]) -> None:
    assert rules(policy.judge_push(chosen(), asked)) == expected


RECORDS = "refs/heads/main"
TIERS: list[tuple[str, Push, set[str]]] = [
    ("the pipeline writes records", push(RECORDS, "pipeline", repository="gitops-prod"), set()),
    ("in both tiers", push(RECORDS, "pipeline", repository="gitops-nonprod"), set()),
    ("also the first ones", push(RECORDS, "pipeline", repository="gitops-prod", **NEW), set()),
    ("nobody else does: not a developer", push(RECORDS, repository="gitops-nonprod"), {"push"}),
    ("not a lead", push(RECORDS, "lead", repository="gitops-prod"), {"push"}),
    ("not somebody unknown", push(RECORDS, "stranger", repository="gitops-prod", approval=True), {"push"}),
    ("a lead approves", push(RECORDS, "lead", repository="gitops-prod", approval=True), set()),
    ("not where nothing is approved", push(RECORDS, "lead", repository="gitops-nonprod", approval=True), {"push"}),
    ("a developer does not", push(RECORDS, repository="gitops-prod", approval=True), {"push"}),
    ("nothing is rewritten", push(RECORDS, "pipeline", repository="gitops-prod", fast_forward=False), {"history"}),
    ("nor removed", push(RECORDS, "pipeline", repository="gitops-prod", **OLD), {"removable"}),
    ("there is no other branch", push("refs/heads/develop", "pipeline", repository="gitops-prod"), {"references"}),
    ("and no tag", push("refs/tags/v0.2.0", "pipeline", repository="gitops-prod", **NEW), {"references"}),
    ("and no other repository", push(RECORDS, "pipeline", repository="elsewhere"), {"references", "push"}),
    ("and nothing to ask for", push(RECORDS, "pipeline", repository="gitops-prod", options={"deploy": "dev"}), {"request"}),
]


@pytest.mark.parametrize(
    ("asked", "expected"), [pytest.param(asked, rule, id=f"{at}: {what}") for at, (what, asked, rule) in enumerate(TIERS)]
)
def test_the_gitops_repositories_take_what_was_agreed(asked: Push, expected: set[str]) -> None:
    assert rules(policy.judge_push(chosen(), asked)) == expected


TRUNKS: list[tuple[str, Push, set[str]]] = [
    ("main is pushed to by developers", push("main"), set()),
    ("and leads", push("main", "lead"), set()),
    ("not with commits by the pipeline", push("main", "pipeline"), {"merge"}),
    ("which lands what passed", merge("main", "pipeline", merge_of=("feature/basket",)), set()),
    ("and nothing else", merge("main", "pipeline", merge_of=("feature/basket",), merge_passed=False), {"merge"}),
    ("main is never rewritten", push("main", "lead", fast_forward=False), {"history"}),
    ("nor removed", push("main", "lead", **OLD), {"removable"}),
    ("it asks for dev", push("main", options={"deploy": "dev"}), set()),
    ("not for prod", push("main", options={"deploy": "prod"}), {"branches"}),
    ("there is no develop", push("develop"), {"references"}),
    ("and no release's branch", cut(), {"references"}),
]


@pytest.mark.parametrize(
    ("asked", "expected"), [pytest.param(asked, rule, id=f"{at}: {what}") for at, (what, asked, rule) in enumerate(TRUNKS)]
)
def test_trunk_takes_what_was_agreed(asked: Push, expected: set[str]) -> None:
    assert rules(policy.judge_push(chosen("trunk"), asked)) == expected


def test_a_role_that_may_not_push_to_the_application_at_all_pushes_to_no_branch_of_it() -> None:
    data = yaml.safe_load(FILE.read_text())
    data["roles"]["developer"]["push"] = []
    data["roles"]["pipeline"]["push"] = ["gitops-prod"]
    narrowed = policy.parse(data)
    assert rules(policy.judge_push(narrowed, push())) == {"push"}
    assert rules(policy.judge_push(narrowed, cut())) == {"push"}
    assert rules(policy.judge_push(narrowed, push(**OLD))) == {"removable"}
    assert rules(policy.judge_push(narrowed, push("refs/tags/v1.0.0", "pipeline", **NEW))) == {"tags"}
    assert rules(policy.judge_push(narrowed, push("refs/notes/ci", "pipeline"))) == {"push"}


# --- what a refusal says


def test_a_refusal_names_the_rule_what_is_wrong_and_what_is_allowed() -> None:
    refused = policy.judge_deploy(chosen(), deploy("stage", "feature/basket", "request", lock="", release=""))
    assert policy.text(refused) == (
        "REFUSED by rule 'branches': feature/basket cannot reach stage.\n"
        "Allowed: dev or qa on request; stage gets release/vX.Y.Z."
    )


def test_a_refusal_in_prod_says_who_is_to_approve_which_lock() -> None:
    said = policy.text(policy.judge_deploy(chosen(), deploy("prod", approvers=())))
    assert "nobody who may has approved v0.2.0 (lock a1a1a1a1a1a1) for prod" in said
    assert "lead approves this lock without being an author (./invoke approve v0.2.0)" in said


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (
            policy.judge_push(chosen(), push("main", "")),
            "nobody may not push to main.\nAllowed: nobody pushes directly; merges by lead or pipeline.",
        ),
        (
            policy.judge_push(chosen(), push("wip")),
            "no reference that the policy knows.\nAllowed: branches feature/*, bugfix/*, hotfix/*, develop,",
        ),
        (
            policy.judge_push(chosen(), push("develop", "lead", **OLD)),
            "lead may not remove develop.\nAllowed: feature/*, bugfix/*, hotfix/* by developer or lead.",
        ),
        (
            policy.judge_push(chosen(), push("refs/heads/main", "lead", repository="gitops-prod")),
            "lead may not push to gitops-prod.\nAllowed: pipeline; an approval by whoever may approve.",
        ),
        (
            policy.judge_push(chosen(), push("refs/heads/main", "", repository="gitops-prod")),
            "nobody may not push to gitops-prod.",
        ),
        (
            policy.judge_push(chosen(), push("refs/notes/ci", "")),
            "nobody may not say how a run ended.\nAllowed: pipeline writes refs/notes/ci.",
        ),
        (policy.judge_push(chosen(), push("refs/tags/v0.2.0", "", **NEW)), "nobody may not push the tag v0.2.0."),
        (policy.judge_push(chosen(), push("refs/tags/v0.2.0", "pipeline")), "the tag v0.2.0 is there and is never moved."),
        (
            policy.judge_push(chosen(), push("refs/tags/v0.2.0", "pipeline", **OLD)),
            "the tag v0.2.0 is there and is never removed.",
        ),
        (
            policy.judge_push(chosen(), push("main", "", **NEW)),
            "nobody may not make the branch main.\nAllowed: main is made by pipeline.",
        ),
        (policy.judge_push(chosen(), push(user="", **OLD)), "nobody may not remove feature/basket."),
        (
            policy.judge_push(chosen(), push(options={"deploy": ""})),
            "feature/basket cannot reach no environment on request.\nAllowed: dev or qa on request.",
        ),
        (policy.judge_push(chosen(), merge(merge_of=())), "develop does not take merges of a commit that is on no branch."),
        (policy.judge_push(chosen(), hotfix(prod=())), "runs in prod (nothing yet)"),
        (policy.judge_push(chosen(), cut("v0.2.0")), "v0.2.0 cannot be cut: it exists.\nAllowed: a version above v0.2.0."),
        (
            policy.judge_deploy(chosen(), deploy(user="")),
            "nobody may not change what prod runs.\nAllowed: dispatch by developer or lead.",
        ),
        (
            policy.judge_deploy(chosen(), deploy(approvers=(), release="", lock="")),
            "what comes for prod.\nAllowed: lead approves this lock without being an author (./invoke approve RELEASE).",
        ),
        (
            policy.judge_approval(chosen(), "", ("developer",), lock_exists=True),
            "nobody may not approve.\nAllowed: lead, who must not have pushed to the release's branch.",
        ),
        (
            policy.judge_approval(chosen(), "lead", ("developer",), lock_exists=True, environment="qa"),
            "Allowed: nobody, who must not",
        ),
    ],
)
def test_refusals_say_who_and_what(refused: tuple[policy.Refusal, ...], said: str) -> None:
    assert said in policy.text(refused)


def test_where_nothing_reaches_an_environment_the_refusal_says_so() -> None:
    data = yaml.safe_load(FILE.read_text())
    data["environments"]["attic"] = {"tier": "nonprod"}
    (refused,) = policy.judge_deploy(policy.parse(data), deploy("attic", "main", "request", lock=""))
    assert refused.allowed == "no environment; attic gets no branch at all"


def test_a_release_that_is_no_version_is_not_cut_whatever_the_pattern_lets_through() -> None:
    data = yaml.safe_load(FILE.read_text())
    data["presets"]["gitflow"]["branches"][2]["pattern"] = "release/(?P<release>v.+)"
    assert rules(policy.judge_push(policy.parse(data), cut("vNext"))) == {"release-name"}


def test_an_instance_begins_with_the_lines_that_are_one_branch() -> None:
    assert chosen().seeds == ("main", "develop")
    assert chosen("trunk").seeds == ("main",)


@pytest.mark.parametrize(
    ("preset", "branch", "into"),
    [
        ("gitflow", "feature/basket", "develop"),
        ("gitflow", "release/v0.2.0", "develop"),
        ("gitflow", "develop", None),
        ("gitflow", "main", None),
        ("gitflow", "master", None),
        ("trunk", "feature/basket", "main"),
        ("trunk", "main", None),
        ("trunk", "release/v0.2.0", None),
    ],
)
def test_what_passed_is_taken_by_the_line_that_waits_for_it(preset: str, branch: str, into: str | None) -> None:
    found = policy.taker(chosen(preset), branch)
    assert (found.name if found else None) == into


def test_a_release_is_known_by_its_branch_and_only_by_that() -> None:
    found = policy.line(chosen(), "release/v0.2.0")
    assert found
    assert [found.release(name) for name in ("release/v0.2.0", "release/v0.2", "main")] == ["v0.2.0", "", ""]
    assert [line.releases for line in chosen().lines] == [False, False, True, False]
    assert [line.label for line in chosen().lines] == ["", "dev", "rc", ""]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("v0.2.0", (0, 2, 0)),
        ("v10.0.3", (10, 0, 3)),
        ("0.2.0", None),
        ("v0.2", None),
        ("v01.2.0", None),
        ("v0.2.0\n", None),
        ("", None),
    ],
)
def test_a_release_is_three_numbers(written: str, expected: tuple[int, int, int] | None) -> None:
    assert policy.number(written) == expected


# --- whatever the facts

BRANCHES = st.sampled_from([*GITFLOW, *STRANGERS, "feature/" + "x" * 50])
USERS = st.sampled_from([*EVERYBODY, "stranger", ""])
PEOPLE = st.lists(USERS, max_size=3).map(tuple)
POLICIES = st.sampled_from([chosen(*key) for key in AGREED])
RELEASES = st.sampled_from(["", "v0.1.0", "v0.2.0", "v0.2.1", "v10.0.0", "nonsense"])
COMMITS = st.sampled_from(["", "1" * 40, "2" * 40, "3" * 40])
DEPLOYS = st.builds(
    Deploy,
    environment=st.sampled_from([*ENVIRONMENTS, "moon"]),
    branch=BRANCHES,
    kind=st.sampled_from([*FORWARD, "rollback", "revert"]),
    user=USERS,
    on_branch=st.booleans(),
    order=st.sampled_from(["newer", "same", "older", "unrelated", "new"]),
    release=RELEASES,
    lock=st.sampled_from(["", LOCK]),
    locked=st.booleans(),
    passed=st.lists(st.sampled_from(ENVIRONMENTS), max_size=3).map(tuple),
    authors=PEOPLE,
    approvers=PEOPLE,
    restores=st.booleans(),
    running=RELEASES,
)
REFERENCES = st.one_of(
    BRANCHES.map("refs/heads/{}".format),
    st.sampled_from(["refs/tags/v0.2.0", "refs/tags/v0.3.0", "refs/tags/x", "refs/notes/ci", "refs/notes/x", "HEAD"]),
)
SOME_BRANCHES = st.lists(BRANCHES, max_size=3).map(tuple)
SOME_RELEASES = st.lists(RELEASES, max_size=3).map(tuple)
PUSHED = st.builds(
    Push,
    repository=st.sampled_from(["app", "gitops-nonprod", "gitops-prod", "moon"]),
    user=USERS,
    reference=REFERENCES,
    old=COMMITS,
    new=COMMITS,
    fast_forward=st.booleans(),
    merged=COMMITS,
    merge_of=SOME_BRANCHES,
    merge_clean=st.booleans(),
    merge_passed=st.booleans(),
    based_on=SOME_BRANCHES,
    tags=SOME_RELEASES,
    releases=SOME_RELEASES,
    prod=st.lists(st.builds(Released, RELEASES, COMMITS), max_size=2).map(tuple),
    options=st.dictionaries(st.sampled_from(["deploy", "ci.skip"]), st.sampled_from([*ENVIRONMENTS, "moon"]), max_size=1),
    approval=st.booleans(),
)


@given(POLICIES, DEPLOYS)
def test_nothing_goes_forward_into_prod_but_an_approved_lock_that_stage_ran(rule: Policy, asked: Deploy) -> None:
    if asked.environment != "prod" or asked.kind in ("rollback", "revert") or policy.judge_deploy(rule, asked):
        return
    assert asked.kind == "dispatch"
    assert asked.lock and asked.locked
    assert "stage" in asked.passed
    assert "lead" in asked.approvers and "lead" not in asked.authors and asked.authors
    assert asked.on_branch and asked.order != "older"
    assert asked.branch.startswith("release/v") if rule.preset == "gitflow" else asked.branch == "main"


@given(POLICIES, st.lists(DEPLOYS, max_size=12))
def test_no_sequence_of_changes_lets_a_feature_reach_stage_or_prod(rule: Policy, changes: list[Deploy]) -> None:
    ran: dict[str, list[str]] = {name: ["main"] for name in ENVIRONMENTS}  # every environment begins with main
    for change in changes:
        history = ran.get(change.environment, [])
        truth = dataclasses.replace(change, restores=change.branch in history[:-1])
        if not policy.judge_deploy(rule, truth):
            history.append(truth.branch)
    assert not [
        branch for name in ("stage", "prod") for branch in ran[name] if branch.startswith(("feature", "bugfix", "hotfix"))
    ]
    if not rule.options["develop_reaches_stage"]:
        assert "develop" not in ran["stage"]
    assert "develop" not in ran["prod"]


@given(POLICIES, DEPLOYS)
def test_more_approvals_and_more_successes_never_forbid_what_was_allowed(rule: Policy, asked: Deploy) -> None:
    more = dataclasses.replace(asked, approvers=(*asked.approvers, *EVERYBODY), passed=ENVIRONMENTS)
    before, after = rules(policy.judge_deploy(rule, asked)), rules(policy.judge_deploy(rule, more))
    # Who is an author counts only once somebody has approved.
    assert after - before <= ({"four-eyes"} if "approval" in before else set[str]())


@given(POLICIES, DEPLOYS, PUSHED)
def test_every_refusal_says_its_rule_what_is_wrong_and_what_is_allowed(rule: Policy, asked: Deploy, pushed: Push) -> None:
    for refused in (*policy.judge_deploy(rule, asked), *policy.judge_push(rule, pushed)):
        assert refused.rule and refused.wrong and refused.allowed
        assert not refused.wrong.endswith(".") and not refused.allowed.endswith(".")


@given(POLICIES, PUSHED)
def test_nobody_unknown_lands_anything(rule: Policy, pushed: Push) -> None:
    if pushed.user not in EVERYBODY:
        assert policy.judge_push(rule, pushed)


@given(POLICIES, PUSHED)
def test_nothing_that_is_there_is_ever_rewritten_and_only_feature_lines_are_removed(rule: Policy, pushed: Push) -> None:
    if pushed.old and not policy.judge_push(rule, pushed):
        if pushed.new:
            assert pushed.fast_forward
            assert not pushed.reference.startswith("refs/tags/")
        else:
            assert pushed.reference.startswith(("refs/heads/feature/", "refs/heads/bugfix/", "refs/heads/hotfix/"))


@given(PUSHED)
def test_main_moves_only_to_what_a_release_in_prod_was_made_of(pushed: Push) -> None:
    if (
        (pushed.repository, pushed.reference) == ("app", "refs/heads/main")
        and pushed.old
        and not policy.judge_push(chosen(), pushed)
    ):
        assert pushed.merge_clean and pushed.user in ("lead", "pipeline")
        assert pushed.merged in {each.commit for each in pushed.prod}


@given(PUSHED)
def test_develop_moves_only_to_a_clean_merge_of_what_passed(pushed: Push) -> None:
    if (pushed.repository, pushed.reference) == ("app", "refs/heads/develop") and pushed.old:
        good = pushed.merged and pushed.merge_clean and pushed.merge_passed and pushed.fast_forward
        assert good or policy.judge_push(chosen(), pushed)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), max_size=12))
def test_releases_that_are_cut_are_new_and_higher_in_their_family(wanted: list[tuple[int, int, int]]) -> None:
    made: list[tuple[int, int, int]] = []
    for version in wanted:
        tags = tuple("v{}.{}.{}".format(*each) for each in made)
        here = ("develop",) if not version[2] else tags
        asked = cut(
            "v{}.{}.{}".format(*version), tags=tags, releases=(), based_on=here, prod=tuple(Released(tag, "") for tag in tags)
        )
        if not policy.judge_push(chosen(), asked):
            assert version not in made
            assert all(version > each for each in made if each[:2] == version[:2] or not version[2])
            made.append(version)


# --- where it runs


def test_it_runs_with_nothing_but_the_standard_library() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import slipway.policy; "
        "print(*sorted(name for name in sys.modules if name.startswith('slipway')))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name == "slipway" or name.startswith("slipway.policy") for name in done.stdout.split())


def test_the_policy_of_the_checkout_is_gitflow_without_the_option() -> None:
    found = load(environ={}).policy
    assert found == chosen()
    assert (found.preset, dict(found.options)) == ("gitflow", {"develop_reaches_stage": False})
    assert set(found.presets) == {"gitflow", "trunk"}
