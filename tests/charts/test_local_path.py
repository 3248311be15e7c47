"""Storage on the node's own disk."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from slipway.helm import ChartError
from tests.charts import openapi
from tests.charts.rendering import Object, container, only, render_shape


def storage(**changes: Any) -> list[Object]:
    return render_shape("local-path", "default", **changes)


def config(objects: list[Object]) -> dict[str, str]:
    return only(objects, "ConfigMap")["data"]


def test_its_class_is_the_default_one_and_waits_for_the_pod() -> None:
    made = only(storage(), "StorageClass")
    assert made["metadata"]["name"] == "standard"
    assert made["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
    assert made["volumeBindingMode"] == "WaitForFirstConsumer"


def test_volumes_lie_in_one_folder_of_every_node() -> None:
    (entry,) = json.loads(config(storage(path="/data/volumes"))["config.json"])["nodePathMap"]
    assert entry == {"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": ["/data/volumes"]}


def test_the_helper_pod_is_a_pod_and_runs_the_image_it_is_told() -> None:
    helper = yaml.safe_load(config(storage(helperImage="busybox@sha256:1"))["helperPod.yaml"])
    assert openapi.description().errors(helper) == []
    assert helper["spec"]["containers"][0]["image"] == "busybox@sha256:1"


def test_any_user_may_write_to_a_new_volume() -> None:
    assert 'mkdir -m 0777 -p "$VOL_DIR"' in config(storage())["setup"]
    assert 'rm -rf "$VOL_DIR"' in config(storage())["teardown"]


def test_the_provisioner_is_told_the_names_that_the_chart_gives() -> None:
    objects = storage()
    args = container(objects)["command"]
    assert f"--configmap-name={only(objects, 'ConfigMap')['metadata']['name']}" in args
    assert f"--service-account-name={only(objects, 'ServiceAccount')['metadata']['name']}" in args


def test_it_makes_pods_in_its_own_namespace_only() -> None:
    objects = storage()
    for rule in only(objects, "ClusterRole")["rules"]:
        if "pods" in rule["resources"]:
            assert set(rule["verbs"]) == {"get", "list", "watch"}
    assert "create" in only(objects, "Role")["rules"][0]["verbs"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"image": ""}, "image is not set: say which image the provisioner runs"),
        ({"helperImage": ""}, "helperImage is not set: say which image makes the volumes' folders"),
        ({"className": ""}, "at '/className': minLength"),
        ({"path": "/"}, "at '/path': '/' does not match pattern"),
        ({"path": "volumes"}, "at '/path': 'volumes' does not match pattern"),
        ({"resources": "none"}, "at '/resources': got string, want object"),
    ],
)
def test_a_wrong_value_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ChartError) as error:
        storage(**changes)
    assert complaint in str(error.value)
