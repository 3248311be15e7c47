"""Records and the commits that change them, with real git and a chart that is rendered by a stand-in."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway import git, gitops, helm
from slipway.errors import CommandFailed, UsageError, WaitTimeout
from slipway.gitops import Entry, Record
from tests.unit.fakes import FakeClock

DIGEST = "sha256:" + "a" * 64


@pytest.fixture(autouse=True)
def rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    def template(chart: Path, *, values: dict[str, Any], **_: object) -> list[dict[str, Any]]:
        meta = {"name": values["service"], "namespace": values["environment"]}
        return [
            {"kind": "Service", "metadata": meta},
            {"kind": "ConfigMap", "metadata": meta, "data": values["config"]},
            {"kind": "Deployment", "metadata": meta, "image": values["image"]},
        ]

    monkeypatch.setattr(helm, "template", template)


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / "chart"
    folder.mkdir()
    (folder / "Chart.yaml").write_text("name: microservice\nversion: 1.2.3\n")
    return folder


@pytest.fixture
def remote(tmp_path: Path) -> git.Remote:
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", tmp_path / "gitops.git"], check=True)
    return git.Remote(str(tmp_path / "gitops.git"))


def entry(chart: Path, environment: str = "dev", service: str = "catalog", **more: Any) -> Entry:
    record = Record(environment, service, more.pop("version", "0.1.0"), f"localhost:5001/{service}", DIGEST, "c" * 40)
    values = {"replicas": 1, "config": {"log_level": "info"}, **more}
    return gitops.render(record, values, tier="nonprod", chart=chart, helm_program=Path("helm"), kubernetes="1.36.3")


def begin(remote: git.Remote, *entries: Entry) -> str:
    begun = gitops.begin(remote, entries, reason="Genesis", trailers={"Kind": "genesis"})
    assert begun
    return begun.commit


def test_the_same_record_is_the_same_bytes_and_comes_back_as_it_was(chart: Path, remote: git.Remote) -> None:
    made = entry(chart)
    assert made.files == entry(chart).files
    begin(remote, made)
    commit, found = gitops.read(remote)
    assert found == {("dev", "catalog"): made}
    assert commit == git.refs(remote)["refs/heads/main"]


def test_values_are_the_full_input_and_the_record_names_it(chart: Path) -> None:
    made = entry(chart)
    assert made.values == {
        "replicas": 1,
        "config": {"log_level": "info"},
        "service": "catalog",
        "environment": "dev",
        "tier": "nonprod",
        "image": {"repository": "localhost:5001/catalog", "digest": DIGEST},
        "version": "0.1.0",
        "commit": "c" * 40,
    }
    assert made.record.chart_version == "1.2.3"
    assert made.record.config == entry(chart, version="0.2.0").record.config
    assert made.record.config != entry(chart, replicas=2).record.config


def test_a_record_can_be_rendered_again_from_its_own_values(chart: Path) -> None:
    made = entry(chart)
    again = gitops.render(made.record, made.values, tier="nonprod", chart=chart, helm_program=Path("helm"), kubernetes="1.36.3")
    assert again.files == made.files


def test_manifests_stand_in_one_order(chart: Path) -> None:
    kinds = [item["kind"] for item in yaml.safe_load_all(entry(chart).files["envs/dev/catalog/manifests.yaml"])]
    assert kinds == ["ConfigMap", "Deployment", "Service"]


def test_genesis_is_accepted_only_into_an_empty_repository(chart: Path, remote: git.Remote) -> None:
    first = begin(remote, entry(chart))
    assert gitops.begin(remote, [entry(chart, version="9.9.9")], reason="Genesis", trailers={}) is None
    assert git.refs(remote) == {"refs/heads/main": first}


def test_a_change_is_one_commit_that_says_what_it_is(chart: Path, remote: git.Remote, tmp_path: Path) -> None:
    first = begin(remote, entry(chart), entry(chart, service="cart"))

    def edit(_: gitops.Entries) -> list[Entry]:
        return [entry(chart, version="0.2.0"), entry(chart, service="cart", version="0.3.0")]

    done = gitops.change(remote, edit, reason="Promote", trailers={"Promoted-From": "qa"})
    git.clone(remote, tmp_path / "seen", branch="main")
    newest = git.log(tmp_path / "seen", "HEAD")[0]
    assert (newest.sha, newest.parents, newest.author) == (done.commit, (first,), "pipeline")
    assert newest.subject == "Promote: cart, catalog in dev"
    assert newest.trailers == {
        "Environment": "dev",
        "Service": "cart, catalog",
        "Version": "0.3.0, 0.2.0",
        "Source-Commit": "c" * 40,
        "Promoted-From": "qa",
    }


def test_a_change_that_changes_nothing_makes_no_commit(chart: Path, remote: git.Remote) -> None:
    first = begin(remote, entry(chart))
    done = gitops.change(remote, lambda _: [entry(chart)], reason="Again")
    assert (done.commit, done.made) == (first, False)


def test_a_change_that_came_second_is_computed_again_on_what_is_there(chart: Path, remote: git.Remote) -> None:
    begin(remote, entry(chart), entry(chart, service="cart"))
    seen: list[str] = []

    def edit(there: gitops.Entries) -> Iterable[Entry]:
        seen.append(there["dev", "catalog"].record.version)
        if len(seen) == 1:  # somebody else pushes while this one computes
            gitops.change(remote, lambda _: [entry(chart, version="0.2.0")], reason="Faster")
        yield entry(chart, service="cart", version=f"after-{there['dev', 'catalog'].record.version}")

    gitops.change(remote, edit, reason="Slower")
    assert seen == ["0.1.0", "0.2.0"]
    _, found = gitops.read(remote)
    assert found["dev", "catalog"].record.version == "0.2.0"
    assert found["dev", "cart"].record.version == "after-0.2.0"


def test_one_who_is_always_second_is_told_so(chart: Path, remote: git.Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(remote, entry(chart))

    def push(*_: object, **__: object) -> None:
        raise git.PushConflict("another push came first")

    monkeypatch.setattr(git, "push", push)
    with pytest.raises(git.PushConflict):
        gitops.change(remote, lambda _: [entry(chart, version="0.2.0")], reason="Change")


def test_what_an_older_record_does_not_say_has_a_default_and_what_a_newer_one_says_is_ignored(
    chart: Path, tmp_path: Path
) -> None:
    made = entry(chart)
    folder = tmp_path / "envs/dev/catalog"
    folder.mkdir(parents=True)
    for name, content in made.files.items():
        (tmp_path / name).write_bytes(content)
    told = yaml.safe_load((folder / "record.yaml").read_text())
    del told["release"]
    (folder / "record.yaml").write_text(yaml.safe_dump({**told, "invented_later": 1}))
    assert gitops.entries(tmp_path)["dev", "catalog"].record == replace(made.record, release="")


def test_a_service_says_how_it_runs_and_what_it_is_told_in_two_files(tmp_path: Path) -> None:
    for name, content in {"helm/dev-values.yaml": "replicas: 2\n", "envs/dev.yaml": "log_level: debug\n"}.items():
        file = tmp_path / "services/catalog" / name
        file.parent.mkdir(parents=True)
        file.write_text(content)
    source = gitops.Source(tmp_path, "c" * 40)
    assert source.values("catalog", "dev") == {"replicas": 2, "config": {"log_level": "debug"}}
    with pytest.raises(UsageError, match=r"services/catalog/helm/qa-values.yaml is not in commit ccccccccc"):
        source.values("catalog", "qa")
    (tmp_path / "services/catalog/envs/dev.yaml").write_text("- a list\n")
    with pytest.raises(UsageError, match="not a mapping"):
        source.values("catalog", "dev")


AWAY = "fatal: unable to access 'http://git.localhost:8080/': Failed to connect to git.localhost port 8080"


def test_a_commit_names_the_branches_releases_and_locks_of_its_records(chart: Path) -> None:
    made = [
        replace(one, record=replace(one.record, branch=branch, release=release))
        for one, branch, release in ((entry(chart), "develop", ""), (entry(chart, service="cart"), "feature/x", "v0.2.0"))
    ]
    said = gitops.message(made, "Deploy", {"Kind": "deploy", "Run": ""})
    assert "Branch: feature/x, develop\n" in said or "Branch: develop, feature/x\n" in said
    assert "Release: v0.2.0\n" in said
    assert "Lock:" not in said
    assert "Run:" not in said
    assert said.endswith("Kind: deploy\n")


def test_other_files_of_a_change_are_in_the_same_commit(chart: Path, remote: git.Remote, tmp_path: Path) -> None:
    begin(remote, entry(chart))
    wanted = gitops.Commit([entry(chart, version="0.2.0")], {"releases/v0.2.0/abc/lock.yaml": b"a: 1\n"}, {"Kind": "deploy"})
    done = gitops.change(remote, lambda _: wanted, reason="Deploy")
    assert set(git.tree(Path(remote.url), done.commit)) >= {"releases/v0.2.0/abc/lock.yaml", "envs/dev/catalog/record.yaml"}
    assert git.log(Path(remote.url), done.commit)[0].trailers["Kind"] == "deploy"
    alone = gitops.change(remote, lambda _: gitops.Commit(files={"approvals/abc/lead.yaml": b"b: 1\n"}), reason="Approve v0.2.0")
    assert git.log(Path(remote.url), alone.commit)[0].subject == "Approve v0.2.0"


def test_a_change_is_told_what_there_is_and_says_what_was_there(chart: Path, remote: git.Remote) -> None:
    first = begin(remote, entry(chart))

    def edit(there: gitops.There) -> gitops.Commit:
        assert there.commit == first
        assert (there.folder / "envs/dev/catalog/record.yaml").is_file()
        return gitops.Commit([entry(chart, version="0.2.0")])

    done = gitops.change(remote, edit, reason="Deploy")
    assert (done.before, done.former) == (first, {("dev", "catalog"): entry(chart)})
    assert [one.record.version for one in done.entries] == ["0.2.0"]


def test_a_server_that_is_away_is_asked_again_until_patience_ends(remote: git.Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    def clone(*_: object, **__: object) -> None:
        raise CommandFailed(["git", "clone"], 128, AWAY)

    monkeypatch.setattr(git, "clone", clone)
    clock = FakeClock()
    with pytest.raises(WaitTimeout, match=r"Failed to connect(.|\n)*./invoke status"):
        gitops.change(remote, lambda _: [], reason="Change", patience=30.0, clock=clock)
    assert 129 <= clock.time <= 132


def test_a_server_that_refuses_is_not_asked_again(remote: git.Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def clone(*_: object, **__: object) -> None:
        asked.append(1)
        raise CommandFailed(["git", "clone"], 128, "fatal: Authentication failed for 'http://git.localhost:8080/'")

    monkeypatch.setattr(git, "clone", clone)
    with pytest.raises(CommandFailed, match="Authentication failed"):
        gitops.change(remote, lambda _: [], reason="Change", clock=FakeClock())
    assert asked == [1]


@pytest.mark.parametrize("landed", [True, False])
def test_a_push_whose_answer_was_lost_is_made_once(
    chart: Path, remote: git.Remote, monkeypatch: pytest.MonkeyPatch, landed: bool
) -> None:
    first = begin(remote, entry(chart))
    push, troubles = git.push, [1]

    def unsure(*arguments: Any, **more: Any) -> None:
        if troubles and not landed:
            troubles.pop()
            raise CommandFailed(["git", "push"], 128, AWAY)
        push(*arguments, **more)
        if troubles:
            troubles.pop()
            push_of_another(chart, remote, push)
            raise CommandFailed(["git", "push"], 128, "fatal: the remote end hung up unexpectedly")

    monkeypatch.setattr(git, "push", unsure)
    done = gitops.change(remote, lambda _: [entry(chart, version="0.2.0")], reason="Deploy", clock=FakeClock())
    log = git.log(Path(remote.url), "refs/heads/main")
    mine = [one for one in log if one.subject.startswith("Deploy")]
    assert [one.sha for one in mine] == [done.commit]
    assert mine[0].parents == (first,)


def push_of_another(chart: Path, remote: git.Remote, push: Any) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(git, "push", push)
        gitops.change(remote, lambda _: [entry(chart, service="cart")], reason="Another")


def test_what_became_of_a_commit_is_known(chart: Path, remote: git.Remote) -> None:
    first = begin(remote, entry(chart))
    second = gitops.change(remote, lambda _: [entry(chart, version="0.2.0")], reason="Deploy").commit
    seen = gitops.since(remote, first)
    assert seen.there["dev", "catalog"].record.version == "0.2.0"
    assert (seen.later, seen.every) == ({first, second}, {first, second})
    assert gitops.since(remote, second).later == {second}
    assert gitops.since(remote, "f" * 40).later == set()


def test_the_last_commit_of_each_record_is_known(chart: Path, remote: git.Remote) -> None:
    first = begin(remote, entry(chart), entry(chart, service="cart"))
    second = gitops.change(remote, lambda _: [entry(chart, version="0.2.0")], reason="Deploy").commit
    known = gitops.touched(remote, [entry(chart), entry(chart, service="cart"), entry(chart, service="orders")])
    assert known == {"catalog": second, "cart": first}
