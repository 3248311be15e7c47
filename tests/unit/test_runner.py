"""The runner: what it takes from the push log, in which order it runs, and how it goes on after it was ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from slipway import agent, git, intake, runner, runs, shell, waiting
from slipway.errors import SlipwayError
from slipway.policy import SKIP
from slipway.pushlog import Pushed, Read
from slipway.runner import Runner
from slipway.runs import Recorder, Run
from slipway.settings import ROOT, Settings

ONE, TWO, THREE = ("1" * 40, "2" * 40, "3" * 40)


@dataclass
class Came:
    """What came of a run."""

    state: str = "passed"
    verdict: str = "dev runs it"
    trouble: str = ""
    away: bool = False


@dataclass
class Fake:
    """An instance: its push log, its branches, and what its pipeline does."""

    log: list[Pushed] = field(default_factory=list[Pushed])
    branches: dict[str, str] = field(default_factory=dict[str, str])
    ran: list[Run] = field(default_factory=list[Run])
    away: SlipwayError | None = None
    do: Callable[[Run, Recorder], Came] = lambda run, recorder: Came()
    connected: int = 0
    _seen: int = -1

    def connect(self) -> Fake:
        self.connected += 1
        self._seen = -1
        return self

    def read(self) -> Read:
        if self.away:
            raise self.away
        unchanged, self._seen = self._seen == len(self.log), len(self.log)
        return Read(unchanged=True) if unchanged else Read(tuple(self.log))

    def heads(self) -> Mapping[str, str]:
        if self.away:
            raise self.away
        return dict(self.branches)

    def run(self, run: Run, recorder: Recorder) -> Came:
        self.ran.append(run)
        return self.do(run, recorder)

    def push(self, branch: str, commit: str, *, user: str = "developer", written: bool = True, **options: str) -> None:
        before = self.branches.get(branch, git.ZERO)
        self.branches[branch] = commit
        if written:
            number = len(self.log)
            self.log.append(Pushed(1000.0 + number, user, f"refs/heads/{branch}", before, commit, options=options))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(ROOT, tmp_path / "home", "test")
    made.folder.mkdir(parents=True)
    return made


@pytest.fixture(autouse=True)
def called_off() -> Generator[None]:
    """A runner that ends calls off everything that its process does."""
    yield
    waiting.resume()
    shell.resume()


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def made(settings: Settings, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(runner, "AGAIN_AFTER", 0.0)
    monkeypatch.setattr(intake, "PATIENCE", 0.0)
    return Runner(settings, fake.connect)


def look(made: Runner, times: int = 1) -> None:
    """Let it look, and see what it began to its end."""
    for _ in range(times):
        made.look()
        made.wait()


def states(settings: Settings) -> dict[str, str]:
    return {f"{run.branch} {run.commit[0]}": run.state for run in runs.every(settings)}


def test_a_push_is_run_for_whoever_pushed_it_with_what_was_asked_for(settings: Settings, fake: Fake, made: Runner) -> None:
    fake.push("feature/x", ONE, deploy="dev")
    look(made)
    (run,) = fake.ran
    assert (run.branch, run.commit, run.pusher, run.requested) == ("feature/x", ONE, "developer", "dev")
    assert runs.load(settings, run.id).verdict == "dev runs it"
    look(made, 3)
    assert len(fake.ran) == 1


def test_what_the_repository_begins_with_is_not_run(fake: Fake, made: Runner) -> None:
    fake.push("main", ONE, user="pipeline")
    fake.push("develop", ONE, user="pipeline")
    look(made, 3)
    assert fake.ran == []
    fake.push("develop", TWO, user="pipeline")
    look(made)
    assert [run.commit for run in fake.ran] == [TWO]


def test_whoever_wants_no_run_gets_none_and_the_next_push_does(fake: Fake, made: Runner) -> None:
    fake.log.append(Pushed(1.0, "developer", "refs/heads/feature/x", git.ZERO, ONE, options={SKIP: ""}))
    look(made, 3)
    assert fake.ran == []
    fake.push("feature/x", TWO)
    look(made)
    assert [run.commit for run in fake.ran] == [TWO]


def test_tags_and_branches_that_were_removed_make_no_run(fake: Fake, made: Runner) -> None:
    fake.log = [
        Pushed(1.0, "pipeline", "refs/tags/v0.2.0", git.ZERO, ONE),
        Pushed(2.0, "developer", "refs/heads/feature/x", ONE, git.ZERO),
        Pushed(3.0, "pipeline", "refs/heads/main", git.ZERO, ONE, repository="gitops-prod"),
    ]
    look(made, 3)
    assert fake.ran == []


def test_pushes_to_a_runner_that_was_down_are_caught_up(settings: Settings, fake: Fake, made: Runner) -> None:
    fake.push("feature/x", ONE)
    look(made)
    fake.push("feature/y", TWO)
    fake.push("feature/z", THREE)
    look(Runner(settings, fake.connect), 2)
    assert [run.commit for run in fake.ran] == [ONE, TWO, THREE]


def test_a_push_that_nobody_wrote_down_is_run_for_nobody_known(fake: Fake, made: Runner) -> None:
    fake.push("feature/x", ONE)
    fake.push("feature/x", TWO, written=False)
    look(made, 3)
    assert [(run.commit, run.pusher) for run in fake.ran] == [(ONE, "developer"), (TWO, "unknown")]


def test_a_push_that_comes_into_the_log_a_moment_later_is_not_run_twice(
    fake: Fake, made: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "PATIENCE", 1000.0)
    fake.push("feature/x", ONE, written=False)
    look(made)
    fake.log.append(Pushed(1000.0, "developer", "refs/heads/feature/x", git.ZERO, ONE))
    monkeypatch.setattr(intake, "PATIENCE", 0.0)
    look(made, 3)
    assert [(run.commit, run.pusher) for run in fake.ran] == [(ONE, "developer")]


def test_a_runner_that_starts_again_takes_nobodys_push_only_once(settings: Settings, fake: Fake, made: Runner) -> None:
    fake.push("feature/x", ONE, written=False)
    look(made, 3)
    look(Runner(settings, fake.connect), 3)
    assert len(fake.ran) == 1


def test_another_log_is_taken_from_where_the_last_one_ended(settings: Settings, fake: Fake, made: Runner) -> None:
    fake.push("feature/x", ONE)
    look(made)
    fake.log = [replace(fake.log[0], user="lead"), Pushed(2000.0, "lead", "refs/heads/feature/y", git.ZERO, TWO)]
    look(Runner(settings, fake.connect), 3)
    assert [run.commit for run in fake.ran] == [ONE, TWO]


def test_only_the_newest_of_the_pushes_that_wait_is_run(settings: Settings, fake: Fake, made: Runner) -> None:
    for commit in (ONE, TWO, THREE):
        fake.push("feature/x", commit)
    fake.push("feature/y", ONE)
    look(made, 3)
    assert [(run.branch, run.commit) for run in fake.ran] == [("feature/x", THREE), ("feature/y", ONE)]
    assert states(settings) == {
        "feature/x 1": "superseded",
        "feature/x 2": "superseded",
        "feature/x 3": "passed",
        "feature/y 1": "passed",
    }


def test_what_was_asked_for_is_not_superseded_by_a_push_that_asks_for_less(fake: Fake, made: Runner) -> None:
    fake.push("feature/x", ONE, deploy="dev")
    fake.push("feature/x", TWO)
    fake.push("feature/x", THREE, deploy="qa")
    look(made, 4)
    assert [(run.commit, run.requested) for run in fake.ran] == [(ONE, "dev"), (THREE, "qa")]


def test_a_run_under_way_learns_of_a_newer_push(fake: Fake, made: Runner) -> None:
    begun, go_on, seen = threading.Event(), threading.Event(), list[bool]()

    def do(run: Run, recorder: Recorder) -> Came:
        if run.commit == ONE:
            seen.append(recorder.newer())
            begun.set()
            assert go_on.wait(10)
            seen.append(recorder.newer())
        return Came()

    fake.do = do
    fake.push("feature/x", ONE)
    made.look()
    assert begun.wait(10)
    fake.push("feature/x", TWO)
    made.look()
    assert [run.commit for run in fake.ran] == [ONE], "one at a time"
    go_on.set()
    made.wait()
    assert seen == [False, True]
    look(made)
    assert [run.commit for run in fake.ran] == [ONE, TWO]


def test_a_run_that_somebody_asks_for_beside_the_log_is_taken_too(settings: Settings, fake: Fake, made: Runner) -> None:
    look(made)
    runs.new(settings, branch="feature/x", commit=ONE, pusher="developer", requested="qa")
    look(made)
    assert [run.requested for run in fake.ran] == ["qa"]


def test_a_run_in_the_foreground_is_left_to_whoever_began_it(settings: Settings, fake: Fake, made: Runner) -> None:
    runs.new(settings, branch="feature/x", commit=ONE, pusher="pipeline", where=runs.HERE)
    look(made, 2)
    assert fake.ran == []


def test_a_run_that_was_under_way_when_the_runner_died_is_begun_again_first(settings: Settings, fake: Fake) -> None:
    fake.push("feature/x", ONE)
    intake.Intake(settings, say=print).take(fake)
    (queued,) = runs.every(settings)
    Recorder(settings, queued).begin()
    fake.push("feature/y", TWO)
    look(Runner(settings, fake.connect), 3)
    assert [run.commit for run in fake.ran] == [ONE, TWO]
    assert runs.load(settings, queued.id).attempts == 2


def test_a_run_that_ends_its_runner_each_time_is_given_up(settings: Settings, fake: Fake) -> None:
    run = runs.new(settings, branch="feature/x", commit=ONE, pusher="developer", when=1.0)
    for _ in range(runner.MOST_ATTEMPTS):
        Recorder(settings, runs.load(settings, run.id)).begin()
    again = Runner(settings, fake.connect)
    again.stopping.set()
    again.loop()
    look(again)
    ended = runs.load(settings, run.id)
    assert (fake.ran, ended.state) == ([], "failed")
    assert "ended 3 times" in ended.trouble


@pytest.mark.parametrize("error", [SlipwayError("the tests failed"), RuntimeError("a bug"), SystemError("worse")])
def test_a_run_that_breaks_ends_as_failed_and_the_next_one_runs(
    settings: Settings, fake: Fake, made: Runner, error: Exception
) -> None:
    def do(run: Run, recorder: Recorder) -> Came:
        if run.commit == ONE:
            raise error
        return Came()

    fake.do = do
    fake.push("feature/x", ONE)
    fake.push("feature/y", TWO)
    look(made, 2)
    assert states(settings) == {"feature/x 1": "failed", "feature/y 2": "passed"}
    failed = next(run for run in runs.every(settings) if run.state == "failed")
    assert str(error) in failed.trouble


def test_a_run_to_which_somebody_did_not_answer_is_begun_again_and_goes_through(
    settings: Settings, fake: Fake, made: Runner
) -> None:
    answers = [Came("failed", trouble="the Git server (x): not within 180 s", away=True), Came()]
    fake.do = lambda run, recorder: answers.pop(0)
    fake.push("feature/x", ONE)
    look(made)
    [waits] = runs.every(settings)
    assert (waits.state, waits.over, waits.trouble) == ("queued", False, "the Git server (x): not within 180 s")
    look(made)
    [ended] = runs.every(settings)
    assert (ended.state, ended.attempts, ended.trouble) == ("passed", 2, "")
    look(made)
    assert len(fake.ran) == 2


def test_a_run_that_waits_to_be_begun_again_gives_way_to_a_newer_push(settings: Settings, fake: Fake, made: Runner) -> None:
    fake.do = lambda run, recorder: Came("failed", trouble="nobody answers", away=True) if run.commit == ONE else Came()
    fake.push("feature/x", ONE)
    look(made)
    fake.push("feature/x", TWO)
    look(made, 2)
    assert states(settings) == {"feature/x 1": "superseded", "feature/x 2": "passed"}


def test_a_run_to_which_nobody_ever_answers_is_given_up(settings: Settings, fake: Fake, made: Runner) -> None:
    fake.do = lambda run, recorder: Came("failed", trouble="nobody answers", away=True)
    fake.push("feature/x", ONE)
    look(made, 5)
    [ended] = runs.every(settings)
    assert (ended.state, ended.attempts, len(fake.ran)) == ("failed", runner.MOST_ATTEMPTS, runner.MOST_ATTEMPTS)


def test_an_instance_that_is_away_is_said_and_asked_again(settings: Settings, fake: Fake, made: Runner) -> None:
    fake.away = SlipwayError("the Git server does not answer")
    look(made, 3)
    said = agent.beat(replace_folder(settings))
    assert said
    assert said.trouble == "the Git server does not answer"
    fake.push("feature/x", ONE)
    fake.away = None
    look(made)
    assert [run.commit for run in fake.ran] == [ONE]
    assert fake.connected >= 3


def test_a_log_that_has_lost_everything_is_somebody_elses_and_said(settings: Settings, fake: Fake, made: Runner) -> None:
    fake.push("feature/x", ONE)
    look(made)
    whole, fake.log = fake.log, []
    look(made, 2)
    said = agent.beat(replace_folder(settings))
    assert said
    assert "the push log is empty, and 1 pushes were taken from it" in said.trouble
    fake.log = whole
    fake.push("feature/x", TWO)
    look(made)
    assert [run.commit for run in fake.ran] == [ONE, TWO]
    assert fake.connected >= 2


def replace_folder(settings: Settings) -> Settings:
    """The settings of the host, which sees the runner's folder within the instance's."""

    class Host(Settings):
        @property
        def folder(self) -> Path:
            return settings.folder.parent

    (settings.folder.parent / "runner").symlink_to(settings.folder)
    return Host(settings.root, settings.home, settings.instance)


def test_a_damaged_cursor_is_no_end(settings: Settings, fake: Fake, made: Runner) -> None:
    (settings.folder / "cursor.json").write_text("{")
    fake.push("feature/x", ONE)
    look(made, 2)
    assert [run.commit for run in fake.ran] == [ONE]


def test_what_is_under_way_when_it_is_told_to_stop_is_left_for_the_next_start(
    settings: Settings, fake: Fake, made: Runner
) -> None:
    def do(run: Run, recorder: Recorder) -> Came:
        made.stopping.set()
        return Came("failed", trouble="everything was called off")

    fake.do = do
    fake.push("feature/x", ONE)
    look(made)
    assert states(settings) == {"feature/x 1": "running"}
    fake.do = lambda run, recorder: Came()
    look(Runner(settings, fake.connect))
    assert states(settings) == {"feature/x 1": "passed"}


def test_it_waits_while_the_pipeline_runs_in_the_foreground(settings: Settings, fake: Fake, made: Runner) -> None:
    fake.push("feature/x", ONE)
    with runs.alone(settings):
        made.look()
        assert (fake.ran, states(settings)) == ([], {"feature/x 1": "queued"})
    made.wait()
    assert states(settings) == {"feature/x 1": "passed"}


def test_it_says_what_it_does_whenever_that_changes(settings: Settings, fake: Fake, made: Runner) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def do(run: Run, recorder: Recorder) -> Came:
        begun.set()
        assert go_on.wait(10)
        return Came()

    fake.do = do
    host = replace_folder(settings)
    look(made)
    first = agent.beat(host)
    made.look()
    assert agent.beat(host) == first
    fake.push("feature/x", ONE)
    made.look()
    assert begun.wait(10)
    made.look()
    second = agent.beat(host)
    assert first
    assert second
    assert (first.run, second.run != "", second.time >= first.time) == ("", True, True)
    go_on.set()
    made.wait()


def test_the_loop_ends_when_it_is_told_to(settings: Settings, fake: Fake, made: Runner) -> None:
    looping = threading.Thread(target=made.loop)
    looping.start()
    deadline = time.monotonic() + 10
    while not (settings.folder / "beat.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    made.stopping.set()
    looping.join(10)
    assert not looping.is_alive()
