"""Whether what is to run is newer than what runs: history decides, and between releases their versions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slipway import records
from slipway.records import Record

# Each commit with those that it contains; x is on a line of its own.
HISTORY = {"a": "a", "b": "ab", "c": "abc", "x": "ax"}


def contains(commit: str, other: str) -> bool:
    return other in HISTORY[commit]


def record(commit: str, release: str = "", branch: str = "develop") -> Record:
    return Record("dev", "catalog", "1", "image", "digest", commit, release=release, branch=branch)


@pytest.mark.parametrize(
    ("wanted", "running", "expected"),
    [("b", "", "new"), ("b", "b", "same"), ("c", "b", "newer"), ("a", "b", "older"), ("x", "b", "unrelated")],
)
def test_history_decides(wanted: str, running: str, expected: str) -> None:
    assert records.order(record(wanted), record(running) if running else None, contains, last=False) == expected


@pytest.mark.parametrize("last", [True, False])
def test_a_higher_release_is_newer_whatever_it_is_made_of(last: bool) -> None:
    assert records.order(record("a", "v0.10.0"), record("c", "v0.9.0"), contains, last=last) == "newer"


def test_a_lower_release_never_follows_a_higher_one_where_releases_end_and_may_be_tried_before() -> None:
    hotfix, running = record("x", "v0.1.1"), record("c", "v0.2.0")
    assert records.order(hotfix, running, contains, last=True) == "older"
    assert records.order(hotfix, running, contains, last=False) == "unrelated"


def test_within_a_release_history_decides() -> None:
    assert records.order(record("a", "v0.2.0"), record("b", "v0.2.0"), contains, last=False) == "older"
    assert records.order(record("c", "v0.2.0"), record("b", "v0.2.0"), contains, last=True) == "newer"


def test_a_record_says_from_which_branch_inputs_and_lock_it_is() -> None:
    told = replace(record("a", "v0.2.0", "release/v0.2.0"), inputs="sha256:1", lock="sha256:2")
    entry = records.Entry(told, {}, [])
    text = entry.files["envs/dev/catalog/record.yaml"].decode()
    assert "branch: release/v0.2.0\n" in text
    assert "inputs: sha256:1\n" in text
    assert "lock: sha256:2\n" in text
