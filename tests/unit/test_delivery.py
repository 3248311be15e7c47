"""The walls around what a tier's repository can do."""

from __future__ import annotations

from typing import Any

import pytest

from slipway import delivery, gitserver, names
from slipway.settings import load

ALL = ("dev", "qa", "stage", "prod")


def objects(kind: str, environments: tuple[str, ...] = ALL) -> dict[str, Any]:
    return {item["metadata"]["name"]: item["spec"] for item in delivery.manifests(load(), environments) if item["kind"] == kind}


@pytest.mark.parametrize(("tier", "own"), [("nonprod", ["dev", "qa"]), ("prod", ["stage", "prod"])])
def test_a_project_has_one_repository_and_its_own_environments(tier: str, own: list[str]) -> None:
    project = objects("AppProject")[tier]
    assert project["sourceRepos"] == [names.repository(f"gitops-{tier}")]
    assert [entry["namespace"] for entry in project["destinations"]] == own
    assert {entry["server"] for entry in project["destinations"]} == {"https://kubernetes.default.svc"}


@pytest.mark.parametrize("tier", ["nonprod", "prod"])
def test_a_project_holds_no_kind_that_reaches_beyond_its_namespace(tier: str) -> None:
    project = objects("AppProject")[tier]
    kinds = {entry["kind"] for entry in project["namespaceResourceWhitelist"]}
    assert project["clusterResourceWhitelist"] == []
    assert {"Deployment", "Service"} <= kinds
    assert not kinds & {"*", "Secret", "Role", "RoleBinding", "Pod", "Job", "Application", "AppProject", "ResourceQuota"}


def test_the_default_project_can_do_nothing() -> None:
    project = objects("AppProject")["default"]
    assert project["sourceRepos"] == project["destinations"] == []


@pytest.mark.parametrize("tier", ["nonprod", "prod"])
def test_a_pushed_folder_cannot_choose_its_project_or_repository(tier: str) -> None:
    made = objects("ApplicationSet")[tier]
    spec = made["template"]["spec"]
    assert spec["project"] == tier
    assert spec["source"]["repoURL"] == made["generators"][0]["git"]["repoURL"] == names.repository(f"gitops-{tier}")


@pytest.mark.parametrize("tier", ["nonprod", "prod"])
def test_a_record_that_vanishes_deletes_nothing(tier: str) -> None:
    made = objects("ApplicationSet")[tier]
    assert made["syncPolicy"] == {"applicationsSync": "create-update", "preserveResourcesOnDeletion": True}
    assert "finalizers" not in made["template"]["metadata"]


def test_only_manifests_are_applied_and_only_a_change_to_them_is_looked_at() -> None:
    template = objects("ApplicationSet")["nonprod"]["template"]
    assert template["spec"]["source"]["directory"] == {"include": "manifests.yaml"}
    assert template["metadata"]["annotations"]["argocd.argoproj.io/manifest-generate-paths"] == "."


def test_drift_is_healed_by_itself() -> None:
    for made in objects("ApplicationSet").values():
        assert made["template"]["spec"]["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True, "allowEmpty": False}


def test_an_instance_delivers_only_to_the_environments_it_has() -> None:
    assert set(objects("AppProject", ("dev",))) == {"default", "nonprod"}
    made = objects("ApplicationSet", ("dev",))["nonprod"]
    assert made["generators"][0]["git"]["directories"] == [{"path": "envs/dev/*"}]


def test_the_git_server_tells_argo_cd_the_address_that_argo_cd_knows() -> None:
    """Argo CD compares the address in a push event with its applications', without `.git`."""
    import json

    told = json.loads(gitserver.files(load())["hooks.json"])
    url = objects("ApplicationSet")["prod"]["template"]["spec"]["source"]["repoURL"]
    assert url == f"{told['base']}/gitops-prod.git"
    assert objects("ApplicationSet")["prod"]["template"]["spec"]["source"]["targetRevision"] == told["branch"]
