"""What Git records is what runs: a push arrives by webhook, a deleted object comes back, nobody else writes records."""

from __future__ import annotations

import urllib.parse
from dataclasses import replace
from typing import Any

import pytest

from slipway import applications, credentials, git, gitops, names
from slipway.kube import NOT_YET, rollout
from slipway.waiting import Failed, Pending, Ready, wait_for
from tests.e2e import delivering
from tests.e2e.conftest import Instance, fetch
from tests.e2e.delivering import ARRIVAL_TIMEOUT


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
