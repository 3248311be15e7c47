"""What every chart must be, in every shape that it supports."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from slipway import helm
from slipway.helm import ChartError
from tests.charts import openapi
from tests.charts.rendering import CHARTS, NAMES, SHAPES, Object, containers, merged, pods, render_shape, shape_values
from tests.programs import program

every_shape = pytest.mark.parametrize(("chart", "shape"), SHAPES)
every_chart = pytest.mark.parametrize("chart", NAMES)

# Cluster-wide kinds among those the charts make.
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "StorageClass"}


@every_chart
def test_a_chart_has_a_shape_to_be_tested_in(chart: str) -> None:
    assert chart in {name for name, _ in SHAPES}


@every_shape
def test_helm_warns_of_nothing(chart: str, shape: str) -> None:
    helm.lint(CHARTS / chart, helm=program("helm"), values=shape_values(chart, shape))


@every_shape
def test_kubernetes_knows_every_field_of_every_object(chart: str, shape: str) -> None:
    wrong = {
        f"{item['kind']} {item['metadata']['name']}": errors
        for item in render_shape(chart, shape)
        if (errors := openapi.description().errors(item))
    }
    assert not wrong


def deployment() -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {
                    "containers": [
                        {
                            "name": "x",
                            "image": "x",
                            "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
                            "livenessProbe": {"httpGet": {"port": "http"}},
                            "readinessProbe": {"httpGet": {"port": 80}},
                        }
                    ]
                },
            },
        },
    }


def test_the_kubernetes_description_takes_a_correct_object() -> None:
    assert openapi.description().errors(deployment()) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"spec": {"replicaCount": 2}}, "'replicaCount' was unexpected"),
        ({"spec": {"template": {"spec": {"nodeSelektor": {}}}}}, "'nodeSelektor' was unexpected"),
        ({"spec": {"replicas": "2"}}, "'2' is not of type 'integer'"),
        ({"spec": {"template": {"spec": {"containers": [{"name": "x", "env": {"A": "b"}}]}}}}, "is not of type 'array'"),
        ({"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}}, "'name' is a required property"),
        ({"metadata": {"labels": {"version": 1}}}, "1 is not of type 'string'"),
        ({"apiVersion": "apps/v1beta1"}, "knows no apps/v1beta1 Deployment"),
        ({"kind": "Deploiement"}, "knows no apps/v1 Deploiement"),
    ],
)
def test_the_kubernetes_description_refuses_what_the_api_server_would(change: Mapping[str, Any], complaint: str) -> None:
    assert complaint in "\n".join(openapi.description().errors(merged(deployment(), change)))


@every_shape
def test_pods_meet_the_restricted_pod_security_standard(chart: str, shape: str) -> None:
    for workload, template in pods(render_shape(chart, shape)):
        spec = template["spec"]
        where = f"{workload['kind']} {workload['metadata']['name']}"
        assert spec["securityContext"]["runAsNonRoot"] is True, where
        assert spec["securityContext"]["runAsUser"] > 0, where
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), where
        for volume in spec.get("volumes", []):
            assert {"configMap", "secret", "emptyDir", "persistentVolumeClaim"} & set(volume), f"{where}: {volume}"
        for each in containers(template):
            security = each["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, where
            assert security["capabilities"] == {"drop": ["ALL"]}, where
            assert security["readOnlyRootFilesystem"] is True, where
            assert "hostPort" not in str(each.get("ports", [])), where


@every_shape
def test_pods_hold_a_token_only_with_an_account_of_their_own(chart: str, shape: str) -> None:
    for _, template in pods(render_shape(chart, shape)):
        spec = template["spec"]
        assert "automountServiceAccountToken" in spec
        assert not spec["automountServiceAccountToken"] or spec["serviceAccountName"] != "default"


@every_shape
def test_pods_ask_for_what_they_need_and_have_a_limit_of_memory(chart: str, shape: str) -> None:
    for _, template in pods(render_shape(chart, shape)):
        for each in containers(template):
            if "resources" in shape_values(chart, shape):
                continue  # the shape says by itself
            assert {"cpu", "memory"} <= set(each["resources"]["requests"])
            assert "memory" in each["resources"]["limits"]


@every_shape
def test_an_object_is_made_once_and_says_where_it_belongs(chart: str, shape: str) -> None:
    objects = render_shape(chart, shape)
    keys = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects]
    assert len(keys) == len(set(keys))
    for kind, namespace, name in keys:
        assert (namespace is None) == (kind in CLUSTER_WIDE), f"{kind} {name}"


@every_shape
def test_selectors_find_the_pods_they_are_for_and_hold_nothing_that_changes(chart: str, shape: str) -> None:
    objects = render_shape(chart, shape)
    templates = {workload["metadata"]["name"]: template["metadata"]["labels"] for workload, template in pods(objects)}
    for workload, template in pods(objects):
        if workload["kind"] == "Job":
            assert "selector" not in workload["spec"]  # Kubernetes makes one
            continue
        selector = workload["spec"]["selector"]["matchLabels"]
        assert set(selector) == {"app.kubernetes.io/name"}
        assert selector.items() <= template["metadata"]["labels"].items()
    for item in objects:
        if item["kind"] == "Service":
            assert item["spec"]["selector"].items() <= templates[item["metadata"]["name"]].items()


@every_shape
def test_a_service_leads_to_a_port_that_the_container_has(chart: str, shape: str) -> None:
    objects = render_shape(chart, shape)
    ports = {
        workload["metadata"]["name"]: {port["name"] for each in template["spec"]["containers"] for port in each["ports"]}
        for workload, template in pods(objects)
        if "ports" in template["spec"]["containers"][0]
    }
    for item in objects:
        if item["kind"] == "Service":
            assert {port["targetPort"] for port in item["spec"]["ports"]} <= ports[item["metadata"]["name"]]


@every_shape
def test_everything_a_pod_mounts_of_the_chart_is_in_the_chart(chart: str, shape: str) -> None:
    objects = render_shape(chart, shape)
    made = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for workload, template in pods(objects):
        for volume in template["spec"].get("volumes", []):
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in made
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in made
        mounted = {mount["name"] for each in containers(template) for mount in each.get("volumeMounts", [])}
        claimed = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        assert mounted == {volume["name"] for volume in template["spec"].get("volumes", [])} | claimed


@every_shape
def test_a_mounted_file_that_changes_replaces_the_pods(chart: str, shape: str) -> None:
    for workload, template in pods(render_shape(chart, shape)):
        if any("configMap" in volume for volume in template["spec"].get("volumes", [])):
            annotations = template["metadata"].get("annotations", {})
            assert re.fullmatch("[0-9a-f]{64}", annotations.get("slipway.dev/config-sha256", "")), workload["metadata"]["name"]


@every_chart
def test_a_value_that_the_chart_does_not_know_is_an_error(chart: str) -> None:
    shape = next(shape for name, shape in SHAPES if name == chart)
    with pytest.raises(ChartError, match="additional properties 'imagge' not allowed"):
        render_shape(chart, shape, imagge="x")


@every_chart
def test_the_schema_knows_the_same_values_as_the_defaults(chart: str) -> None:
    assert known(schema_of(chart)) == keys_of(defaults_of(chart), schema_of(chart))


@every_chart
def test_every_value_is_documented_where_it_stands(chart: str) -> None:
    lines = (CHARTS / chart / "values.yaml").read_text().splitlines()
    top = [number for number, line in enumerate(lines) if re.match(r"[a-zA-Z]+:", line)]
    # A comment directly above, or above the line that it shares it with, or on each key inside.
    undocumented = [
        lines[number]
        for number in top
        if not lines[number - 1].startswith("#")
        and not (number - 1 in top and lines[number - 2].startswith("#"))
        and not lines[number + 1].strip().startswith("# --")
    ]
    assert not undocumented


@every_chart
def test_every_map_in_the_schema_says_what_it_takes(chart: str) -> None:
    open_maps = [
        path
        for path, data in maps(schema_of(chart), "values")
        if "properties" in data and data.get("additionalProperties") is not False
    ]
    assert not open_maps


@every_chart
def test_no_value_can_be_taken_away_with_null(chart: str) -> None:
    # Helm takes null for "forget the default": what was on would be off, and nobody would have said so.
    forgettable = [
        f"{path}.{name}"
        for path, data in maps(schema_of(chart), "values")
        for name in data.get("properties", {})
        if name not in data.get("required", []) and name != "global" and not path.endswith("quantities")
    ]
    assert not forgettable


@every_chart
def test_a_chart_has_no_dependency_on_another(chart: str) -> None:
    assert "dependencies" not in yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())


def test_the_generic_chart_stays_small() -> None:
    folder = CHARTS / "microservice"
    assert len(list((folder / "templates").iterdir())) <= 9
    assert len((folder / "values.yaml").read_text().splitlines()) <= 110


def defaults_of(chart: str) -> dict[str, Any]:
    return yaml.safe_load((CHARTS / chart / "values.yaml").read_text())


def schema_of(chart: str) -> dict[str, Any]:
    return json.loads((CHARTS / chart / "values.schema.json").read_text())


def resolved(data: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = data.get("$ref")
    return root["$defs"][reference.removeprefix("#/$defs/")] if reference else data


def known(root: Mapping[str, Any], data: Mapping[str, Any] | None = None, path: str = "") -> set[str]:
    """The paths of every value that the schema names, except Helm's own `global`."""
    found: set[str] = set()
    for name, inner in resolved(data if data is not None else root, root).get("properties", {}).items():
        here = f"{path}.{name}"
        found |= {here} | known(root, inner, here)
    return {
        here
        for here in found
        if here != ".global" and not here.endswith(".ephemeral-storage") and not here.endswith(".resources.limits.cpu")
    }


def keys_of(
    values: Mapping[str, Any], root: Mapping[str, Any], data: Mapping[str, Any] | None = None, path: str = ""
) -> set[str]:
    """The paths of the default values, as deep as the schema names keys."""
    here_schema = resolved(data if data is not None else root, root)
    found: set[str] = set()
    for name, value in values.items():
        here = f"{path}.{name}"
        inner = resolved(here_schema.get("properties", {}).get(name, {}), root)
        found.add(here)
        if isinstance(value, Mapping) and "properties" in inner:
            found |= keys_of(value, root, inner, here)
    return found


def maps(data: Any, path: str) -> list[tuple[str, Mapping[str, Any]]]:
    if isinstance(data, list):
        return [found for item in data for found in maps(item, path)]
    if not isinstance(data, dict):
        return []
    own = [(path, data)] if data.get("type") == "object" else []
    return own + [found for key, value in data.items() for found in maps(value, f"{path}.{key}")]
