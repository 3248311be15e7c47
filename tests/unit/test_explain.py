"""What runs, where it comes from, and what its next promotion lacks: real repositories, the real policy, a fake cluster."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import cli
from slipway import access, explain, git, gitops, locks, pushlog
from slipway.errors import UsageError
from slipway.explain import Explained
from slipway.gitops import Record
from slipway.locks import Approval, LoadResult, Lock, StageResult
from slipway.pushlog import Pushed
from slipway.settings import load
from tests.unit.deliveries import Deliveries, digest, entry, record

RELEASE = "release/v0.2.0"


class Kube:
    """A cluster with these pods, or one that is away."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = []
        self.away = False
        self.asked: list[tuple[str, str]] = []

    def list(self, kind: str, *, namespace: str, labels: str) -> Sequence[Mapping[str, Any]]:
        assert kind == "Pod"
        if self.away:
            raise ConnectionError("gone")
        self.asked.append((namespace, labels))
        return self.pods

    def runs(self, image: str, *, ready: bool = True, leaving: bool = False) -> None:
        """One more pod."""
        status = {"name": "catalog", "imageID": f"registry/catalog@{image}", "ready": ready}
        other = {"name": "proxy", "imageID": f"registry/proxy@{digest('9')}", "ready": True}
        meta = {"deletionTimestamp": "2027-01-15T08:00:30Z"} if leaving else {}
        self.pods.append({"metadata": meta, "status": {"containerStatuses": [other, status]}})


class Ground:
    """An instance as somebody with access sees it: repositories in a folder."""

    environments: tuple[str, ...] = ("dev", "qa", "stage", "prod")
    user = "developer"

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings, self.kube = load(), Kube()
        self.nonprod, self.prod = Deliveries(folder / "nonprod", monkeypatch), Deliveries(folder / "prod", monkeypatch)
        self.mirror, self.fetched = folder / "app", 0
        git.init(self.mirror, branch="main")
        self.first = self.source("Begin")
        git.shell.run(["git", "-C", self.mirror, "tag", "v0.1.0"])
        git.shell.run(["git", "-C", self.mirror, "branch", "develop"])
        self.nonprod.begin(*(record(name, source_commit=self.first) for name in ("dev", "qa")))
        self.prod.begin(*(record(name, source_commit=self.first, release="v0.1.0") for name in ("stage", "prod")))

        class Secrets:
            signers_file = self.nonprod.signers

        self.secrets = Secrets

    def source(self, subject: str, branch: str = "") -> str:
        """One more commit of the application."""
        if branch:
            known = git.resolve(self.mirror, f"refs/heads/{branch}")
            git.shell.run(["git", "-C", self.mirror, "checkout", "-q", *([] if known else ["-b"]), branch])
        (self.mirror / "file").write_text(subject)
        git.stage(self.mirror, ["."])
        return git.commit(self.mirror, subject, identity=git.Identity("developer", "developer@slipway.localhost"))

    def records(self, environment: str) -> git.Remote:
        return (self.nonprod if environment in ("dev", "qa") else self.prod).remote

    def fetch(self) -> Path:
        self.fetched += 1
        return self.mirror


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    made = Ground(tmp_path, monkeypatch)

    def opened(*_: object) -> Ground:
        return made

    def log(_: object) -> list[Pushed]:
        tip = git.resolve(made.mirror, f"refs/heads/{RELEASE}") or git.ZERO
        return [Pushed(1.0, "developer", f"refs/heads/{RELEASE}", git.ZERO, tip)]

    monkeypatch.setattr(access, "open", opened)
    monkeypatch.setattr(pushlog, "push_log", log)
    return made


def explained(ground: Ground, environment: str, service: str = "catalog") -> Explained:
    return explain.explain(ground.settings, service, environment)


def refused(told: Explained) -> list[str]:
    assert told.next
    return [refusal.rule for refusal in told.next.refusals]


def fresh(environment: str, commit: str, branch: str, **more: Any) -> Record:
    said = {"version": "0.2.0-x.1", "digest": digest("b"), "inputs": digest("f"), "source_commit": commit, "branch": branch}
    return record(environment, **said, **more)


def staged(ground: Ground, *, approved_by: str = "", passed: bool = True) -> Lock:
    """A release that stage runs."""
    commit = ground.source("Feature", RELEASE)
    plain = fresh("stage", commit, RELEASE, release="v0.2.0")
    lock = locks.of([plain], release="v0.2.0", version="0.2.0-rc.1", branch=RELEASE, commit=commit)
    locked = gitops.Commit([entry(replace(plain, lock=lock.hash))], lock.files, {"Kind": "release"})
    made = gitops.change(ground.prod.remote, lambda _: locked, reason="Release v0.2.0")
    files: dict[str, bytes] = {}
    if passed:
        files.update(StageResult("v0.2.0", lock.hash, "stage", made.commit, lock.digests, "2027-01-15T08:00:00Z").files)
    if approved_by:
        files.update(Approval("v0.2.0", lock.hash, approved_by, "2027-01-15T08:00:00Z").files)
    if files:
        gitops.change(ground.prod.remote, lambda _: gitops.Commit(files=files), reason="Tell")
    return lock


def test_it_says_what_brought_it_and_what_it_was_made_of(ground: Ground) -> None:
    commit = ground.source("Add a search", "feature/search")
    made = ground.nonprod.change(
        fresh("dev", commit, "feature/search"), record("dev", "cart"), Kind="deploy", Triggered_By="developer", Run="run-1"
    )
    ground.nonprod.change(record("dev", "cart", version="0.3.0"), Kind="deploy")
    told = explained(ground, "dev")
    assert told.record == fresh("dev", commit, "feature/search")
    assert told.change
    assert (told.change.commit, told.change.triggered_by, told.change.run) == (made, "developer", "run-1")
    assert told.source
    assert (told.source.subject, told.source.author) == ("Add a search", "developer")
    assert ground.fetched == 1


def test_what_the_pods_really_run_is_told_apart_from_what_git_says(ground: Ground) -> None:
    ground.kube.runs(digest("a"))
    ground.kube.runs(digest("a"), ready=False)
    ground.kube.runs(digest("7"), leaving=True)
    told = explained(ground, "prod")
    assert [(one.digest, one.pods, one.ready) for one in told.running or ()] == [(digest("a"), 2, 1)]
    assert told.exact
    assert ground.kube.asked == [("prod", "app.kubernetes.io/name=catalog")]
    ground.kube.runs(digest("8"))
    assert not explained(ground, "prod").exact
    ground.kube.pods.clear()
    assert not explained(ground, "prod").exact
    ground.kube.away = True
    assert explained(ground, "prod").running is None


def test_a_feature_reaches_qa_but_its_next_step_from_there_is_a_merge(ground: Ground) -> None:
    commit = ground.source("Add a search", "feature/search")
    ground.nonprod.change(fresh("dev", commit, "feature/search"), fresh("qa", commit, "feature/search"))
    told = explained(ground, "qa")
    assert refused(told)[0] == "branches"
    assert told.command == "./invoke merge feature/search"


def test_what_may_go_on_goes_on_by_promotion(ground: Ground) -> None:
    commit = ground.source("Add a search", "feature/search")
    ground.nonprod.change(fresh("dev", commit, "feature/search"))
    told = explained(ground, "dev")
    assert (refused(told), told.command) == ([], "./invoke promote qa --service catalog")
    assert told.next
    assert (told.next.environment, told.next.how, told.next.there) == ("qa", "request", False)


def test_what_was_rolled_back_is_said_with_what_brings_it_again(ground: Ground) -> None:
    commit = ground.source("Add a search", "develop")
    ran = ground.nonprod.change(fresh("dev", commit, "develop"), fresh("qa", commit, "develop"), Kind="deploy")
    assert explained(ground, "qa").held == ()
    back = ground.nonprod.change(record("qa"), Kind="rollback", Restores=ran)
    told = explained(ground, "qa")
    assert [(one.version, one.branch, one.release, one.commit) for one in told.held] == [("0.2.0-x.1", "develop", "", back)]
    said = shown(told)
    assert f"0.2.0-x.1 of develop, since {back[:12]} rolled back" in said
    assert "./invoke push develop --to qa" in said
    # And whoever asks what comes next is told that it does not come by itself.
    before = explained(ground, "dev")
    assert refused(before) == ["held"]
    assert "qa was rolled back from this develop, and stays so until somebody promotes" in shown(before)
    assert before.command == "./invoke push develop --to qa"


def test_what_is_there_already_needs_no_promotion(ground: Ground) -> None:
    told = explained(ground, "dev")
    assert told.next
    assert told.next.there
    assert told.command == "./invoke explain catalog --env qa"


def test_develop_gets_further_as_a_release(ground: Ground) -> None:
    commit = ground.source("Merge", "develop")
    ground.nonprod.change(fresh("dev", commit, "develop"), fresh("qa", commit, "develop"))
    told = explained(ground, "qa")
    assert "branches" in refused(told)
    assert told.command == "./invoke release.cut 0.2.0"


def test_something_older_than_what_runs_next_does_not_go_on(ground: Ground) -> None:
    older = ground.source("One", "feature/search")
    newer = ground.source("Two", "feature/search")
    ground.nonprod.change(fresh("dev", older, "feature/search"), fresh("qa", newer, "feature/search", chart_version="9"))
    told = explained(ground, "dev")
    assert (refused(told), told.command) == (["order"], "./invoke diff dev qa")


def test_a_branch_that_is_gone_is_pushed_again(ground: Ground) -> None:
    ground.nonprod.change(fresh("dev", ground.first, "feature/gone"))
    told = explained(ground, "dev")
    assert (refused(told), told.command) == (["origin"], "./invoke push feature/gone")


def test_a_release_without_a_result_of_stage_is_pushed_again(ground: Ground) -> None:
    staged(ground, passed=False)
    told = explained(ground, "stage")
    assert refused(told) == ["stage-first", "approval"]
    assert told.command == f"./invoke push {RELEASE}"


def test_a_release_that_nobody_approved_lacks_an_approval(ground: Ground) -> None:
    lock = staged(ground)
    told = explained(ground, "stage")
    assert refused(told) == ["approval"]
    assert told.command == "./invoke approve v0.2.0 --user lead"
    assert told.record.lock == lock.hash
    assert told.next
    assert (told.next.how, told.next.facts.authors) == ("dispatch", ("developer",))


def test_a_release_that_was_approved_is_promoted_by_hand(ground: Ground) -> None:
    staged(ground, approved_by="lead")
    told = explained(ground, "stage")
    assert (refused(told), told.command) == ([], "./invoke promote prod --release v0.2.0")


def test_a_release_that_passed_no_load_test_lacks_one_where_the_policy_requires_it(ground: Ground, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(load().policy_file.read_text().replace("load: off", "load: required"))
    ground.settings = load(load().instance, environ={"SLIPWAY_POLICY": str(file), "SLIPWAY_HOME": str(tmp_path)})
    lock = staged(ground)
    told = explained(ground, "stage")
    assert refused(told) == ["load", "approval"]
    assert told.command == "./invoke load --env stage --release 0.2.0"
    passed = LoadResult("v0.2.0", lock.hash, "stage", "e" * 40, lock.digests, "load-1", "smoke", "2027-01-15T08:00:00Z")
    gitops.change(ground.prod.remote, lambda _: gitops.Commit(files=passed.files), reason="Tell")
    told = explained(ground, "stage")
    assert (refused(told), told.command) == (["approval"], "./invoke approve v0.2.0 --user lead")
    assert told.next
    assert told.next.facts.loaded == ("stage",)


def test_a_release_that_prod_runs_is_finished_until_its_tag_is_there(ground: Ground) -> None:
    ground.prod.change(fresh("prod", ground.first, RELEASE, release="v0.2.0"))
    assert explained(ground, "prod").next is None
    assert explained(ground, "prod").command == "./invoke release.finish 0.2.0"
    git.shell.run(["git", "-C", ground.mirror, "tag", "v0.2.0"])
    assert explained(ground, "prod").command == "./invoke history prod"


def test_what_a_rollback_brought_back_was_approved_by_who_approved_it_first(ground: Ground) -> None:
    lock = staged(ground, approved_by="lead")
    first = replace(explained(ground, "stage").record, environment="prod")
    ran = ground.prod.change(first, Kind="promotion", told={"Approved-By": "lead"})
    other = replace(first, version="0.3.0-rc.1", digest=digest("d"), release="v0.3.0", lock=digest("3"))
    ground.prod.change(other, Kind="promotion")
    assert (explained(ground, "prod").record, explained(ground, "prod").approved_by) == (other, ())
    ground.prod.change(first, Kind="rollback", Restores=ran)
    told = explained(ground, "prod")
    assert (told.record.lock, told.approved_by) == (lock.hash, ("lead",))
    assert told.change
    assert (told.change.kind, told.change.approved_by) == ("rollback", "")
    assert "approved by lead" in [" ".join(line.split()) for line in shown(told).splitlines()]


def test_a_store_is_not_promoted(ground: Ground) -> None:
    ground.nonprod.change(record("dev", "postgresql", chart="postgresql"))
    told = explained(ground, "dev", "postgresql")
    assert (told.next, told.command) == (None, "./invoke history dev")


def test_what_does_not_run_is_said_so(ground: Ground) -> None:
    with pytest.raises(UsageError, match="dev runs nothing of cart yet"):
        explained(ground, "dev", "cart")
    with pytest.raises(UsageError, match="no service 'moon'"):
        explained(ground, "dev", "moon")
    ground.environments = ("dev", "qa")
    with pytest.raises(UsageError, match="has no prod"):
        explained(ground, "prod")


def shown(told: Explained) -> str:
    written = io.StringIO()
    explain.show(told, Console(file=written, width=120, soft_wrap=True))
    return written.getvalue()


def test_a_person_reads_it_all_and_what_to_type(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.kube.runs(digest("b"))
    lock = staged(ground)
    told = explained(ground, "stage")
    lines = [" ".join(line.split()) for line in shown(told).splitlines()]
    assert lines[0] == "catalog in stage runs 0.2.0-x.1"
    assert "pods 1 of 1 ready, each runs exactly this digest" in lines
    assert f"release v0.2.0, lock {lock.hash[7:19]}" in lines
    assert "prod would refuse it:" in lines
    assert any(line.startswith("REFUSED by rule 'approval'") for line in lines)
    assert any(line.startswith("Allowed: ") for line in lines)
    assert lines[-1] == "Next: ./invoke approve v0.2.0 --user lead"
    ground.kube.runs(digest("8"))
    assert "NOT what Git says: 1 run 888888888888, 1 run bbbbbbbbbbbb" in shown(explained(ground, "stage"))
    cli.answer(told, json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["runs_what_git_says"] is True
    assert printed["next"]["refusals"][0]["rule"] == "approval"
    assert printed["change"]["kind"] == "release"
