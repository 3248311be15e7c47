"""What Git records is what runs: a push arrives by webhook, a deleted object comes back, nobody else writes records."""

from __future__ import annotations

import json
import tempfile
import urllib.parse
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from slipway import applications, credentials, git, gitops, names
from slipway.kube import NOT_YET, rollout
from slipway.waiting import Failed, Pending, Ready, wait_for
from tests.e2e import comparing, delivering
from tests.e2e.admitting import kubectl, pod_spec, stranger
from tests.e2e.conftest import Instance, fetch
from tests.e2e.delivering import ARRIVAL_TIMEOUT
from tests.e2e.writing import Tree

# Until a commit comes just when Argo CD is at the one before it.
TRIES = 6


def test_a_pushed_record_runs_within_moments_because_the_webhook_told_argocd(instance: Instance) -> None:
    commit = delivering.change(instance, "dev", "catalog", {"replicas": 2})
    delivering.wait_delivered(instance, "dev", ["catalog"], commit)
    pods = instance.kube.list("Pod", namespace="dev", labels="app.kubernetes.io/name=catalog")
    assert len([pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]) == 2
    commit = delivering.change(instance, "dev", "catalog", {"replicas": 1})
    delivering.wait_delivered(instance, "dev", ["catalog"], commit)


def test_a_change_in_one_environment_touches_no_object_of_another(instance: Instance) -> None:
    before = _generations(instance, ("qa", "stage", "prod"))
    commit = delivering.change(instance, "dev", "catalog", {"replicas": 2})
    delivering.wait_delivered(instance, "dev", ["catalog"], commit)
    commit = delivering.change(instance, "dev", "catalog", {"replicas": 1})
    delivering.wait_delivered(instance, "dev", ["catalog"], commit)
    assert _generations(instance, ("qa", "stage", "prod")) == before


@pytest.mark.long
def test_what_is_taken_back_while_it_still_comes_up_is_back_with_its_configuration(instance: Instance) -> None:
    """Argo CD prunes the configuration before the new one at the very end of what it does; by then it is wanted again."""
    repository = instance.settings.environment("dev").repository
    for _ in range(TRIES):
        before, _ = delivering.read(instance, repository)
        commit = delivering.change(instance, "dev", "catalog", {"replicas": 3, "config": {"faults": [{"latency_ms": 1}]}})
        delivering.restore(instance, "dev", before)
        now, _ = delivering.read(instance, repository)
        delivering.wait_delivered(instance, "dev", ["catalog"], now)
        there = {one["metadata"]["name"] for one in instance.kube.list("ConfigMap", namespace="dev")}
        deployment = instance.kube.get("Deployment", "catalog", namespace="dev", api_version="apps/v1")
        assert deployment
        assert {
            one["configMap"]["name"] for one in deployment["spec"]["template"]["spec"]["volumes"] if "configMap" in one
        } <= there
        # Argo CD came to the end of the first commit when the second one was there already: this is what it is about.
        if (ended := _deployed(instance, "catalog-dev").get(commit)) and ended > _written(instance, repository, now):
            return
    pytest.fail(f"in {TRIES} tries nothing was taken back while it came up")


def _deployed(instance: Instance, name: str) -> Mapping[str, float]:
    """When Argo CD came to the end of each commit of an application, in seconds since 1970, as far as it remembers."""
    found = instance.kube.get("Application", name, namespace="argocd", api_version=applications.API_VERSION)
    assert found
    return {one["revision"]: datetime.fromisoformat(one["deployedAt"]).timestamp() for one in found["status"]["history"]}


def _written(instance: Instance, repository: str, commit: str) -> float:
    """When a commit was made, in seconds since 1970."""
    with tempfile.TemporaryDirectory() as folder:
        git.clone(delivering.remote(instance, repository), Path(folder, "tree"), branch=gitops.BRANCH)
        return git.log(Path(folder, "tree"), commit, limit=1)[0].time


def test_a_deleted_deployment_comes_back_by_itself(instance: Instance) -> None:
    lost = instance.kube.get("Deployment", "catalog", namespace="qa", api_version="apps/v1")
    assert lost
    assert instance.kube.delete("Deployment", "catalog", namespace="qa", api_version="apps/v1")

    def healed() -> Ready[Any] | Pending | Failed:
        found = instance.kube.get("Deployment", "catalog", namespace="qa", api_version="apps/v1")
        if found and found["metadata"]["uid"] == lost["metadata"]["uid"]:
            return Pending("the old one is still there")
        return rollout(found)

    wait_for("Argo CD to make the Deployment again", healed, timeout=ARRIVAL_TIMEOUT, tolerate=NOT_YET)


def test_a_change_by_hand_is_undone(instance: Instance) -> None:
    wanted = instance.kube.get("Deployment", "catalog", namespace="stage", api_version="apps/v1")
    assert wanted
    instance.kube.patch("Deployment", "catalog", {"spec": {"replicas": 5}}, namespace="stage", api_version="apps/v1")

    def undone() -> Ready[Any] | Pending | Failed:
        found = instance.kube.get("Deployment", "catalog", namespace="stage", api_version="apps/v1") or {"spec": {}}
        count = found["spec"].get("replicas")
        return rollout(found) if count == wanted["spec"]["replicas"] else Pending(f"{count} replicas")

    wait_for("Argo CD to undo the change", undone, timeout=ARRIVAL_TIMEOUT)


def test_i12_what_somebody_does_to_prod_by_hand_is_denied_or_healed_and_git_is_what_runs(
    instance: Instance, tmp_path: Path
) -> None:
    def prod(*words: str) -> str:
        done = kubectl(instance, "--namespace", "prod", *words)
        return done.stderr if done.code else ""

    had = instance.kube.get("Deployment", "catalog", namespace="prod", api_version="apps/v1")
    assert had
    image = stranger()
    denied = prod("set", "image", "deployment/catalog", f"catalog={image}")
    assert f"REFUSED by rule 'approved digests': image {image} is not approved for prod" in denied
    now = instance.kube.get("Deployment", "catalog", namespace="prod", api_version="apps/v1")
    assert now
    assert now["metadata"]["generation"] == had["metadata"]["generation"]

    # The admin may do these; nobody has to find out.
    assert prod("scale", "deployment/catalog", f"--replicas={had['spec']['replicas'] + 1}") == ""
    assert prod("set", "env", "deployment/catalog", "SLIPWAY_TIER=mine") == ""

    def healed() -> Ready[Any] | Pending | Failed:
        found = instance.kube.get("Deployment", "catalog", namespace="prod", api_version="apps/v1")
        other = comparing.departures(instance, ["prod"])
        return Pending("; ".join(other)) if other else rollout(found)

    now = wait_for("Argo CD to undo both", healed, timeout=ARRIVAL_TIMEOUT, tolerate=NOT_YET)
    # Each of the two was really done, and undone.
    assert now["metadata"]["generation"] >= had["metadata"]["generation"] + 3

    mine = Tree.clone(instance, tmp_path / "tree", "gitops-prod")
    mine.say("prod", "catalog", "replicas: ", "replicas: 1")
    before = delivering.read(instance, "gitops-prod")[0]
    assert "REFUSED by rule 'push': developer may not push to gitops-prod" in mine.push("developer")
    assert delivering.read(instance, "gitops-prod")[0] == before

    assert comparing.departures(instance, instance.settings.environments) == []


def test_a_wrong_password_reads_nothing(instance: Instance) -> None:
    with pytest.raises(Exception, match=r"(?i)auth|password|401|403"):
        gitops.read(replace(delivering.remote(instance, "gitops-nonprod"), password="wrong"))


def test_app_git_is_seeded_from_the_checkouts_last_commit(instance: Instance) -> None:
    first = delivering.entry(instance, "prod", "postgresql").record.source_commit
    assert git.resolve(instance.settings.root, first) == first
    refs = git.refs(delivering.remote(instance, "app", user="developer"))
    assert {"refs/heads/main", "refs/heads/develop"} <= set(refs)
    assert refs["refs/tags/v0.1.0"] == first


def test_argocds_default_project_can_deliver_nothing(instance: Instance) -> None:
    project = instance.kube.get("AppProject", "default", namespace="argocd", api_version=applications.API_VERSION)
    assert project
    assert not project["spec"].get("sourceRepos")
    assert not project["spec"].get("destinations")


def test_an_application_of_one_tier_cannot_read_the_other_tiers_repository(instance: Instance) -> None:
    """The other way round there is no such application to be judged: the cluster does not admit it."""
    own = instance.kube.get("Application", "catalog-dev", namespace="argocd", api_version=applications.API_VERSION)
    assert own
    source = {**own["spec"]["source"], "repoURL": names.repository("gitops-prod"), "path": "envs/prod/catalog"}
    intruder = {
        "apiVersion": applications.API_VERSION,
        "kind": "Application",
        "metadata": {"name": "intruder", "namespace": "argocd"},
        "spec": {**own["spec"], "source": source},
    }
    instance.kube.apply([intruder])
    try:

        def refused() -> Ready[str] | Pending:
            found = instance.kube.get("Application", "intruder", namespace="argocd", api_version=applications.API_VERSION)
            said = [entry["message"] for entry in ((found or {}).get("status") or {}).get("conditions") or []]
            return Ready(said[0]) if said else Pending("Argo CD has not judged it yet")

        said = wait_for("Argo CD to judge the intruder", refused, timeout=ARRIVAL_TIMEOUT)
        assert "not permitted" in said
    finally:
        instance.kube.delete("Application", "intruder", namespace="argocd", api_version=applications.API_VERSION)


# --- the projects, behind the Git server and beside admission

Apply = Callable[[str, Mapping[str, Any]], str]


@pytest.fixture
def apply(instance: Instance) -> Generator[Apply]:
    """Lets Argo CD apply an object for an application, as its own server could ask it to; tells what it said of that.

    So nothing stands before the project: neither the Git server, nor the rule that guards applications.
    """
    used: set[str] = set()
    where: dict[str, Any] = {"namespace": names.ARGOCD, "api_version": applications.API_VERSION}

    def operate(name: str, manifests: list[str]) -> Mapping[str, Any]:
        app = instance.kube.get("Application", name, **where)
        assert app
        options = app["spec"]["syncPolicy"]["syncOptions"]
        sync = {"syncOptions": options, **({"manifests": manifests} if manifests else {})}
        words = ["--as=system:serviceaccount:argocd:argocd-server", "--namespace", names.ARGOCD]
        # Merged with a sync that Argo CD begins by itself it would be tried again without end, and the rest would be pruned:
        # it is asked when nothing is to be synced, and its word stands whole.
        change = json.dumps([{"op": "add", "path": "/operation", "value": {"initiatedBy": {"username": "test"}, "sync": sync}}])

        def idle() -> Ready[None] | Pending:
            found = instance.kube.get("Application", name, **where) or {}
            status = found.get("status") or {}
            phase, sync = (status.get("operationState") or {}).get("phase"), (status.get("sync") or {}).get("status")
            busy = found.get("operation") or phase == "Running" or (manifests and sync != "Synced")
            return Pending(f"{phase}, {sync}") if busy else Ready(None)

        wait_for(f"Argo CD to have nothing to do with {name}", idle, timeout=ARRIVAL_TIMEOUT, tolerate=NOT_YET)
        done = kubectl(instance, *words, "patch", "applications.argoproj.io", name, "--type=json", f"--patch={change}")
        assert done.code == 0, done.stderr

        def ended() -> Ready[Mapping[str, Any]] | Pending:
            found = instance.kube.get("Application", name, **where) or {}
            state = (found.get("status") or {}).get("operationState") or {}
            mine = (((state.get("operation") or {}).get("sync")) or {}).get("manifests") or []
            over = not found.get("operation") and mine == manifests and state.get("phase") in ("Succeeded", "Failed", "Error")
            return Ready(state) if over else Pending(f"{state.get('phase')}: {state.get('message')}")

        return wait_for(f"Argo CD to be done with {name}", ended, timeout=ARRIVAL_TIMEOUT, tolerate=NOT_YET)

    def tell(name: str, item: Mapping[str, Any]) -> str:
        used.add(name)
        state = operate(name, [json.dumps(item)])
        told = [str(one.get("message")) for one in (state.get("syncResult") or {}).get("resources") or []]
        return "\n".join([state["phase"], str(state.get("message")), *told])

    yield tell
    for name in used:
        assert operate(name, [])["phase"] == "Succeeded", "the branch is applied again"


@pytest.mark.parametrize(("environment", "tier"), [("dev", "nonprod"), ("stage", "prod")])
def test_argo_cd_makes_no_kind_of_object_that_a_project_does_not_name(
    instance: Instance, apply: Apply, environment: str, tier: str
) -> None:
    record = delivering.entry(instance, environment, "catalog").record
    meta = {"name": "mine", "namespace": environment}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod_spec(f"{record.image}@{record.digest}")}
    try:
        said = apply(f"catalog-{environment}", pod)
        assert f"resource :Pod is not permitted in project {tier}" in said, said
        assert instance.kube.get("Pod", "mine", namespace=environment) is None
    finally:
        instance.kube.delete("Pod", "mine", namespace=environment)


@pytest.mark.parametrize(("environment", "tier"), [("dev", "nonprod"), ("stage", "prod")])
def test_argo_cd_writes_into_no_namespace_that_a_project_does_not_name(
    instance: Instance, apply: Apply, environment: str, tier: str
) -> None:
    stray = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": names.LOCAL}, "data": {}}
    try:
        said = apply(f"catalog-{environment}", stray)
        assert f"namespace {names.LOCAL} is not permitted in project '{tier}'" in said, said
        assert instance.kube.get("ConfigMap", "mine", namespace=names.LOCAL) is None
    finally:
        instance.kube.delete("ConfigMap", "mine", namespace=names.LOCAL)


@pytest.mark.parametrize("role", ["developer", "lead", "pipeline"])
def test_each_role_logs_in_to_argocd_and_none_may_delete(instance: Instance, role: str) -> None:
    url = instance.json("urls")["argocd"]
    password = credentials.keep(instance.settings).passwords[role]
    session = fetch(f"{url}/api/v1/session", method="POST", body={"username": role, "password": password})
    assert session.status == 200, session.body
    token = {"Authorization": f"Bearer {session.json['token']}"}
    seen = fetch(f"{url}/api/v1/applications?{urllib.parse.urlencode({'project': 'prod'})}", headers=token)
    assert "catalog-prod" in {item["metadata"]["name"] for item in seen.json["items"]}
    refused = fetch(f"{url}/api/v1/applications/catalog-prod?cascade=false", method="DELETE", headers=token)
    assert refused.status == 403, refused.body
    assert instance.kube.get("Application", "catalog-prod", namespace="argocd", api_version=applications.API_VERSION)


def _generations(instance: Instance, environments: tuple[str, ...]) -> dict[str, int]:
    return {
        item["metadata"]["uid"]: item["metadata"]["generation"]
        for item in instance.kube.list("Deployment", api_version="apps/v1")
        if item["metadata"]["namespace"] in environments
    }
