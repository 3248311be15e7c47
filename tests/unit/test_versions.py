"""Versions: parsed and ordered as SemVer says, and growing within each branch's line."""

from __future__ import annotations

import itertools

import pytest

from slipway import versions
from slipway.versions import Version, parse

IN_ORDER = (
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
)


def test_versions_are_ordered_as_semver_orders_them() -> None:
    parsed = [version for text in IN_ORDER if (version := parse(text))]
    assert all(low < high and high > low for low, high in itertools.combinations(parsed, 2))
    assert len(parsed) == len(IN_ORDER)


@pytest.mark.parametrize("text", IN_ORDER)
def test_a_version_is_written_as_it_was_read(text: str) -> None:
    assert str(parse(text)) == text
    assert parse(f"v{text}") == parse(text)


@pytest.mark.parametrize(
    "text", ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "release/v1.2.3", "1.2.3+build"]
)
def test_what_is_no_version_is_none(text: str) -> None:
    assert parse(text) is None


def test_what_comes_next() -> None:
    assert str(Version(1, 2, 3).next_minor) == "1.3.0"
    assert str(Version(1, 2, 3).next_patch) == "1.2.4"
    assert str(Version(1, 2, 3, ("rc", "1")).core) == "1.2.3"


def test_only_final_tags_count_as_the_newest() -> None:
    assert versions.newest(["refs/tags/v0.2.0", "v0.10.0", "v0.3.0-rc.1", "nothing"]) == Version(0, 10, 0)
    assert versions.newest(["v1.0.0-rc.1"]) is None
    assert versions.oldest(["refs/tags/v0.2.0", "v0.10.0", "v0.1.0-rc.1", "nothing"]) == Version(0, 2, 0)
    assert versions.oldest([]) is None


@pytest.mark.parametrize(
    ("label", "branch", "count", "expected"),
    [
        ("dev", "develop", 6, "0.3.0-dev.7"),
        ("rc", "release/v0.2.1", 2, "0.2.1-rc.3"),
        ("rc", "main", 0, "0.3.0-rc.1"),
        ("", "feature/Big_Basket", 0, "0.3.0-feature-Big-Basket.1"),
    ],
)
def test_a_build_is_named_after_its_line_and_leads_to_the_next_release(
    label: str, branch: str, count: int, expected: str
) -> None:
    assert versions.version(label, branch, ["v0.1.0", "v0.2.0"], count) == expected
    assert parse(expected)


def test_before_any_release_builds_lead_to_the_first() -> None:
    assert versions.version("dev", "develop", [], 0) == "0.1.0-dev.1"


def test_versions_of_a_line_grow_with_its_commits_and_stay_below_the_release() -> None:
    made = [parse(versions.version("dev", "develop", ["v0.1.0"], count)) or Version(0, 0, 0) for count in range(12)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert max(made) < Version(0, 2, 0)


@pytest.mark.parametrize("branch", ["feature/007", "feature/" + "x" * 200, "bugfix/__", "hotfix/a.b_c/d", "123"])
def test_every_branch_gives_a_name_that_a_version_and_a_tag_can_hold(branch: str) -> None:
    made = versions.version("", branch, [], 3)
    assert parse(made)
    assert len(made) <= 128
