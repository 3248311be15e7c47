"""What Git records is what runs: a push arrives by webhook, a deleted object comes back, nobody else writes records."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from slipway import applications, cluster, credentials, engine, genesis, git, gitops, gitserver, names, recipes, records
from slipway.kube import NOT_YET, rollout
from slipway.records import Entry
from slipway.waiting import Failed, Pending, Ready, wait_for
from tests.e2e.conftest import Instance, fetch

# Polling is hours away, so whatever comes within this time came by webhook.
ARRIVAL_TIMEOUT = 90.0


def test_a_pushed_record_runs_within_moments_because_the_webhook_told_argocd(instance: Instance) -> None:
    commit = _set(instance, "dev", {"replicas": 2})
    _wait_delivered(instance, "dev", commit)
    pods = instance.kube.list("Pod", namespace="dev", labels="app.kubernetes.io/name=catalog")
    assert len([pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]) == 2
    commit = _set(instance, "dev", {"replicas": 1})
    _wait_delivered(instance, "dev", commit)


def test_a_change_in_one_environment_touches_no_object_of_another(instance: Instance) -> None:
    before = _generations(instance, ("qa", "stage", "prod"))
    commit = _set(instance, "dev", {"replicas": 2})
    _wait_delivered(instance, "dev", commit)
    commit = _set(instance, "dev", {"replicas": 1})
    _wait_delivered(instance, "dev", commit)
    assert _generations(instance, ("qa", "stage", "prod")) == before


def test_a_push_to_prod_arrives_by_webhook_too(instance: Instance) -> None:
    [entry] = [entry for key, entry in _read(instance, "gitops-prod")[1].items() if key == ("prod", "catalog")]
    had = entry.values.get("replicas", 1)
    for replicas in (had + 1, had):
        commit = _set(instance, "prod", {"replicas": replicas})
        _wait_delivered(instance, "prod", commit)


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

    def undone() -> Ready[None] | Pending:
        found = instance.kube.get("Deployment", "catalog", namespace="stage", api_version="apps/v1") or {"spec": {}}
        count = found["spec"].get("replicas")
        return Ready(None) if count == wanted["spec"]["replicas"] else Pending(f"{count} replicas")

    wait_for("Argo CD to undo the change", undone, timeout=ARRIVAL_TIMEOUT)


@pytest.mark.parametrize("user", ["developer", "lead"])
@pytest.mark.parametrize("repository", ["gitops-nonprod", "gitops-prod"])
def test_nobody_but_the_pipeline_writes_records(instance: Instance, user: str, repository: str) -> None:
    remote = _remote(instance, repository, user=user)
    before, _ = gitops.read(remote)

    def edit(entries: gitops.Entries) -> list[Entry]:
        entry = next(iter(entries.values()))
        return [replace(entry, record=replace(entry.record, version="9.9.9"))]

    with pytest.raises(git.PushRefused, match=rf"(?s){user} may not push to {repository}.*Allowed: a push by pipeline"):
        gitops.change(remote, edit, reason="Try")
    assert gitops.read(remote)[0] == before


def test_a_record_outside_its_tier_is_refused(instance: Instance) -> None:
    def edit(entries: gitops.Entries) -> list[Entry]:
        entry = next(iter(entries.values()))
        return [replace(entry, record=replace(entry.record, environment="prod"))]

    with pytest.raises(git.PushRefused, match=r"envs/prod"):
        gitops.change(_remote(instance, "gitops-nonprod"), edit, reason="Try")


def test_a_wrong_password_reads_nothing(instance: Instance) -> None:
    with pytest.raises(Exception, match=r"(?i)auth|password|401|403"):
        gitops.read(replace(_remote(instance, "gitops-nonprod"), password="wrong"))


def test_app_git_is_seeded_from_the_checkouts_last_commit(instance: Instance) -> None:
    [commit] = {row["commit"] for row in instance.json("status")["services"]}
    assert git.resolve(instance.settings.root, commit) == commit
    refs = git.refs(_remote(instance, "app", user="developer"))
    assert refs["refs/heads/main"] == refs["refs/heads/develop"] == commit


def test_argocds_default_project_can_deliver_nothing(instance: Instance) -> None:
    project = instance.kube.get("AppProject", "default", namespace="argocd", api_version=applications.API_VERSION)
    assert project
    assert not project["spec"].get("sourceRepos")
    assert not project["spec"].get("destinations")


def test_an_application_of_one_tier_cannot_read_the_other_tiers_repository(instance: Instance) -> None:
    own = instance.kube.get("Application", "catalog-prod", namespace="argocd", api_version=applications.API_VERSION)
    assert own
    source = {**own["spec"]["source"], "repoURL": names.repository("gitops-nonprod"), "path": "envs/dev/catalog"}
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


def _remote(instance: Instance, repository: str, *, user: str = "pipeline") -> git.Remote:
    node = cluster.find(instance.settings, engine.connect(instance.settings))
    assert node
    return gitserver.remote(repository, port=node.http_port, user=user, secrets=credentials.keep(instance.settings))


def _read(instance: Instance, repository: str) -> tuple[str, Mapping[tuple[str, str], Entry]]:
    return gitops.read(_remote(instance, repository))


def _set(instance: Instance, environment: str, values: Mapping[str, Any]) -> str:
    """The commit in which the catalog of an environment is rendered with other values."""
    settings = instance.settings
    tier = settings.environment(environment)
    helm = recipes.plan(settings, engine.connect(settings), "build").tool("helm")

    def edit(entries: gitops.Entries) -> list[Entry]:
        had = entries[environment, "catalog"]
        with genesis.source(settings, had.record.source_commit) as taken:
            return [
                records.render(
                    had.record,
                    {**had.values, **values},
                    tier=tier.tier,
                    chart=taken.chart(),
                    helm_program=helm,
                    kubernetes=settings.versions["versions"]["kubernetes"],
                )
            ]

    made = gitops.change(_remote(instance, tier.repository), edit, reason="Test")
    assert made.made
    return made.commit


def _wait_delivered(instance: Instance, environment: str, commit: str) -> None:
    def probe() -> Ready[Any] | Pending | Failed:
        found = {app.environment: app for app in applications.applications(instance.kube) if app.service == "catalog"}
        return applications.delivered(found.get(environment), commit)

    wait_for(f"{environment} to run commit {commit[:9]}", probe, timeout=ARRIVAL_TIMEOUT, tolerate=NOT_YET)
    deployment = instance.kube.get("Deployment", "catalog", namespace=environment, api_version="apps/v1")
    assert isinstance(rollout(deployment), Ready)


def _generations(instance: Instance, environments: tuple[str, ...]) -> dict[str, int]:
    return {
        item["metadata"]["uid"]: item["metadata"]["generation"]
        for item in instance.kube.list("Deployment", api_version="apps/v1")
        if item["metadata"]["namespace"] in environments
    }
