"""The generic chart's objects beside the Deployment, one after the other."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.charts.rendering import Object, kinds, only, pods, render_shape


def least(**changes: Any) -> list[Object]:
    return render_shape("microservice", "least", **changes)


def test_the_least_a_service_says_makes_these_objects() -> None:
    assert kinds(least()) == {"Deployment", "Service", "ServiceAccount", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy"}


def test_every_object_is_named_after_the_service_and_lies_in_its_environment() -> None:
    objects = render_shape("microservice", "autoscaled")
    assert {item["metadata"]["namespace"] for item in objects} == {"stage"}
    assert {item["metadata"]["name"] for item in objects if item["kind"] != "ConfigMap"} == {"storefront"}
    assert re.fullmatch(r"storefront-config-[0-9a-f]{8}", only(objects, "ConfigMap")["metadata"]["name"])


def test_every_object_carries_the_same_labels() -> None:
    labels = [item["metadata"]["labels"] for item in render_shape("microservice", "everything")]
    assert all(each == labels[0] for each in labels)
    assert labels[0]["app.kubernetes.io/managed-by"] == "slipway"
    assert labels[0]["slipway.dev/tier"] == "prod"


# Service


def test_the_service_answers_on_port_80_whatever_the_container_listens_on() -> None:
    spec = only(least(port=9000), "Service")["spec"]
    assert spec["type"] == "ClusterIP"
    assert spec["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]


# ServiceAccount


def test_the_account_has_no_token() -> None:
    assert only(least(), "ServiceAccount")["automountServiceAccountToken"] is False


# ConfigMap


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"log_level": "info"},
        {"faults": [{"route": "/products", "latency_ms": 250, "ratio": 0.5}]},
        {"bytes": 1048576, "large": 12345678901, "text": "007", "also_text": "true", "nothing": None},
        {"banner": "two\nlines: {{ not a template }}\n", "umlaut": "für alle"},
    ],
)
def test_the_service_reads_exactly_what_the_environment_says(config: dict[str, Any]) -> None:
    wanted = {key: value for key, value in config.items() if value is not None}  # Helm drops what is null
    assert yaml.safe_load(only(least(config=config), "ConfigMap")["data"]["config.yaml"]) == wanted


# PodDisruptionBudget


@pytest.mark.parametrize("replicas", [0, 1, 5])
def test_one_pod_at_a_time_may_be_evicted_so_that_a_node_can_always_be_drained(replicas: int) -> None:
    spec = only(least(replicas=replicas), "PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert "minAvailable" not in spec
    assert spec["selector"]["matchLabels"] == {"app.kubernetes.io/name": "catalog"}


def test_a_pod_that_is_not_ready_may_always_be_evicted() -> None:
    assert only(least(), "PodDisruptionBudget")["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


# HorizontalPodAutoscaler


def test_there_is_no_autoscaler_unless_asked_for() -> None:
    assert "HorizontalPodAutoscaler" not in kinds(least())


def test_the_autoscaler_scales_this_deployment_within_its_bounds() -> None:
    spec = only(render_shape("microservice", "autoscaled"), "HorizontalPodAutoscaler")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "storefront"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 6)
    assert spec["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}


def test_the_autoscaler_may_have_a_single_number_of_pods() -> None:
    objects = least(autoscaling={"enabled": True, "minReplicas": 3, "maxReplicas": 3})
    assert only(objects, "HorizontalPodAutoscaler")["spec"]["maxReplicas"] == 3


# NetworkPolicy


def test_only_the_environment_the_gateway_prometheus_and_load_tests_reach_a_pod() -> None:
    policy = only(least(), "NetworkPolicy")["spec"]
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"port": "http"}]
    own, *others = rule["from"]
    assert own == {"podSelector": {}}
    assert {
        (
            peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
            peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"],
        )
        for peer in others
    } == {("slipway-system", "gateway"), ("monitoring", "prometheus"), ("load", "load")}


def test_load_tests_can_be_kept_out() -> None:
    policy = only(least(networkPolicy={"load": ""}), "NetworkPolicy")["spec"]
    assert "load" not in str(policy["ingress"])


def test_a_pod_reaches_its_environment_and_the_name_server_only() -> None:
    policy = only(least(), "NetworkPolicy")["spec"]
    own, names = policy["egress"]
    assert own == {"to": [{"podSelector": {}}]}
    assert {(port["port"], port["protocol"]) for port in names["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_more_may_be_let_in_and_out() -> None:
    policy = only(render_shape("microservice", "everything"), "NetworkPolicy", "orders")["spec"]
    assert policy["ingress"][1]["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "loadtest"}
    assert policy["egress"][2] == {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}


def test_the_network_policy_can_be_left_out() -> None:
    assert "NetworkPolicy" not in kinds(least(networkPolicy={"enabled": False}))


def test_the_pods_that_the_policy_names_are_labelled_so_by_their_own_charts() -> None:
    for chart, workload in (("gateway", "gateway"), ("monitoring", "prometheus")):
        template = only(render_shape(chart, "default"), "Deployment", workload)["spec"]["template"]
        assert template["metadata"]["labels"]["app.kubernetes.io/name"] == workload
    jobs = [template for _, template in pods(render_shape("load", "default"))]
    assert {template["metadata"]["labels"]["app.kubernetes.io/name"] for template in jobs} == {"load"}
