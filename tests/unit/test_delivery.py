"""The walls around what a tier's repository can do."""

from __future__ import annotations

from typing import Any

import pytest

from slipway import delivery, gitserver, names
from slipway.errors import WaitTimeout
from slipway.kube import UnknownKind
from slipway.settings import load
from slipway.waiting import Failed, Pending, Ready
from tests.unit.fake_cluster import FakeKube, application, workload

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
    assert {"Deployment", "Service", "Job"} <= kinds
    assert not kinds & {"*", "Secret", "Role", "RoleBinding", "Pod", "Application", "AppProject", "ResourceQuota"}


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


@pytest.mark.parametrize("late", ["Application", "ApplicationSet", "AppProject"])
def test_a_kind_counts_once_the_cluster_serves_it_whatever_its_definition_says(late: str) -> None:
    class Slow(FakeKube):
        looked = 0

        def list(self, kind: str, **more: Any) -> Any:
            self.looked += kind == late
            if kind == late and self.looked < 3:
                raise UnknownKind("No matches found")
            return super().list(kind, **more)

    kube = Slow()
    delivery.wait_for_kinds(kube)
    assert kube.looked == 3
    kube.failing[late] = UnknownKind("No matches found")
    with pytest.raises(WaitTimeout, match=f"the cluster to serve the kind {late}: not within"):
        delivery.wait_for_kinds(kube, timeout=0.05)


def test_what_cannot_be_applied_is_tried_again_without_end_and_with_what_git_says_by_then() -> None:
    for made in objects("ApplicationSet").values():
        retry = made["template"]["spec"]["syncPolicy"]["retry"]
        assert retry["limit"] < 0
        assert retry["refresh"]


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


COMMIT, NEWER = "a" * 40, "b" * 40


def judge(*objects: dict[str, Any], services: tuple[str, ...] = ("catalog",), commit: str = COMMIT) -> object:
    return delivery.settled(FakeKube(*objects), "dev", services, commit=commit)


def test_an_environment_is_settled_when_every_service_runs_what_git_records() -> None:
    assert judge(application("catalog", "dev"), workload("catalog", "dev")) == Ready(None)


def test_a_service_without_an_application_is_waited_for_by_name() -> None:
    assert judge(application("cart", "dev"), services=("cart", "catalog")) == Pending(
        "Argo CD has not made the application of catalog yet"
    )


def test_an_environment_without_any_application_is_not_settled_although_nothing_is_asked_for() -> None:
    assert judge(services=()) == Pending("Argo CD has not made the application of any service yet")


def test_another_environments_applications_and_pods_do_not_count() -> None:
    there = application("catalog", "dev"), workload("catalog", "dev")
    assert isinstance(judge(application("catalog", "qa")), Pending)
    assert judge(*there, application("catalog", "qa", health="Degraded"), workload("catalog", "qa", ready=0)) == Ready(None)


def test_an_older_commit_does_not_count() -> None:
    judged = judge(application("catalog", "dev"), workload("catalog", "dev"), commit=NEWER)
    assert judged == Pending("catalog: Argo CD looks at aaaaaaaaa, not at bbbbbbbbb yet")


def test_without_a_commit_it_is_enough_to_run_what_argo_cd_saw_last() -> None:
    assert judge(application("catalog", "dev"), workload("catalog", "dev"), services=(), commit="") == Ready(None)


def test_a_service_that_is_recorded_but_was_not_asked_for_counts_too() -> None:
    judged = judge(application("catalog", "dev"), application("mine", "dev", sync="OutOfSync"), workload("catalog", "dev"))
    assert judged == Pending("mine: OutOfSync with aaaaaaaaa")


def test_what_argo_cd_calls_healthy_is_not_settled_before_its_pods_are_ready() -> None:
    assert judge(application("catalog", "dev"), workload("catalog", "dev", ready=0)) == Pending(
        "catalog: 0/1 ready, 0/1 available"
    )


def test_a_store_whose_pod_is_not_ready_is_waited_for() -> None:
    there = application("postgresql", "dev"), workload("postgresql", "dev", kind="StatefulSet", ready=0)
    assert judge(*there, services=("postgresql",)) == Pending("postgresql: 0/1 ready, 0/1 available")


def test_a_commit_that_cannot_be_applied_is_not_waited_for() -> None:
    failed = {"phase": "Failed", "syncResult": {"revision": COMMIT}, "message": "no such kind"}
    judged = judge(application("catalog", "dev", sync="OutOfSync", operationState=failed), workload("catalog", "dev"))
    assert judged == Failed("catalog: Argo CD could not apply aaaaaaaaa: no such kind")
