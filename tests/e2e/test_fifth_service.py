"""A fifth service on an instance that runs: one folder on a branch, and the pipeline does the rest; and the folder's end."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

import pytest

from slipway import scaffold
from slipway.settings import Settings
from tests.e2e import delivering, ledger, train
from tests.e2e.conftest import Instance, fetch
from tests.e2e.developing import Run, Workspace
from tests.e2e.ledger import Sight


@dataclass(frozen=True)
class Fifth:
    """What happened to it, in order; a sight of everything after each step.

    Attributes:
        before: Before anything: dev runs what develop has.
        made: After its folder was pushed, with the wish to run in dev.
        removed: After its folder was removed again on the same branch, with the same wish.
    """

    name: str
    branch: str
    commit: str
    before: Sight
    made: Sight
    removed: Sight
    came: Run
    went: Run


@pytest.fixture(scope="module")
def fifth(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Fifth:
    """A service that came and whose folder went; it stays in dev."""
    folder, name = tmp_path_factory.mktemp("fifth"), f"reviews-{secrets.token_hex(2)}"
    branch = f"feature/{name}"
    instance.invoke("ci", "--ref", "develop", "--to", "dev", timeout=train.FOLLOWED)
    before = ledger.look(instance)

    work = Workspace.clone(instance, folder / "work")
    scaffold.new_service(Settings(work.folder, folder / "home", "fifth"), name)
    work.commit(f"Add {name}")
    commit = work.push(branch, options=["deploy=dev"])
    came = train.passed(instance, commit, branch)
    made = ledger.look(instance)

    own = sorted(file for file in (work.folder / "services" / name).rglob("*") if file.is_file())
    work.edit({file.relative_to(work.folder).as_posix(): None for file in own})
    work.commit(f"Remove {name}")
    went = train.passed(instance, work.push(branch, options=["deploy=dev"]), branch)
    return Fifth(name, branch, commit, before, made, ledger.look(instance), came, went)


def test_it_runs_in_dev_with_records_that_the_pipeline_made(fifth: Fifth) -> None:
    names = [stage["name"] for stage in fifth.came.said["stages"]]
    assert names == ["what changed", "lint and test", "images", "verdict", "deploy dev"]
    record = fifth.made.records["dev", fifth.name]
    assert (record.source_commit, record.branch, record.release) == (fifth.commit, fifth.branch, "")
    assert record.inputs.startswith("sha256:")
    assert fifth.made.images["dev", fifth.name] == {record.digest}
    assert [environment for environment, service in fifth.made.records if service == fifth.name] == ["dev"]


def test_nothing_else_notices(instance: Instance, fifth: Fifth) -> None:
    everywhere = instance.settings.environments
    assert fifth.before.moved(fifth.made, everywhere) == set()
    changed = {name.split("/")[2].removesuffix("-config") for name in fifth.before.changed(fifth.made, everywhere)}
    assert changed == {fifth.name}
    assert {key: record for key, record in fifth.made.records.items() if key[1] != fifth.name} == dict(fifth.before.records)
    assert fifth.made.commits["gitops-prod"] == fifth.before.commits["gitops-prod"]


def test_it_answers_on_a_url_of_its_own_and_says_what_it_is(instance: Instance, fifth: Fifth) -> None:
    url, record = instance.url(fifth.name, "dev"), fifth.made.records["dev", fifth.name]
    told = fetch(f"{url}/version").json
    assert (told["service"], told["environment"]) == (fifth.name, "dev")
    assert (told["digest"], told["commit"], told["version"]) == (record.digest, record.source_commit, record.version)
    assert fetch(url).json["notice"] == "This is dev."


def test_it_has_everything_that_a_service_has(instance: Instance, fifth: Fifth) -> None:
    for kind, version in (
        ("Deployment", "apps/v1"),
        ("Service", "v1"),
        ("ServiceAccount", "v1"),
        ("NetworkPolicy", "networking.k8s.io/v1"),
    ):
        assert instance.kube.get(kind, fifth.name, namespace="dev", api_version=version), kind


def test_whoever_looks_sees_it_like_the_others(instance: Instance, fifth: Fifth) -> None:
    seen = instance.json("status")
    assert seen["state"] == "healthy", seen["trouble"]
    [row] = [row for row in seen["services"] if row["service"] == fifth.name]
    assert (row["environment"], row["kind"], row["health"], row["trouble"]) == ("dev", "service", "Healthy", "")
    on_board = {(one["environment"], one["service"]): one["state"] for one in instance.json("board")["services"]}
    assert on_board["dev", fifth.name] == "well"
    explained = instance.json("explain", fifth.name, "dev")
    assert fifth.commit in json.dumps(explained)
    assert fifth.name in json.dumps(instance.json("history", "dev"))
    assert fifth.name in instance.invoke("logs", fifth.name, "--env", "dev").stdout
    assert json.loads(instance.invoke("images.sbom", fifth.name, "--env", "dev").stdout)["bomFormat"] == "CycloneDX"


def test_the_end_of_its_folder_is_reported_and_leaves_it_running(instance: Instance, fifth: Fifth) -> None:
    assert f"{fifth.name} not in this commit, and left alone" in fifth.went.said["verdict"]
    assert fifth.removed.records == fifth.made.records
    assert fifth.made.moved(fifth.removed, instance.settings.environments) == set()
    assert delivering.entry(instance, "dev", fifth.name).record == fifth.made.records["dev", fifth.name]
    assert fetch(f"{instance.url(fifth.name, 'dev')}/version").status == 200


def test_it_cannot_reach_stage_from_its_branch(instance: Instance, fifth: Fifth) -> None:
    said = instance.invoke("ci", "--ref", f"{fifth.branch}@{fifth.commit}", "--to", "stage", check=False, timeout=train.FOLLOWED)
    assert (said.code, "rule 'branches'" in said.stdout + said.stderr) == (1, True), said
