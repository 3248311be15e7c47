"""A release train from a feature branch to prod, and what holds of it at every step: the invariants by their numbers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway import git, gitops
from slipway.waiting import Pending, Ready, stays
from tests.e2e import delivering, developing, ledger, train
from tests.e2e.conftest import Instance
from tests.e2e.developing import Workspace
from tests.e2e.ledger import Sight
from tests.e2e.train import Train

SERVICES = {"cart", "catalog", "orders", "storefront"}


@pytest.fixture(scope="module")
def driven(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """A train that went all the way."""
    return train.drive(instance, tmp_path_factory.mktemp("train"))


@pytest.fixture(autouse=True)
def kept(driven: Train, record_property: Callable[[str, object], None]) -> None:
    """The ledger of the train, beside the results of each test."""
    found = ledger.rows(driven.instance, driven.finished)
    record_property("ledger", str(ledger.keep(driven.release, found)))
    for row in found:
        record_property(f"{row.environment}/{row.service}", f"{row.version} {row.commit[:9]} {row.lock[:19]} {row.in_git}")


def replaced(before: Sight, after: Sight, environment: str) -> set[str]:
    return {service for _, service in before.moved(after, [environment])}


def test_i1_the_digest_is_one_and_the_same_in_git_registry_and_pods_of_stage_and_prod(driven: Train) -> None:
    found = {(row.environment, row.service): row for row in ledger.rows(driven.instance, driven.promoted)}
    for service in SERVICES:
        stage, prod = found["stage", service], found["prod", service]
        assert prod.in_git == prod.in_registry == stage.in_git == stage.in_registry
        assert prod.in_pods == stage.in_pods == (prod.in_git,)
        assert prod.lock == stage.lock != ""
        assert prod.release == stage.release == driven.release
        assert driven.finished.tags[f"{service}:{driven.version}"] == prod.in_git


def test_i2_promoting_to_prod_builds_nothing(driven: Train) -> None:
    before, after = driven.staged.tags, driven.promoted.tags
    assert set(after.values()) == set(before.values())
    assert {tag for tag in after if tag not in before} == {f"{service}:{driven.version}" for service in SERVICES}


def test_i3_no_tag_ever_names_another_digest(driven: Train) -> None:
    sights = [driven.start, driven.on_request, driven.unasked, driven.merged, driven.staged, driven.promoted, driven.finished]
    for before, after in itertools.pairwise(sights):
        assert {tag: after.tags.get(tag) for tag in before.tags} == dict(before.tags)


def test_i4_a_change_of_one_service_replaces_the_pods_of_that_service_alone(driven: Train) -> None:
    assert replaced(driven.start, driven.on_request, "dev") == {"catalog"}
    changed = driven.start.changed(driven.on_request, ["dev"])
    assert {name.split("/")[2].removesuffix("-config") for name in changed} <= {"catalog"}
    for service in SERVICES - {"catalog"}:
        assert driven.on_request.records["dev", service].digest == driven.start.records["dev", service].digest


def test_i4_what_is_pushed_without_a_wish_runs_nowhere(driven: Train) -> None:
    assert driven.on_request.records == driven.unasked.records
    assert driven.on_request.moved(driven.unasked, driven.instance.settings.environments) == set()
    names = [stage["name"] for stage in driven.runs["two"].said["stages"]]
    assert names == ["what changed", "lint and test", "images", "verdict"]


def test_a_merge_to_develop_runs_in_dev_and_qa_and_nowhere_else(driven: Train) -> None:
    for environment in ("dev", "qa"):
        for service in ("cart", "catalog", "orders"):
            record = driven.merged.records[environment, service]
            assert record.inputs == driven.merged.records["dev", service].inputs
            assert record.digest != driven.start.records[environment, service].digest
            assert driven.merged.images[environment, service] == {record.digest}
    assert driven.start.changed(driven.merged, ["stage", "prod"]) == set()


def test_i5_a_release_lands_as_one_commit(driven: Train, tmp_path: Path) -> None:
    remote = delivering.remote(driven.instance, "gitops-prod")
    git.clone(remote, tmp_path / "tree", branch=gitops.BRANCH)
    since = driven.staged.commits["gitops-prod"]
    touching = git.log(tmp_path / "tree", f"{since}..{driven.promoted.commits['gitops-prod']}", paths=["envs/prod"])
    assert len(touching) == 1
    assert set(touching[0].trailers["Service"].split(", ")) == SERVICES
    before, after = driven.staged, driven.promoted
    other = {name for name in SERVICES if before.records["prod", name].digest != after.records["prod", name].digest}
    assert replaced(before, after, "prod") == other >= {"cart", "catalog", "orders"}


def test_i6_what_stage_and_prod_run_comes_from_the_release_branch(driven: Train) -> None:
    work = driven.instance
    refs = git.refs(delivering.remote(work, "app"))
    assert f"refs/heads/release/{driven.release}" in refs
    for environment in ("stage", "prod"):
        assert {record.branch for name, record in driven.promoted.of(environment).items() if name in SERVICES} <= {
            f"release/{driven.release}",
            "main",  # what no release has changed since the beginning
        }


def test_i8_nothing_reaches_prod_before_somebody_else_approved(driven: Train) -> None:
    assert driven.too_early.code == 1
    assert "rule 'approval'" in driven.too_early.stderr
    assert driven.own.code == 1
    assert re.search(r"rule '(four-eyes|approval)'", driven.own.stderr), driven.own.stderr


def test_i9_stage_gets_a_release_by_itself_and_prod_does_not(driven: Train) -> None:
    assert driven.merged.of("prod") == driven.staged.of("prod")
    assert driven.merged.changed(driven.staged, ["prod", "dev", "qa"]) == set()
    assert {record.release for name, record in driven.staged.of("stage").items() if name in SERVICES} == {driven.release}


def test_i10_finishing_a_release_changes_no_environment(driven: Train, tmp_path: Path) -> None:
    everywhere = driven.instance.settings.environments
    assert driven.again.changed(driven.finished, everywhere) == set()
    refs = git.refs(delivering.remote(driven.instance, "app"))
    main = Workspace.clone(driven.instance, tmp_path / "main", branch="main")
    assert refs[f"refs/tags/{driven.release}"]
    log = {commit.sha for commit in git.log(main.folder, "HEAD", limit=1000)}
    assert refs[f"refs/heads/release/{driven.release}"] in log
    for service in SERVICES:
        assert driven.promoted.records["prod", service].source_commit in log


def test_i14_no_environment_feels_what_happens_in_another(driven: Train) -> None:
    assert driven.start.changed(driven.on_request, ["qa", "stage", "prod"]) == set()
    assert driven.start.changed(driven.merged, ["stage", "prod"]) == set()
    assert driven.merged.changed(driven.staged, ["dev", "qa", "prod"]) == set()
    assert driven.staged.changed(driven.promoted, ["dev", "qa", "stage"]) == set()


def test_i16_promoting_again_makes_no_commit_and_replaces_no_pod(driven: Train) -> None:
    assert driven.again.commits == driven.promoted.commits
    assert driven.promoted.moved(driven.again, driven.instance.settings.environments) == set()


def test_i18_a_version_increases_and_is_never_used_again(driven: Train) -> None:
    for version in (driven.version, "0.1.0", "0.0.9"):
        refused = driven.instance.invoke("release.cut", version, check=False)
        assert refused.code == 1, refused.stdout
        assert "rule 'release-name'" in refused.stderr
    assert all(
        record.version.startswith(f"{driven.version}-rc.")
        for name, record in driven.promoted.of("prod").items()
        if name in {"cart", "catalog", "orders"}
    )


def test_i19_the_history_of_prod_can_be_told_from_git_alone(driven: Train) -> None:
    told: Any = driven.instance.json("history", "prod")
    changes = told["changes"] if isinstance(told, dict) else told
    text = str(changes)
    for expected in (driven.release, "lead", "stage", driven.promoted.records["prod", "catalog"].lock[:19]):
        assert expected in text, expected


def test_i9_prod_stays_as_it_is_while_nobody_dispatches(driven: Train) -> None:
    before = delivering.read(driven.instance, "gitops-prod")[1]
    mine = {key: entry.record for key, entry in before.items() if key[0] == "prod"}

    def same() -> Ready[None] | Pending:
        now = delivering.read(driven.instance, "gitops-prod")[1]
        return Ready(None) if {key: now[key].record for key in mine} == mine else Pending("a record of prod changed")

    stays("prod to stay", same, seconds=5.0)


def test_every_run_says_what_it_did_stage_by_stage(driven: Train) -> None:
    listed = {run.commit: run for run in developing.runs(driven.instance)}
    for run in driven.runs.values():
        assert run.commit in listed
        names = [stage["name"] for stage in run.said["stages"]]
        assert names[0] == "what changed", names
        assert all(stage["seconds"] >= 0 for stage in run.said["stages"])
