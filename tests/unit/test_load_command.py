from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3.exceptions
import yaml
from rich.console import Console

from slipway import access, load
from slipway.errors import SlipwayError, UsageError
from slipway.gitops import Published
from slipway.load import compare, keeping, running
from slipway.load.model import ENVIRONMENT_CODE, INVALID, PASS, Asked, Run
from slipway.progress import Progress
from slipway.releases import Uncounted
from slipway.settings import ROOT, Settings
from tests.unit.loadruns import run as made_run


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(ROOT, tmp_path, "test")


def test_what_cannot_be_asked_for_is_no_invalid_test(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise UsageError("there is no profile 'nothing'")

    monkeypatch.setattr(running, "run", refuse)
    with pytest.raises(SlipwayError, match="there is no profile") as caught:
        load.load(settings, Asked(profile="nothing"), progress=Progress())
    assert caught.value.exit_code == ENVIRONMENT_CODE


@pytest.mark.parametrize("error", [SlipwayError("stage runs something else by now"), ConnectionError("reset by the Git server")])
def test_a_passed_test_that_the_pipeline_cannot_be_told_of_is_shown_and_counts_for_nobody(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    Pipeline(monkeypatch, commit="")
    monkeypatch.setattr(keeping, "record", refuse)
    made = driven(settings, monkeypatch, made_run())
    assert (made.code, made.run.verdict.outcome, made.unrecorded) == (ENVIRONMENT_CODE, PASS, str(error))
    console = Console(width=160)
    with console.capture() as captured:
        load.show_made(made, console)
    assert "PASS" in captured.get()
    assert f"The pipeline does not know that v0.2.0 passed: {error}" in captured.get()


def test_a_disk_that_is_full_is_no_failed_test(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device", "/state/run.json")

    monkeypatch.setattr(running, "run", refuse)
    with pytest.raises(SlipwayError, match=r"/state/run\.json: No space left") as caught:
        load.load(settings, Asked(), progress=Progress())
    assert caught.value.exit_code == ENVIRONMENT_CODE


class Pipeline:
    """The pipeline's side: what it was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, commit: str) -> None:
        self.asked: list[str] = []
        self.commit = commit
        monkeypatch.setattr(access, "open", lambda _: self)
        monkeypatch.setattr(keeping, "record", self.record)

    def record(self, _: object, run: Run, *, user: str) -> Published | None:
        self.asked.append(user)
        return Published(self.commit, made=True) if self.commit else None


def driven(settings: Settings, monkeypatch: pytest.MonkeyPatch, run: Run) -> load.Made:
    def drive(*_: Any) -> Run:
        keeping.keep(settings, run)
        return run

    monkeypatch.setattr(running, "run", drive)
    return load.load(settings, Asked(user="lead"), progress=Progress())


def test_a_passed_test_is_told_to_the_pipeline_and_leaves_its_report(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(monkeypatch, commit="c" * 40)
    made = driven(settings, monkeypatch, made_run())
    assert (made.code, made.recorded, pipeline.asked) == (0, "c" * 40, ["lead"])
    assert {"report.html", "timeline.png", "junit.xml", "run.json"} <= {file.name for file in made.folder.iterdir()}
    console = Console(width=160)
    with console.capture() as captured:
        load.show_made(made, console)
    assert str(made.report) in captured.get()
    assert "The pipeline knows" in captured.get()


def test_a_test_that_did_not_pass_is_never_told_to_the_pipeline(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(monkeypatch, commit="c" * 40)
    good = made_run()
    made = driven(settings, monkeypatch, replace(good, verdict=replace(good.verdict, outcome=INVALID)))
    assert (made.code, made.recorded, pipeline.asked) == (2, "", [])


@pytest.mark.parametrize("wanted", ["required", "off"])
def test_a_test_that_counts_for_no_release_says_why_where_one_is_asked_for(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    Pipeline(monkeypatch, commit="")

    def record(*_: object, **__: object) -> None:
        raise Uncounted("it was against qa")

    monkeypatch.setattr(keeping, "record", record)
    rules = tmp_path / "policy.yaml"
    told = yaml.safe_load(settings.policy_file.read_text())
    rules.write_text(yaml.safe_dump({**told, "load": wanted}, sort_keys=False))
    made = driven(replace(settings, rules=rules), monkeypatch, made_run())
    console = Console(width=160)
    with console.capture() as captured:
        load.show_made(made, console)
    assert (made.code, made.recorded) == (0, "")
    assert ("No release passes by it: it was against qa." in captured.get()) == (wanted == "required")


@pytest.mark.parametrize("error", [ConnectionError("reset"), urllib3.exceptions.ProtocolError("aborted"), SlipwayError("no")])
def test_a_comparison_that_broke_on_the_way_is_no_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(compare, "compare", broken)
    with pytest.raises(SlipwayError, match=str(error)) as caught:
        load.compared(settings, "v0.1.0", "v0.2.0", Asked(), runs=0, progress=Progress())
    assert caught.value.exit_code == ENVIRONMENT_CODE
    assert "page" not in str(caught.value)


def test_a_report_is_made_again_from_what_was_kept(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    Pipeline(monkeypatch, commit="")
    made = driven(settings, monkeypatch, made_run())
    made.report.unlink()
    again = load.again(settings, "last")
    assert again.report == made.report
    assert again.report.is_file()
