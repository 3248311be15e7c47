"""History, told from real Git repositories alone."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import cli
from slipway import access, git, gitops, history, shell
from slipway.errors import UsageError
from slipway.history import Change, History
from slipway.settings import load
from tests.unit.deliveries import BEGIN, MINUTE, Deliveries, commit, digest, entry, record

LOCK = "sha256:" + "d" * 64


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deliveries:
    return Deliveries(tmp_path / "gitops", monkeypatch)


def told(made: Deliveries, environment: str = "prod") -> tuple[Change, ...]:
    return history.read(made.at, environment, signers=made.signers)


def train(made: Deliveries) -> list[str]:
    """What a tier goes through: genesis, a stage of two, prod, a rollback; the commits in order."""
    both = [record(environment, service) for environment in ("stage", "prod") for service in ("cart", "catalog")]
    commits = [made.begin(*both)]
    fresh: dict[str, Any] = {"version": "0.2.0-rc.1", "digest": digest("b"), "source_commit": commit("b")}
    released = {**fresh, "branch": "release/v0.2.0", "release": "v0.2.0", "lock": LOCK}
    stage, prod = ([record(name, service, **released) for service in ("cart", "catalog")] for name in ("stage", "prod"))
    by = "developer"
    commits.append(made.change(*stage, Kind="deploy", Release="v0.2.0", Lock=LOCK, Triggered_By=by, Run="run-1"))
    approved = {"Promoted-From": "stage", "Approved-By": "lead"}
    commits.append(made.change(*prod, Kind="promotion", Lock=LOCK, Release="v0.2.0", Triggered_By=by, told=approved))
    back = [record("prod", service) for service in ("cart", "catalog")]
    commits.append(made.change(*back, Kind="rollback", Triggered_By="lead", Restores=commits[0]))
    return commits


def test_each_change_says_what_came_from_where_and_by_whom(made: Deliveries) -> None:
    commits = train(made)
    rollback, promotion, genesis = told(made)
    assert [change.commit for change in (genesis, promotion, rollback)] == [commits[0], commits[2], commits[3]]
    assert [change.kind for change in (genesis, promotion, rollback)] == ["genesis", "promotion", "rollback"]
    assert [(step.service, step.words) for step in promotion.steps] == [
        ("cart", "0.1.0 -> 0.2.0-rc.1"),
        ("catalog", "0.1.0 -> 0.2.0-rc.1"),
    ]
    assert (promotion.branches, promotion.sources) == (("release/v0.2.0",), (commit("b"),))
    assert (promotion.origin, promotion.release, promotion.lock) == ("stage", "v0.2.0", LOCK)
    assert (promotion.triggered_by, promotion.approved_by, promotion.restores) == ("developer", "lead", "")
    assert (promotion.time, rollback.time) == (BEGIN + 2 * MINUTE, BEGIN + 3 * MINUTE)
    assert rollback.restores == commits[0]
    assert told(made, "stage")[0].run == "run-1"


def test_telling_the_history_again_gives_what_the_tree_holds_at_every_commit(made: Deliveries, tmp_path: Path) -> None:
    commits = train(made)
    removed = {f"envs/stage/cart/{name}.yaml": None for name in ("record", "values", "manifests")}
    commits.append(made.commit(removed, "Take cart out of stage\n\nKind: deploy\n"))
    commits.append(made.change(record("stage", "fifth", version="0.3.0-dev.1"), Kind="deploy"))
    for environment in ("stage", "prod"):
        changes = told(made, environment)
        held: dict[str, gitops.Record] = {}
        for number, name in enumerate(commits):
            git.export(made.at, name, ["envs"], tmp_path / f"{environment}-{number}")
            tree = gitops.entries(tmp_path / f"{environment}-{number}")
            held = {name[1]: one.record for name, one in tree.items() if name[0] == environment}
            last = next(change.commit for change in changes if commits.index(change.commit) <= number)
            assert history.records(changes, commit=last) == held
        assert history.records(changes) == held
        assert all(older.steps for older in changes)


def test_a_commit_that_a_history_does_not_have_is_refused(made: Deliveries) -> None:
    train(made)
    with pytest.raises(UsageError, match="commit fffffff"):
        history.records(told(made), commit=commit("f"))


def test_a_change_of_another_environment_is_not_in_it(made: Deliveries) -> None:
    commits = train(made)
    assert commits[1] not in [change.commit for change in told(made)]
    assert [change.commit for change in told(made, "stage")] == [commits[1], commits[0]]
    assert told(made, "qa") == ()


def test_a_result_without_records_belongs_to_the_environment_that_it_names(made: Deliveries) -> None:
    train(made)
    files: dict[str, bytes | None] = {"releases/v0.2.0/dddddddddddd/stage.yaml": b"environment: stage\n"}
    result = made.commit(files, f"Stage ran v0.2.0\n\nKind: release\nEnvironment: stage\nLock: {LOCK}\n")
    newest = told(made, "stage")[0]
    assert (newest.commit, newest.kind, newest.steps, newest.lock) == (result, "release", (), LOCK)
    assert result not in [change.commit for change in told(made)]


def test_approvals_belong_to_where_they_are_needed(made: Deliveries) -> None:
    train(made)
    message = f"Approve v0.2.0\n\nKind: approval\nRelease: v0.2.0\nLock: {LOCK}\nApproved-By: lead\n"
    approval = made.commit({"approvals/dd/lead.yaml": b"by: lead\n"}, message)
    assert approval not in [change.commit for change in told(made)]
    newest = history.read(made.at, "prod", signers=made.signers, approvals=True)[0]
    assert (newest.commit, newest.kind, newest.approved_by, newest.lock) == (approval, "approval", "lead", LOCK)


def test_a_signature_is_told_by_whose_it_is_or_why_it_is_none(
    made: Deliveries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.begin(record("prod"))
    files = entry(record("prod", version="0.2.0")).files
    made.commit(dict(files), "Signed\n\nKind: deploy\n")
    other = Deliveries(tmp_path / "other", monkeypatch)
    signed, unsigned = told(made)
    assert (signed.signature, signed.signer, unsigned.signature, unsigned.signer) == ("good", "pipeline", "none", "")
    stranger = history.read(made.at, "prod", signers=other.signers)[0]
    assert (stranger.signature, stranger.signer) == ("unknown", "")


def test_a_signature_that_is_moved_to_another_commit_is_bad(made: Deliveries) -> None:
    made.begin(record("prod"))
    good = made.commit(dict(entry(record("prod", version="0.2.0")).files), "Signed\n\nKind: deploy\nApproved-By: lead\n")
    raw = shell.run(["git", "--git-dir", made.at, "cat-file", "commit", good]).stdout
    forged = shell.run(
        ["git", "--git-dir", made.at, "hash-object", "-t", "commit", "-w", "--stdin"], stdin=raw.replace("lead", "dave")
    ).stdout.strip()
    newest = history.read(made.at, "prod", signers=made.signers, revision=forged)[0]
    assert (newest.approved_by, newest.signature, newest.signer) == ("dave", "bad", "")


def test_a_step_says_what_runs_anew(made: Deliveries) -> None:
    made.begin(record("prod"))
    made.change(record("prod", config=digest("d")))
    made.change(record("prod", config=digest("d"), release="v0.1.0"))
    names, configuration, genesis = (change.steps[0] for change in told(made))
    assert (configuration.parts, configuration.words) == (("configuration",), "0.1.0 (configuration)")
    assert (names.parts, names.words) == ((), "0.1.0 (names only)")
    assert genesis.parts == ("image", "chart", "configuration")
    assert [bool(change.rolled) for change in told(made)] == [False, True, True]


def test_an_empty_repository_has_no_history(made: Deliveries) -> None:
    assert told(made) == ()


def shown(text: History, width: int = 120) -> str:
    written = io.StringIO()
    history.show(text, Console(file=written, width=width, soft_wrap=True))
    return written.getvalue()


def test_the_table_is_readable_in_120_columns(made: Deliveries) -> None:
    train(made)
    printed = shown(History("prod", "gitops-prod", told(made)))
    assert max(map(len, printed.splitlines())) <= 120
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert "cart, catalog 0.1.0 -> 0.2.0-rc.1" in " ".join(lines)
    assert "release/v0.2.0" in printed
    assert "v0.2.0 lock dddddddd" in printed
    assert lines[0] == "WHEN COMMIT KIND WHAT FROM BY APPROVED SIGNED"
    assert "Nothing was delivered to qa yet." in shown(History("qa", "gitops-nonprod", ()))


def test_machines_get_every_record(made: Deliveries, capsys: pytest.CaptureFixture[str]) -> None:
    train(made)
    cli.answer(History("prod", "gitops-prod", told(made)), json=True)
    printed = json.loads(capsys.readouterr().out)
    newest = printed["changes"][0]
    assert newest["at"] == "2027-01-15T08:03:00+00:00"
    assert newest["steps"][0]["before"]["version"] == "0.2.0-rc.1"
    assert newest["steps"][0]["after"] == json.loads(json.dumps(record("prod", "cart").__dict__))


def test_only_the_repository_of_the_environment_is_read(made: Deliveries, monkeypatch: pytest.MonkeyPatch) -> None:
    train(made)
    asked: list[str] = []

    class Reader:
        class secrets:
            signers_file = ""

        def remote(self, repository: str) -> git.Remote:
            asked.append(repository)
            return made.remote

    monkeypatch.setattr(access, "open", lambda *_: Reader())
    assert len(history.history(load("h7"), "prod").changes) == 3
    assert asked == ["gitops-prod"]
    with pytest.raises(UsageError, match="valid: dev, prod, qa, stage"):
        history.history(load("h7"), "moon")
