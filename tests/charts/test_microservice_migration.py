"""What runs before a service's new version: the Job, and what belongs to it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.charts.rendering import Object, kinds, only, render_shape

DIGEST = "sha256:" + "ab" * 32
WAVE = "argocd.argoproj.io/sync-wave"


def migrating(**changes: Any) -> list[Object]:
    return render_shape("microservice", "migrating", **changes)


def job(**changes: Any) -> Object:
    return only(migrating(**changes), "Job")


def pod(**changes: Any) -> Object:
    return job(**changes)["spec"]["template"]["spec"]


def container(**changes: Any) -> Object:
    (found,) = pod(**changes)["containers"]
    return found


def served(**changes: Any) -> Object:
    return only(migrating(**changes), "Deployment")["spec"]["template"]


def test_without_a_command_there_is_no_job_and_no_wave() -> None:
    objects = render_shape("microservice", "least")
    assert "Job" not in kinds(objects)
    assert WAVE not in str(objects)


def test_a_migration_runs_what_the_service_runs_and_is_told_the_same() -> None:
    (service,) = served()["spec"]["containers"]
    same = ("image", "env", "envFrom", "securityContext", "volumeMounts")
    assert {name: container()[name] for name in same} == {name: service[name] for name in same}
    assert container()["command"] == ["/venv/bin/python", "migrate.py"]
    for name in ("serviceAccountName", "automountServiceAccountToken", "securityContext"):
        assert pod()[name] == served()["spec"][name]


def test_it_has_resources_of_its_own() -> None:
    found = container(migrations={"resources": {"limits": {"memory": "1Gi"}}})["resources"]
    assert found == {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}


# Once for what it is made of


@pytest.mark.parametrize(
    "changes",
    [
        {"image": {"digest": DIGEST}},
        {"config": {"log_level": "debug"}},
        {"migrations": {"command": ["migrate", "twice"]}},
        {"migrations": {"deadlineSeconds": 301}},
        {"migrations": {"resources": {"limits": {"memory": "1Gi"}}}},
        {"secrets": ["orders-elsewhere"]},
        {"env": {"LEVEL": "1"}},
    ],
)
def test_whatever_it_is_made_of_makes_another_job(changes: dict[str, Any]) -> None:
    assert job(**changes)["metadata"]["name"] != job()["metadata"]["name"]


def test_a_job_of_the_same_name_is_the_same_job() -> None:
    # Kubernetes refuses every change of a Job's pods: what is not in the name must not be in the specification.
    others = {
        "version": "2.0.0",
        "commit": "c" * 40,
        "replicas": 7,
        "probes": {"liveness": {"periodSeconds": 60}},
        "drain": {"seconds": 9},
    }
    assert job(**others)["spec"] == job()["spec"]
    assert job(**others)["metadata"]["name"] == job()["metadata"]["name"]


def test_the_name_says_whose_it_is() -> None:
    assert re.fullmatch("orders-migrate-[0-9a-f]{8}", job()["metadata"]["name"])


# Before everything else


def test_it_and_what_it_needs_come_first_and_all_that_serves_later() -> None:
    first = {(item["kind"], item["metadata"]["name"]) for item in migrating() if WAVE in item["metadata"].get("annotations", {})}
    name = job()["metadata"]["name"]
    assert first == {("Job", name), ("ConfigMap", name), ("ServiceAccount", "orders"), ("NetworkPolicy", "orders-migrate")}
    assert {
        item["metadata"]["annotations"][WAVE] for item in migrating() if (item["kind"], item["metadata"]["name"]) in first
    } == {"-1"}


def test_it_has_a_copy_of_the_services_configuration_which_comes_later() -> None:
    (volume,) = [volume for volume in pod()["volumes"] if volume["name"] == "config"]
    own = only(migrating(), "ConfigMap", volume["configMap"]["name"])
    (service,) = [item for item in migrating() if item["metadata"]["name"].startswith("orders-config-")]
    assert own["metadata"]["name"] == job()["metadata"]["name"]
    assert own["data"] == service["data"]
    assert WAVE not in service["metadata"].get("annotations", {})


def test_argo_cd_sees_an_ordinary_object_that_stays() -> None:
    annotations = job()["metadata"]["annotations"]
    assert set(annotations) == {WAVE}  # no hook: a hook is no part of what Git says
    assert "ttlSecondsAfterFinished" not in job()["spec"]  # self-heal would make it again


# An end, whatever happens


def test_it_ends_by_itself() -> None:
    spec = job(migrations={"deadlineSeconds": 90, "retries": 1})["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"]) == (90, 1)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_a_drained_node_costs_no_attempt_and_a_refused_configuration_all_of_them() -> None:
    ignored, final = job()["spec"]["podFailurePolicy"]["rules"]
    assert ignored == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert final["action"] == "FailJob"
    assert final["onExitCodes"] == {"containerName": container()["name"], "operator": "In", "values": [78]}


# Nobody takes it for the service


def test_nothing_that_selects_the_services_pods_finds_a_migration() -> None:
    objects = migrating()
    labels = job()["spec"]["template"]["metadata"]["labels"]
    selectors = [
        only(objects, "Service")["spec"]["selector"],
        only(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(objects, "NetworkPolicy", "orders")["spec"]["podSelector"]["matchLabels"],
        only(objects, "Deployment")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= served()["metadata"]["labels"].items()
        assert not selector.items() <= labels.items()
    assert "prometheus.io/scrape" not in job()["spec"]["template"]["metadata"]["annotations"]


def test_it_reaches_what_the_service_reaches_and_nobody_reaches_it() -> None:
    changes = {"networkPolicy": {"egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]}}
    policy = only(migrating(**changes), "NetworkPolicy", "orders-migrate")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= job()["spec"]["template"]["metadata"]["labels"].items()
    assert policy["egress"] == only(migrating(**changes), "NetworkPolicy", "orders")["spec"]["egress"]
    assert len(policy["egress"]) == 3
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy


def test_without_network_policies_it_has_none() -> None:
    assert "NetworkPolicy" not in kinds(migrating(networkPolicy={"enabled": False}))
