"""Runs of the pipeline, as they are written down."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway import runs
from slipway.errors import SlipwayError, UsageError, WaitTimeout
from slipway.progress import Phase
from slipway.runs import Recorder, Run
from slipway.settings import ROOT, Settings

COMMIT = "c0ffee0123" * 4


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(ROOT, tmp_path / "home", "test")


def made(
    settings: Settings,
    *,
    branch: str = "feature/x",
    when: float = 1000.0,
    requested: str = "",
    where: str = runs.RUNNER,
    wish: str = "",
) -> Run:
    return runs.new(
        settings, branch=branch, commit=COMMIT, pusher="developer", requested=requested, when=when, where=where, wish=wish
    )


def log(settings: Settings, run: Run) -> str:
    return runs.log_file(settings, run.id).read_text()


def test_a_run_is_read_as_it_was_written(settings: Settings) -> None:
    run = made(settings, requested="dev")
    assert runs.load(settings, run.id) == run
    assert (run.state, run.pusher, run.requested, run.over, run.seconds) == ("queued", "developer", "dev", False, 0.0)


def test_the_same_push_is_the_same_run_and_keeps_its_state(settings: Settings) -> None:
    run = made(settings)
    Recorder(settings, run).begin()
    assert made(settings).state == "running"
    assert len(runs.every(settings)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"requested": "dev"}, {"requested": "qa"}),
        ({"branch": "feature/a-b"}, {"branch": "feature/a/b"}),
        ({"branch": f"feature/{'a' * 40}-one"}, {"branch": f"feature/{'a' * 40}-two"}),
        ({"wish": "signed by one"}, {"wish": "signed by another"}),
    ],
)
def test_two_pushes_of_one_commit_within_one_second_are_two_runs(
    settings: Settings, one: dict[str, Any], other: dict[str, Any]
) -> None:
    ended = Recorder(settings, made(settings, **one)).end(runs.PASSED)
    second = made(settings, **other)
    assert (second.state, len(runs.every(settings))) == ("queued", 2)
    assert made(settings, **one) == ended


def test_a_run_in_the_foreground_is_never_the_runners_own(settings: Settings) -> None:
    assert made(settings).id != made(settings, where=runs.HERE).id


def test_a_branch_of_any_name_makes_a_name_for_a_folder(settings: Settings) -> None:
    run = made(settings, branch="feature/../../Ünsinn & more")
    assert re.fullmatch(r"19700101-001640-[a-z0-9.-]+-c0ffee012-[0-9a-f]{6}", run.id)
    assert (runs.folder(settings) / run.id).is_dir()


@pytest.mark.parametrize("name", ["", "nothing", "../../secrets", ".lock"])
def test_a_run_that_is_not_there_is_refused_with_those_there_are(settings: Settings, name: str) -> None:
    run = made(settings)
    with pytest.raises(UsageError, match=run.id):
        runs.load(settings, name)


def test_the_newest_run_comes_first(settings: Settings) -> None:
    old, new = made(settings, when=1000.0), made(settings, when=2000.0)
    assert [run.id for run in runs.every(settings)] == [new.id, old.id]


def test_a_run_appears_whole_or_not_at_all(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Run]] = []
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, target: (seen.append(runs.every(settings)), rename(self, target)))
    run = made(settings)
    assert seen == [[]]
    assert runs.every(settings) == [run]


def test_stages_are_written_down_as_they_go(settings: Settings) -> None:
    told: list[Run] = []
    recorder = Recorder(settings, made(settings), on_change=told.append)
    recorder.begin()
    with recorder.stage("test") as phase:
        assert [(stage.name, stage.state) for stage in runs.load(settings, recorder.id).stages] == [("test", "running")]
        phase.say("54 passed")
        phase.log("a line\nand another")
    with recorder.stage("image") as phase:
        phase.skip("cached")
    with recorder.stage("deploy dev") as phase:
        phase.fail("no room")
    run = recorder.end(runs.PASSED, verdict="dev runs it")
    assert runs.load(settings, run.id) == run == told[-1]
    assert [(stage.name, stage.state, stage.said) for stage in run.stages] == [
        ("test", "passed", "54 passed"),
        ("image", "skipped", "cached"),
        ("deploy dev", "failed", "no room"),
    ]
    said = log(settings, run)
    for words in ("pushed by developer", "== test", "54 passed", "a line", "and another", "dev runs it"):
        assert words in said
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in said.splitlines())


def test_a_stage_fails_with_what_it_raises_and_says_it_in_one_line(settings: Settings) -> None:
    recorder = Recorder(settings, made(settings))
    recorder.begin()
    with pytest.raises(SlipwayError), recorder.stage("test"):
        raise SlipwayError("two failed\nwith much to read")
    (stage,) = recorder.run.stages
    assert (stage.state, stage.said) == ("failed", "two failed")
    assert "with much to read" in log(settings, recorder.run)


def test_two_stages_of_one_name_are_two(settings: Settings) -> None:
    recorder = Recorder(settings, made(settings))
    for _ in range(3):
        with recorder.stage("what changed"):
            pass
    assert len(recorder.run.stages) == 3


def test_a_run_that_is_begun_again_forgets_its_stages_and_counts(settings: Settings) -> None:
    first = Recorder(settings, made(settings))
    first.begin()
    with first.stage("test"):
        pass
    second = Recorder(settings, runs.load(settings, first.id))
    second.begin()
    assert (second.run.stages, second.run.attempts, second.run.state) == ((), 2, "running")
    assert "Again: feature/x" in log(settings, second.run)


def test_several_threads_may_write_one_run(settings: Settings) -> None:
    recorder = Recorder(settings, made(settings))
    recorder.begin()

    def work(number: int) -> None:
        with recorder.stage(f"stage {number}") as phase:
            for count in range(20):
                phase.say(f"{count}")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    run = recorder.end(runs.PASSED)
    assert {stage.name: stage.said for stage in run.stages} == {f"stage {number}": "19" for number in range(4)}


def test_a_run_ends_only_as_one_can(settings: Settings) -> None:
    with pytest.raises(SlipwayError, match="passed, failed, superseded"):
        Recorder(settings, made(settings)).end("running")


@pytest.mark.parametrize(("state", "well"), [("passed", True), ("superseded", True), ("failed", False), ("running", False)])
def test_only_a_failure_is_not_well(settings: Settings, state: str, well: bool) -> None:
    assert replace(made(settings), state=state).well is well


def test_what_a_program_said_goes_to_the_log_of_a_run_and_nowhere_else(settings: Settings) -> None:
    recorder = Recorder(settings, made(settings))
    with recorder.stage("test") as phase:
        runs.log(phase, "to the log")
    runs.log(Phase("no run"), "to nobody")
    assert "to the log" in log(settings, recorder.run)


def test_the_pipeline_is_one_at_a_time_whoever_runs_it(settings: Settings) -> None:
    said: list[str] = []
    with (
        runs.alone(settings),
        pytest.raises(WaitTimeout, match="pipeline to be free"),
        runs.alone(settings, say=said.append, timeout=0),
    ):
        pytest.fail("two at once")
    assert said == ["another run is under way; waiting for it"]
    with runs.alone(settings, timeout=0):
        pass


def test_a_foreground_run_that_nobody_runs_any_more_has_failed(settings: Settings) -> None:
    here, there = made(settings, where=runs.HERE), made(settings)
    for run in (here, there):
        Recorder(settings, run).begin()
    found = runs.settled(settings)
    assert found == runs.every(settings)
    assert {run.id: run.state for run in found} == {here.id: "failed", there.id: "running"}


@pytest.mark.parametrize("begun", [False, True])
def test_a_foreground_run_has_failed_as_soon_as_its_process_was_killed(settings: Settings, begun: bool) -> None:
    run = made(settings, where=runs.HERE)
    if begun:
        Recorder(settings, run).begin()
    where = f"Settings(Path({str(settings.root)!r}), Path({str(settings.home)!r}), 'test')"
    code = f"""
import time
from pathlib import Path
from slipway import runs
from slipway.settings import Settings
with runs.attended({where}, runs.load({where}, {run.id!r})):
    print("there", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout and process.stdout.readline() == b"there\n"
        runs.settled(settings)
        assert not runs.load(settings, run.id).over
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    runs.settled(settings)
    ended = runs.load(settings, run.id)
    assert (ended.state, ended.trouble) == ("failed", "it was interrupted")


def test_a_foreground_run_that_was_made_a_moment_ago_or_has_ended_is_left_as_it_is(settings: Settings) -> None:
    run = made(settings, where=runs.HERE)
    runs.settled(settings)
    assert runs.load(settings, run.id) == run
    with runs.attended(settings, run):
        ended = Recorder(settings, run).end(runs.PASSED)
    runs.settled(settings)
    assert runs.load(settings, run.id) == ended


def test_pruning_keeps_the_newest_and_what_has_not_ended(settings: Settings) -> None:
    made_ = [made(settings, when=1000.0 + number) for number in range(6)]
    for run in made_[1:]:
        Recorder(settings, run).end(runs.PASSED)
    runs.prune(settings, keep=2)
    assert [run.id for run in runs.every(settings)] == [made_[5].id, made_[4].id, made_[0].id]
