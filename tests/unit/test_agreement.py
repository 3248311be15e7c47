"""Hook and admission agree: what the policy lets through is what gets onto the list, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slipway import admission
from slipway.policy import judge_deploy
from slipway.settings import load
from tests.agreement import CASES, LOADED, Case

SETTINGS = load()


def names(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=names)
def test_the_policy_says_of_each_image_what_the_table_says(case: Case) -> None:
    assert tuple(refusal.rule for refusal in judge_deploy(SETTINGS.policy, case.asked)) == case.rules


@pytest.mark.parametrize("case", LOADED, ids=names)
def test_a_policy_that_requires_a_load_test_says_what_its_table_says(case: Case) -> None:
    required = replace(SETTINGS.policy, load="required")
    assert tuple(refusal.rule for refusal in judge_deploy(required, case.asked)) == case.rules


def test_the_table_has_every_rule_of_a_deployment_in_a_guarded_environment() -> None:
    assert {rule for case in (*CASES, *LOADED) for rule in case.rules} == {
        "load",
        "branches",
        "held",
        "version",
        "origin",
        "order",
        "lock",
        "stage-first",
        "approval",
        "four-eyes",
        "dispatch",
        "rollback",
    }


def test_the_table_is_about_environments_that_admission_guards_and_has_both_answers_for_each() -> None:
    guarded = admission.guarded(SETTINGS, SETTINGS.environments)
    assert {case.environment for case in CASES} == set(guarded)
    for environment in guarded:
        assert {bool(case.rules) for case in CASES if case.environment == environment} == {True, False}


def test_no_two_cases_share_an_image() -> None:
    assert len({case.image for case in CASES}) == len(CASES)
