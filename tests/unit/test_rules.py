"""The policy as people read it."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from slipway import rules
from slipway.errors import UsageError
from slipway.settings import ROOT, load

TEXT = (ROOT / "cluster" / "policy.yaml").read_text()


def seen(folder: Path, text: str = TEXT) -> rules.Rules:
    (folder / "policy.yaml").write_text(text)
    return rules.table(load(environ={"SLIPWAY_POLICY": str(folder / "policy.yaml"), "SLIPWAY_HOME": str(folder)}))


def shown(table: rules.Rules, width: int = 130) -> list[str]:
    file = io.StringIO()
    rules.show(table, Console(file=file, width=width, color_system=None, soft_wrap=True))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def row(lines: list[str], branch: str, nth: int = 0) -> list[str]:
    """The cells of a branch's line in the first table, or the second."""
    found = [line for line in lines if line.startswith(f"{branch}  ")][nth]
    return [cell.strip() for cell in found.split("  ") if cell.strip()]


def test_the_table_says_how_each_branch_reaches_each_environment(tmp_path: Path) -> None:
    lines = shown(seen(tmp_path))
    assert row(lines, "BRANCH") == ["BRANCH", "DEV", "QA", "STAGE", "PROD"]
    assert row(lines, "feature/*, bugfix/*, hotfix/*")[1:] == ["on request", "on request", "refused", "refused"]
    assert row(lines, "develop")[1:] == ["automatic", "automatic", "refused", "refused"]
    assert row(lines, "release/vX.Y.Z")[1:] == [
        "on request",
        "on request",
        "automatic",
        "by dispatch after stage, approved by lead",
    ]
    assert row(lines, "main")[1:] == ["refused"] * 4


def test_the_second_table_says_who_makes_pushes_merges_and_removes(tmp_path: Path) -> None:
    lines = shown(seen(tmp_path))
    assert row(lines, "BRANCH", 1) == ["BRANCH", "MADE BY", "PUSHED BY", "MERGED BY", "REMOVED BY"]
    assert row(lines, "feature/*, bugfix/*, hotfix/*", 1)[1:] == [
        "developer or lead",
        "developer or lead",
        "nobody",
        "developer or lead",
    ]
    assert row(lines, "develop", 1)[1:] == ["pipeline", "nobody", "developer, lead or pipeline", "nobody"]
    assert row(lines, "release/vX.Y.Z", 1)[1:] == ["developer or lead", "developer or lead", "nobody", "nobody"]
    assert row(lines, "main", 1)[1:] == ["pipeline", "nobody", "lead or pipeline", "nobody"]


def test_sentences_say_what_no_table_holds(tmp_path: Path) -> None:
    said = "\n".join(shown(seen(tmp_path), 200))
    assert (
        "develop takes clean merges of feature/*, bugfix/*, hotfix/* or release/vX.Y.Z whose commit passed the pipeline." in said
    )
    assert "main takes clean merges of release/vX.Y.Z at the commit that runs in prod." in said
    assert "approved by lead who did not push to the release's branch; developer or lead may send it." in said
    assert "Tags vX.Y.Z are made by pipeline." in said


def test_whether_a_load_test_is_asked_for_is_said_and_told_to_machines(tmp_path: Path) -> None:
    off, on = seen(tmp_path), seen(tmp_path, TEXT.replace("load: off", "load: required"))
    assert "prod takes a lock without a load test as well (load: off)." in "\n".join(shown(off, 200))
    assert "prod takes a lock that has passed a load test in stage (load: required)." in "\n".join(shown(on, 200))
    assert [dataclasses.asdict(one)["load"] for one in (off, on)] == ["off", "required"]


def test_the_preset_its_options_and_the_file_stand_on_top(tmp_path: Path) -> None:
    first, second, *_ = shown(seen(tmp_path))
    assert first == "preset gitflow  also there: trunk; develop_reaches_stage: off"
    assert second == str(tmp_path / "policy.yaml")


def test_an_option_that_is_on_shows_in_the_table_and_on_top(tmp_path: Path) -> None:
    lines = shown(seen(tmp_path, TEXT.replace("develop_reaches_stage: false", "develop_reaches_stage: true")))
    assert "develop_reaches_stage: on" in lines[0]
    assert row(lines, "develop")[1:] == ["automatic", "automatic", "automatic", "refused"]


def test_the_other_preset_is_shown_when_it_counts(tmp_path: Path) -> None:
    lines = shown(seen(tmp_path, TEXT.replace("preset: gitflow", "preset: trunk")))
    assert lines[0].startswith("preset trunk  also there: gitflow")
    assert row(lines, "main")[1:] == ["on request", "on request", "automatic", "by dispatch after stage, approved by lead"]
    assert not [line for line in lines if line.startswith(("develop", "release/"))]


def test_a_machine_reads_the_same(tmp_path: Path) -> None:
    told = json.loads(json.dumps(dataclasses.asdict(seen(tmp_path))))
    assert (told["preset"], told["presets"], told["environments"]) == (
        "gitflow",
        ["gitflow", "trunk"],
        ["dev", "qa", "stage", "prod"],
    )
    develop = told["branches"][1]
    assert (develop["name"], develop["environments"]["dev"], develop["merged_by"]) == (
        "develop",
        "automatic",
        ["developer", "lead", "pipeline"],
    )
    assert told["approvals"] == [
        {"environment": "prod", "after": "stage", "approved_by": ["lead"], "dispatched_by": ["developer", "lead"]}
    ]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_word_is_lost_however_narrow_the_terminal(width: int, tmp_path: Path) -> None:
    lines = shown(seen(tmp_path), width)
    words = " ".join(lines).split()
    assert {"automatic", "refused", "release/vX.Y.Z", "lead"} <= set(words)


def test_a_file_that_is_no_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"policy\.yaml:1: "):
        seen(tmp_path, "nothing")
