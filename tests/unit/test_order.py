"""How what is to run stands to what runs: history decides, and releases by their number."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from slipway import policy, records
from slipway.records import Record
from slipway.settings import load

# One after the other; "side" was made beside "second".
HISTORY = {"first": {"first"}, "second": {"first", "second"}, "third": {"first", "second", "third"}, "side": {"first", "side"}}


def record(commit: str, branch: str = "develop", release: str = "") -> Record:
    return Record("dev", "catalog", "0.2.0", "registry/catalog", "sha256:1", commit, branch=branch, release=release)


def order(wanted: Record, running: Record | None, *, last: bool = False, home: bool = False) -> str:
    return records.order(wanted, running, lambda one, other: other in HISTORY[one], last=last, home=home)


@pytest.mark.parametrize(
    ("wanted", "running", "expected"),
    [
        ("second", None, "new"),
        ("second", "first", "newer"),
        ("second", "second", "same"),
        ("first", "third", "older"),
        ("side", "second", "unrelated"),
    ],
)
def test_history_decides(wanted: str, running: str | None, expected: str) -> None:
    assert order(record(wanted), record(running) if running else None) == expected


def test_going_back_to_the_branch_that_an_environment_follows_is_no_step_back() -> None:
    feature = record("third", "feature/x")
    assert order(record("second"), feature) == "older"
    assert order(record("second"), feature, home=True) == "unrelated"
    assert order(record("second"), record("third"), home=True) == "older", "the same branch never goes back by asking"


def chosen(preset: str, *, develop_reaches_stage: bool = False) -> policy.Policy:
    data = yaml.safe_load(load().policy_file.read_text())
    return policy.parse({**data, "preset": preset, "options": {"develop_reaches_stage": develop_reaches_stage}})


@pytest.mark.parametrize(
    ("preset", "environment", "branch", "former", "expected"),
    [
        ("gitflow", "dev", "develop", "feature/x", True),
        ("gitflow", "dev", "feature/x", "develop", False),
        ("gitflow", "dev", "feature/x", "feature/y", False),
        ("gitflow", "dev", "develop", "develop", False),
        ("gitflow", "stage", "develop", "feature/x", False),
        ("gitflow", "dev", "unheard-of", "feature/x", False),
        ("gitflow", "dev", "release/v0.2.0", "develop", False),
        ("trunk", "dev", "main", "feature/x", True),
        ("trunk", "dev", "feature/x", "main", False),
        ("trunk", "dev", "main", "main", False),
        ("trunk", "dev", "main", "unheard-of", False),
        ("trunk", "stage", "main", "main", False),
    ],
)
def test_home_is_what_an_environment_follows_or_what_takes_the_former(
    preset: str, environment: str, branch: str, former: str, expected: bool
) -> None:
    assert policy.comes_home(chosen(preset), environment, branch, former, asked=True) is expected
    assert not policy.comes_home(chosen(preset), environment, branch, former, asked=False), "nothing goes back by itself"


def test_a_release_has_its_turn_in_stage_after_a_develop_that_had_more() -> None:
    rules = chosen("gitflow", develop_reaches_stage=True)
    for asked in (True, False):
        assert policy.comes_home(rules, "stage", "release/v0.2.0", "develop", asked=asked)
        assert not policy.comes_home(rules, "stage", "develop", "release/v0.2.0", asked=asked)
        assert not policy.comes_home(rules, "stage", "release/v0.2.0", "release/v0.3.0", asked=asked)


def test_releases_are_told_apart_by_their_number_and_only_the_last_environment_never_takes_a_lower_one() -> None:
    one, two = record("second", "release/v0.2.0", "v0.2.0"), record("first", "release/v0.3.0", "v0.3.0")
    assert order(two, one) == "newer"
    assert order(one, two) == "unrelated"
    assert order(one, two, last=True) == "older"


@pytest.mark.parametrize(
    ("wanted", "running", "expected"),
    [
        (("second", "0.2.0-dev.2"), None, True),
        (("second", "latest"), None, False),
        (("second", "0.2.0-dev.2"), ("first", "0.2.0-dev.1"), True),
        (("second", "0.2.0-dev.10"), ("first", "0.2.0-dev.9"), True),
        (("second", "0.2.0-dev.1"), ("first", "0.2.0-dev.2"), False),
        (("second", "0.1.0-dev.9"), ("first", "0.2.0-dev.2"), False),
        # A version is one image, whatever branch it comes from.
        (("second", "0.2.0-dev.1"), ("first", "0.2.0-dev.1"), False),
        # What was built for another branch bears that one's name.
        (("second", "0.2.0-a.1"), ("first", "0.2.0-dev.2"), True),
        # A branch that was removed and made anew begins to count anew.
        (("side", "0.2.0-dev.1"), ("second", "0.2.0-dev.2"), True),
    ],
)
def test_within_a_line_a_version_goes_up(wanted: tuple[str, str], running: tuple[str, str] | None, expected: bool) -> None:
    def named(commit: str, version: str) -> Record:
        return replace(record(commit), version=version, digest=f"sha256:{commit}")

    had = named(*running) if running else None
    assert records.grows(named(*wanted), had, lambda one, other: other in HISTORY[one]) is expected
