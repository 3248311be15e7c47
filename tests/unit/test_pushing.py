"""`push`, `ci` and `ci.runs`, on real repositories, with a pipeline that does what it is told."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway import access, agent, engine, git, pipeline, pushing, runs, wishes
from slipway.errors import SlipwayError, UsageError, WaitTimeout
from slipway.promotion import Refused
from slipway.pushing import following
from slipway.runs import Recorder, Run
from slipway.settings import ROOT, Settings
from tests.unit.fakes import Screen

Do = Callable[[Recorder], pipeline.Outcome]


def passes(recorder: Recorder) -> pipeline.Outcome:
    with recorder.stage("lint and test") as phase:
        phase.say("54 passed")
    with recorder.stage("images") as phase:
        phase.skip("cached")
    return pipeline.Outcome("passed", "dev runs it")


def fails(recorder: Recorder) -> pipeline.Outcome:
    with recorder.stage("lint and test") as phase:
        phase.fail("two tests failed")
    return pipeline.Outcome("failed", "", "tests of catalog failed: test_it")


@dataclass
class World:
    """A checkout, a server, and a runner that takes what comes to the server."""

    settings: Settings
    server: Path
    screen: Screen = field(default_factory=Screen)
    user: str = "developer"
    do: Do = passes
    stop: threading.Event = field(default_factory=threading.Event)
    taken: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    ran: list[Run] = field(default_factory=list[Run])

    @property
    def app(self) -> git.Remote:
        return git.Remote(str(self.server), self.user)

    def fetch(self) -> Path:
        mirror = self.settings.folder / "app.git"
        git.mirror(self.app, mirror)
        return mirror

    def git(self, *words: str, at: Path | None = None) -> str:
        who = ["-c", "user.name=someone", "-c", "user.email=someone@example"]
        return subprocess.run(
            ["git", *who, *words], cwd=at or self.settings.root, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, text: str, branch: str = "") -> str:
        if branch:
            self.git("switch", "--quiet", "--create", branch)
        (self.settings.root / "file").write_text(text)
        self.git("add", "file")
        self.git("commit", "--quiet", "-m", text)
        return self.git("rev-parse", "HEAD")

    def push(self, branch: str = "", to: str = "") -> Run:
        return pushing.push(self.settings, branch, to, self.user, progress=self.screen.progress)

    def key(self, user: str) -> Path:
        place = self.settings.home / f"key-{user}"
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place], check=True)
        return place

    def wished(self, text: str, to: str, branch: str, user: str) -> bool:
        """Whether a wish was signed by somebody, and for this."""
        wish, signers = wishes.read(text), self.settings.home / "signers"
        signers.write_text(f"{user}@example {self.key(user).with_suffix('.pub').read_text()}")
        return wish is not None and wishes.signed(wish, to, branch, signers=signers, by=f"{user}@example")

    def on_server(self, branch: str) -> str | None:
        return git.resolve(self.server, f"refs/heads/{branch}")

    def runner(self) -> None:
        """Takes what is pushed, and what is queued."""
        while not self.stop.wait(0.01):
            log = self.server / "pushes"
            for line in log.read_text().splitlines() if log.is_file() else []:
                commit, name, requested = line.split(" ")
                branch = name.removeprefix("refs/heads/")
                if (branch, commit) not in self.taken:
                    self.taken.add((branch, commit))
                    runs.new(self.settings, branch=branch, commit=commit, pusher=self.user, requested=requested)
            for run in runs.every(self.settings):
                if run.state == runs.QUEUED and run.where == runs.RUNNER:
                    self.ran.append(run)
                    recorder = Recorder(self.settings, run)
                    recorder.begin()
                    came = self.do(recorder)
                    recorder.end(came.state, verdict=came.verdict, trouble=came.trouble)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    root, server = tmp_path / "checkout", tmp_path / "app.git"
    settings = Settings(root, tmp_path / "home", "test", rules=ROOT / "cluster" / "policy.yaml")
    made = World(settings, server)
    root.mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    first = made.commit("first")
    made.git("init", "--quiet", "--bare", "--initial-branch=main", str(server))
    made.git("config", "receive.advertisePushOptions", "true", at=server)
    made.git("push", "--quiet", str(server), "main", "main:develop", "main:refs/tags/v0.1.0")
    made.taken |= {("main", first), ("develop", first)}
    hook = server / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    line = 'echo "$after $name ${GIT_PUSH_OPTION_0#deploy=}" >> pushes'
    hook.write_text(f"#!/bin/sh\nwhile read before after name; do {line}; done\n")
    hook.chmod(0o755)

    def reach(found: Settings, user: str = "pipeline") -> Any:
        assert found is settings
        made.user = user
        return SimpleNamespace(settings=settings, user=user, app=made.app, fetch=made.fetch, key=made.key(user))

    monkeypatch.setattr(access, "open", reach)
    monkeypatch.setattr(engine, "find", lambda _: None)
    monkeypatch.setattr(following, "TAKEN_TIMEOUT", 10.0)
    return made


@pytest.fixture
def running(world: World) -> Generator[World]:
    thread = threading.Thread(target=world.runner)
    thread.start()
    yield world
    world.stop.set()
    thread.join()


def test_the_branch_that_is_checked_out_is_pushed_and_followed_to_its_end(running: World) -> None:
    commit = running.commit("second", "feature/x")
    run = running.push()
    assert running.on_server("feature/x") == commit
    assert (run.branch, run.commit, run.state, run.verdict, run.well) == ("feature/x", commit, "passed", "dev runs it", True)
    shown = "\n".join(running.screen.lines)
    assert f"{commit[:9]} as developer" in shown
    assert "✓ lint and test" in shown
    assert "54 passed" in shown
    assert "· images" in shown


def test_what_is_asked_for_goes_along(running: World) -> None:
    running.commit("second", "feature/x")
    assert running.push(to="dev").requested == "dev"


def test_a_run_that_fails_says_why_and_where_to_read_on(running: World) -> None:
    running.do = fails
    running.commit("second", "feature/x")
    run = running.push()
    assert (run.well, run.trouble) == (False, "tests of catalog failed: test_it")
    assert any(line.startswith("✗ lint and test") and "two tests failed" in line for line in running.screen.lines)
    shown = Screen()
    pushing.show(running.settings, run, shown.progress.console)
    assert f"Next: ./invoke ci.runs --run {run.id} --name test" in shown.lines
    assert any("tests of catalog failed" in line for line in shown.lines)


@pytest.mark.parametrize(
    ("branch", "changed", "following"),
    [
        ("feature/x", {}, "merge feature/x"),
        ("hotfix/leak", {}, "merge hotfix/leak"),
        ("release/v0.2.0", {}, "approve v0.2.0 --user lead"),
        ("release/v0.2.0", {"load: off": "load: required"}, "load --env stage --release 0.2.0"),
        ("develop", {}, "status"),
        ("main", {}, "status"),
        ("of-no-line", {}, "status"),
        ("feature/x", {"preset: gitflow": "preset: trunk"}, "merge feature/x"),
        ("main", {"preset: gitflow": "preset: trunk"}, "status"),
        ("release/v0.2.0", {"preset: gitflow": "preset: trunk"}, "status"),
    ],
)
def test_a_run_that_passed_says_what_comes_next(branch: str, changed: dict[str, str], following: str, tmp_path: Path) -> None:
    text = (ROOT / "cluster" / "policy.yaml").read_text()
    for old, new in changed.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (tmp_path / "policy.yaml").write_text(text)
    settings, shown = Settings(ROOT, tmp_path, "test", rules=tmp_path / "policy.yaml"), Screen()
    run = Run("a-run", branch, "c" * 40, "developer", state=runs.PASSED, verdict="dev runs it")
    pushing.show(settings, run, shown.progress.console)
    assert [line for line in shown.lines if line.startswith("Next")] == [f"Next: ./invoke {following} --name test"]


def test_a_run_that_a_newer_push_made_needless_leads_to_the_list_of_runs(world: World) -> None:
    run, shown = Run("a-run", "feature/x", "c" * 40, "developer", state=runs.SUPERSEDED, trouble="a newer push"), Screen()
    pushing.show(world.settings, run, shown.progress.console)
    assert shown.lines[-1] == "Next: ./invoke ci.runs --name test"


def test_pushing_again_what_passed_only_shows_how_it_ended(running: World) -> None:
    running.commit("second", "feature/x")
    first, second = running.push(), running.push()
    assert (first.id, len(running.ran)) == (second.id, 1)
    assert "this is how its run ended" in running.screen.text


def test_pushing_again_what_failed_runs_it_again(running: World) -> None:
    running.do = fails
    commit = running.commit("second", "feature/x")
    old = Recorder(
        running.settings, runs.new(running.settings, branch="feature/x", commit=commit, pusher="lead", when=1.0, where=runs.HERE)
    )
    old.end(runs.FAILED)
    running.taken.add(("feature/x", commit))
    running.git("push", "--quiet", str(running.server), "feature/x")
    running.do = passes
    run = running.push()
    assert (run.state, run.pusher) == ("passed", "developer")


@pytest.mark.parametrize("begun", [False, True])
def test_what_a_killed_command_left_is_run_again(running: World, begun: bool) -> None:
    commit = running.commit("second", "feature/x")
    left(running, commit, begun=begun)
    running.taken.add(("feature/x", commit))
    running.git("push", "--quiet", str(running.server), "feature/x")
    run = running.push()
    assert (run.state, run.where) == ("passed", "runner")


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_whose_command_is_killed_is_followed_to_that_end_alone(world: World, begun: bool) -> None:
    commit = world.commit("second", "feature/x")
    left(world, commit, begun=begun)
    run = pushing.follow(world.settings, "feature/x", commit, progress=world.screen.progress)
    assert (run.state, run.trouble) == ("failed", "it was interrupted")


def left(world: World, commit: str, *, begun: bool) -> None:
    """A run in the foreground that nobody sees to any more."""
    run = runs.new(world.settings, branch="feature/x", commit=commit, pusher="lead", when=1.0, where=runs.HERE)
    with runs.attended(world.settings, run):
        if begun:
            Recorder(world.settings, run).begin()


def test_an_environment_may_be_asked_for_after_the_push(running: World) -> None:
    commit = running.commit("second", "feature/x")
    old = Recorder(
        running.settings, runs.new(running.settings, branch="feature/x", commit=commit, pusher="lead", when=1.0, where=runs.HERE)
    )
    old.end(runs.PASSED)
    running.taken.add(("feature/x", commit))
    running.git("push", "--quiet", str(running.server), "feature/x")
    run = running.push(to="qa")
    assert (run.requested, run.pusher, run.state) == ("qa", "developer", "passed")
    assert running.wished(run.wish, "qa", "feature/x", "developer")
    assert (wish := wishes.read(run.wish))
    assert wish.commit == commit
    assert run.id != old.id


@pytest.mark.parametrize("pushed_before", [False, True])
def test_what_the_policy_forbids_is_refused_by_its_rule_before_anything_is_sent(world: World, pushed_before: bool) -> None:
    world.commit("second", "feature/x")
    if pushed_before:
        world.git("push", "--quiet", str(world.server), "feature/x")
    with pytest.raises(Refused, match=r"REFUSED by rule 'branches': (?s:.*)stage(?s:.*)Allowed: "):
        world.push(to="stage")
    assert bool(world.on_server("feature/x")) is pushed_before
    assert runs.every(world.settings) == []


def test_a_branch_that_nobody_may_push_to_is_refused_before_anything_is_sent(world: World) -> None:
    world.git("switch", "--quiet", "--create", "develop")
    before = world.on_server("develop")
    world.commit("second")
    with pytest.raises(Refused, match="REFUSED by rule 'merge'"):
        world.push()
    assert world.on_server("develop") == before


def test_a_name_that_the_policy_does_not_know_is_refused(world: World) -> None:
    world.commit("second", "nonsense")
    with pytest.raises(Refused, match="nonsense"):
        world.push()


def test_a_branch_that_lost_its_history_is_refused(world: World) -> None:
    world.commit("second", "feature/x")
    world.git("push", "--quiet", str(world.server), "feature/x")
    world.git("commit", "--quiet", "--amend", "-m", "other")
    with pytest.raises(Refused, match="REFUSED by rule 'history'"):
        world.push()


def test_a_branch_that_somebody_else_went_on_with_is_told_how_to_get_it(world: World, tmp_path: Path) -> None:
    world.commit("second", "feature/x")
    world.git("push", "--quiet", str(world.server), "feature/x")
    world.git("clone", "--quiet", "--branch=feature/x", str(world.server), str(tmp_path / "other"))
    world.git("commit", "--quiet", "--allow-empty", "-m", "theirs", at=tmp_path / "other")
    world.git("push", "--quiet", "origin", "feature/x", at=tmp_path / "other")
    world.commit("mine")
    with pytest.raises(git.PushConflict, match=r"has commits in app\.git that this checkout lacks.*git pull .* feature/x"):
        world.push()


@pytest.mark.parametrize(
    ("branch", "to", "words"), [("feature/z", "", "feature/z.*valid: main"), ("main", "moon", "moon.*valid: dev")]
)
def test_a_wrong_name_is_refused_with_the_valid_ones(world: World, branch: str, to: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        world.push(branch, to)


def test_without_a_branch_checked_out_one_must_be_named(world: World) -> None:
    world.git("switch", "--quiet", "--detach")
    with pytest.raises(UsageError, match="no branch is checked out here"):
        world.push()


def test_uncommitted_changes_are_said_to_stay_behind(running: World) -> None:
    running.commit("second", "feature/x")
    (running.settings.root / "file").write_text("third")
    running.push()
    assert "uncommitted changes were not pushed" in running.screen.text


def test_a_runner_that_is_down_is_said_and_the_push_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "TAKEN_TIMEOUT", 0.1)
    monkeypatch.setattr(engine, "find", lambda _: object())
    monkeypatch.setattr(agent, "trouble", lambda *_: "it is exited; pushes wait until `./invoke up` has started it")
    commit = world.commit("second", "feature/x")
    with pytest.raises(WaitTimeout, match=r"it is exited; pushes wait(?s:.*)What was pushed stays"):
        world.push()
    assert world.on_server("feature/x") == commit


def test_a_superseded_run_is_well(running: World) -> None:
    running.do = lambda recorder: pipeline.Outcome("superseded", "", "a newer push came")
    running.commit("second", "feature/x")
    run = running.push()
    assert (run.state, run.well) == ("superseded", True)


def foreground(world: World, monkeypatch: pytest.MonkeyPatch, do: Do) -> list[dict[str, Any]]:
    """What the pipeline is asked for, in the foreground."""
    asked: list[dict[str, Any]] = []

    def run(found: Any, commit: str, branch: str, *, recorder: Recorder, **options: Any) -> pipeline.Outcome:
        asked.append({"user": found.user, "commit": commit, "branch": branch, **options})
        return do(recorder)

    monkeypatch.setattr(pipeline, "run", run)
    return asked


def ci(world: World, ref: str, to: str = "", user: str = "") -> Run:
    return pushing.ci(world.settings, ref, to, user, progress=world.screen.progress)


@pytest.mark.parametrize("ref", ["develop", "refs/heads/develop"])
def test_ci_runs_the_same_pipeline_here_without_a_runner(world: World, monkeypatch: pytest.MonkeyPatch, ref: str) -> None:
    asked = foreground(world, monkeypatch, passes)
    run = ci(world, ref, "dev")
    commit = world.on_server("develop")
    [told] = asked
    assert world.wished(told.pop("wish"), "dev", "develop", "developer")
    assert told == {"user": "pipeline", "commit": commit, "branch": "develop", "requested": "dev", "triggered_by": "developer"}
    assert (run.state, run.where, run.commit) == ("passed", "here", commit)
    assert "✓ lint and test" in world.screen.text
    assert runs.load(world.settings, run.id) == run


def test_ci_says_what_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    foreground(world, monkeypatch, fails)
    assert ci(world, "develop").trouble == "tests of catalog failed: test_it"

    def breaks(_: Recorder) -> pipeline.Outcome:
        raise SlipwayError("the Git server is away")

    foreground(world, monkeypatch, breaks)
    assert (run := ci(world, "develop")).state == "failed"
    assert run.trouble == "the Git server is away"


def test_ci_refuses_a_branch_that_is_not_there(world: World) -> None:
    with pytest.raises(UsageError, match=r"no branch in app\.git 'feature/z'; valid: develop, main"):
        ci(world, "feature/z")


def test_ci_is_somebodys_wish_as_if_they_had_pushed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = foreground(world, monkeypatch, passes)
    run = ci(world, "develop", "dev", "lead")
    assert (run.pusher, asked[0]["user"], asked[0]["triggered_by"]) == ("lead", "pipeline", "lead")
    assert world.wished(asked[0]["wish"], "dev", "develop", "lead")
    assert not world.wished(asked[0]["wish"], "dev", "develop", "developer")
    with pytest.raises(UsageError, match="no user 'nobody'; valid: developer, lead, pipeline"):
        ci(world, "develop", user="nobody")


def pushed(world: World, branch: str, text: str) -> str:
    commit = world.commit(text, branch)
    world.git("push", "--quiet", str(world.server), branch)
    return commit


def test_ci_takes_a_commit_that_one_branch_has(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = foreground(world, monkeypatch, passes)
    older = pushed(world, "feature/x", "second")
    world.commit("third")
    world.git("push", "--quiet", str(world.server), "feature/x")
    for ref in (older, older[:8], f"feature/x@{older[:8]}"):
        assert (ci(world, ref).commit, asked[-1]["branch"]) == (older, "feature/x")


def test_ci_refuses_a_commit_that_says_no_branch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = foreground(world, monkeypatch, passes)
    first, second = world.on_server("main") or "", pushed(world, "feature/x", "second")
    with pytest.raises(UsageError, match=rf"is on develop, feature/x and main\. .*\./invoke ci --ref develop@{first[:9]}$"):
        ci(world, first[:9])
    assert ci(world, f"main@{first[:9]}").branch == "main"
    with pytest.raises(UsageError, match=r"develop does not have .*, which is on feature/x"):
        ci(world, f"develop@{second}")
    with pytest.raises(UsageError, match=r"no branch of app\.git has one commit 0123456"):
        ci(world, "0123456")
    with pytest.raises(UsageError, match=r"no branch in app\.git 'feature/z'"):
        ci(world, f"feature/z@{first}")
    assert len(asked) == 1


def test_ci_waits_while_another_run_is_under_way_and_then_has_its_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def do(recorder: Recorder) -> pipeline.Outcome:
        with pytest.raises(WaitTimeout), runs.alone(world.settings, timeout=0):
            pass
        runs.settled(world.settings)
        assert not runs.load(world.settings, recorder.id).over
        held.append(True)
        return passes(recorder)

    foreground(world, monkeypatch, do)
    turn = runs.alone(world.settings)
    turn.__enter__()
    threading.Timer(0.2, lambda: turn.__exit__(None, None, None)).start()
    assert ci(world, "develop").well
    assert held == [True]
    with runs.alone(world.settings, timeout=0):
        pass


def test_a_foreground_run_that_is_interrupted_is_written_down_as_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(recorder: Recorder) -> pipeline.Outcome:
        raise KeyboardInterrupt

    foreground(world, monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        ci(world, "develop")
    (run,) = runs.every(world.settings)
    assert (run.state, run.trouble) == ("failed", "it was interrupted")
    with runs.alone(world.settings, timeout=0):
        pass


def test_the_list_of_runs_says_whose_they_are_and_how_they_ended(running: World) -> None:
    shown = Screen()
    pushing.show_runs(pushing.listed(running.settings), shown.progress.console)
    assert shown.lines == ["There are no runs yet. Next: ./invoke push"]
    running.commit("second", "feature/x")
    run = running.push()
    shown = Screen()
    pushing.show_runs(pushing.listed(running.settings), shown.progress.console)
    assert shown.lines[0].split() == ["RUN", "BRANCH", "COMMIT", "PUSHER", "STATE", "SECONDS", "WHERE", "VERDICT"]
    assert shown.lines[1].split()[:5] == [run.id, "feature/x", run.commit[:9], "developer", "passed"]


def test_a_foreground_run_whose_process_is_gone_is_told_as_failed(world: World) -> None:
    run = runs.new(world.settings, branch="feature/x", commit="c" * 40, pusher="developer", where=runs.HERE)
    runs.Recorder(world.settings, run).begin()
    assert "failed after" in pushing.printed(world.settings, run.id)
    assert [(one.state, one.trouble) for one in pushing.listed(world.settings)] == [("failed", "it was interrupted")]


def test_one_run_is_printed_with_its_stages_and_its_log(running: World) -> None:
    running.do = fails
    running.commit("second", "feature/x")
    run = running.push()
    text = pushing.printed(running.settings, run.id)
    assert f"feature/x at {run.commit}, pushed by developer: failed" in text
    assert "lint and test    two tests failed" in text
    assert "== lint and test" in text
    with pytest.raises(UsageError, match=run.id):
        pushing.printed(running.settings, "nothing")
