"""A fifth service on an instance that runs: one folder on a branch, and the pipeline does the rest; and the folder's end."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

import pytest

from slipway import applications, scaffold
from slipway.settings import Settings
from tests.e2e import ledger, train
from tests.e2e.conftest import Instance, fetch
from tests.e2e.developing import Run, Workspace
from tests.e2e.ledger import Sight


@dataclass(frozen=True)
class Fifth:
    """How it came; a sight of everything after each step.

    Attributes:
        before: Before anything: dev runs what develop has.
        made: After its folder was pushed, with the wish to run in dev.
        work: The working tree that it was pushed from.
    """

    name: str
    branch: str
    commit: str
    before: Sight
    made: Sight
    came: Run
    work: Workspace


@dataclass(frozen=True)
class Gone:
    """How it went.

    Attributes:
        commit: The commit on the same branch that has no folder of it, pushed with the same wish.
        after: What there was then.
    """

    commit: str
    after: Sight
    went: Run


@pytest.fixture(scope="module")
def fifth(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Fifth:
    """A service that came."""
    folder, name = tmp_path_factory.mktemp("fifth"), f"reviews-{secrets.token_hex(2)}"
    branch = f"feature/{name}"
    instance.invoke("ci", "--ref", "develop", "--to", "dev", timeout=train.FOLLOWED)
    before = ledger.look(instance)

    work = Workspace.clone(instance, folder / "work")
    scaffold.new_service(Settings(work.folder, folder / "home", "fifth"), name)
    work.commit(f"Add {name}")
    commit = work.push(branch, options=["deploy=dev"])
    came = train.passed(instance, commit, branch)
    return Fifth(name, branch, commit, before, ledger.look(instance), came, work)


@pytest.fixture(scope="module")
def gone(instance: Instance, fifth: Fifth) -> Gone:
    """Its end: what asks for this stands behind all that looks at it while it runs."""
    work, folder = fifth.work, fifth.work.folder
    own = sorted(file for file in (folder / "services" / fifth.name).rglob("*") if file.is_file())
    work.edit({file.relative_to(folder).as_posix(): None for file in own})
    work.commit(f"Remove {fifth.name}")
    commit = work.push(fifth.branch, options=["deploy=dev"])
    went = train.passed(instance, commit, fifth.branch)
    return Gone(commit, ledger.look(instance), went)


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
    changed = {ledger.service_of(name) for name in fifth.before.changed(fifth.made, everywhere)}
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


def test_it_cannot_reach_stage_from_its_branch(instance: Instance, fifth: Fifth) -> None:
    said = instance.invoke("ci", "--ref", f"{fifth.branch}@{fifth.commit}", "--to", "stage", check=False, timeout=train.FOLLOWED)
    assert (said.code, "rule 'branches'" in said.stdout + said.stderr) == (1, True), said


def test_the_end_of_its_folder_retires_it_and_moves_nothing_else(instance: Instance, fifth: Fifth, gone: Gone) -> None:
    key, everywhere = ("dev", fifth.name), instance.settings.environments
    assert f"{fifth.name} retired" in gone.went.said["verdict"], gone.went.said
    record, had = gone.after.records[key], fifth.made.records[key]
    assert (record.retired, record.source_commit, record.branch) == (True, gone.commit, fifth.branch)
    assert (record.version, record.digest) == (had.version, had.digest)
    others = {name: one for name, one in gone.after.records.items() if name != key}
    assert others == {name: one for name, one in fifth.made.records.items() if name != key}
    assert fifth.made.moved(gone.after, everywhere) == {key}
    changed = fifth.made.changed(gone.after, everywhere)
    assert {name for name in changed if fifth.name not in name} == set()
    assert gone.after.commits["gitops-prod"] == fifth.made.commits["gitops-prod"]


def test_nothing_is_left_of_it_but_the_word_that_it_was_retired(instance: Instance, fifth: Fifth, gone: Gone) -> None:
    assert gone.after.pods["dev", fifth.name] == frozenset()
    left = {name for name in gone.after.written if fifth.name in name}
    assert left == {f"dev/ConfigMap/{fifth.name}-retired"}
    config = instance.kube.get("ConfigMap", f"{fifth.name}-retired", namespace="dev")
    assert config
    assert gone.commit in config["data"]["retired"]
    app = next(one for one in applications.applications(instance.kube) if (one.environment, one.service) == ("dev", fifth.name))
    assert (app.retired, app.sync, app.health) == (True, "Synced", "Healthy")


def test_whoever_looks_does_not_see_it_any_more_but_in_the_history(instance: Instance, fifth: Fifth, gone: Gone) -> None:
    seen = instance.json("status")
    assert seen["state"] == "healthy", seen["trouble"]
    assert fifth.name not in {row["service"] for row in seen["services"]}
    assert fifth.name not in {row["service"] for row in instance.json("board")["services"]}
    assert f"{fifth.name}.dev" not in instance.json("urls", "--all")
    assert fifth.name not in json.dumps(instance.json("diff", "dev", "qa", check=False))
    said = instance.invoke("explain", fifth.name, "dev", check=False)
    assert (said.code, f"{fifth.name} is retired in dev since commit {gone.commit[:9]}" in said.stderr) == (2, True), said
    assert '"chart": "retired"' in json.dumps(instance.json("history", "dev"))
