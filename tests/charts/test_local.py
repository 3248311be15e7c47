"""How `./invoke dev` runs services in `local`: the same chart, with a layer of its own on what dev says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slipway import names
from slipway.dev import told
from slipway.errors import UsageError
from slipway.settings import Settings, load
from tests.charts.rendering import Object, container, kinds, only, pods, render

SERVICES = load().services

NOWHERE = "sha256:" + "0" * 64


def rendered(service: str, settings: Settings | None = None) -> list[Object]:
    identity = {"service": service, "environment": names.LOCAL, "image": {"repository": f"live/{service}", "digest": NOWHERE}}
    return render("microservice", {**told.values(settings or load(), service), **identity})


@pytest.mark.parametrize("service", SERVICES)
def test_one_pod_that_a_debugger_may_hold_and_a_second_process_fits_into(service: str) -> None:
    made = rendered(service)
    assert only(made, "Deployment")["spec"]["replicas"] == 1
    assert "HorizontalPodAutoscaler" not in kinds(made)
    probe = container(made)["livenessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 600
    assert container(made)["resources"]["limits"]["memory"] == "512Mi"
    assert container(made)["lifecycle"]["preStop"]["sleep"]["seconds"], "a pod that is replaced loses no request here either"


@pytest.mark.parametrize("service", SERVICES)
def test_the_shape_is_that_of_the_other_environments(service: str) -> None:
    made = rendered(service)
    held = container(made)["securityContext"]
    assert held["readOnlyRootFilesystem"]
    assert not held["allowPrivilegeEscalation"]
    assert {item["metadata"]["namespace"] for item in made} == {names.LOCAL}
    assert container(made)["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {"name": "SLIPWAY_ENVIRONMENT", "value": "local"} in container(made)["env"]
    for _, template in pods(made):
        assert template["spec"]["securityContext"]["runAsUser"] == 10001, "whom saved files belong to"
        assert {"name": "tmp", "mountPath": "/tmp"} in template["spec"]["containers"][0]["volumeMounts"], "where they go"


def test_what_dev_says_of_a_service_holds_here_too() -> None:
    assert container(rendered("orders"))["envFrom"] == [{"secretRef": {"name": "orders-postgresql"}}]
    assert only(rendered("orders"), "Job")["spec"]["template"]["spec"]["containers"][0]["command"][-1] == "migrate.py"


class Checkout:
    """A checkout with one service, whose files are written one by one."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings(root, root / "home", "test")
        self.write(
            "cluster/local-values.yaml", "replicas: 1\nconfig: {log_level: info}\nprobes: {liveness: {failureThreshold: 60}}"
        )
        self.write(
            "services/shop/helm/dev-values.yaml", "replicas: 2\nsecrets: [shop-valkey]\nprobes: {liveness: {path: /alive}}"
        )
        self.write("services/shop/envs/dev.yaml", "log_level: debug\nnotice: This is dev.")

    def write(self, name: str, content: str) -> None:
        file = self.settings.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")

    @property
    def values(self) -> dict[str, Any]:
        return told.values(self.settings, "shop")


def test_the_layer_goes_over_what_dev_says_key_by_key(tmp_path: Path) -> None:
    assert Checkout(tmp_path).values == {
        "replicas": 1,
        "secrets": ["shop-valkey"],
        "probes": {"liveness": {"path": "/alive", "failureThreshold": 60}},
        "config": {"log_level": "info", "notice": "This is dev."},
    }


def test_a_service_has_the_last_word_and_its_own_configuration_is_taken_as_it_is(tmp_path: Path) -> None:
    made = Checkout(tmp_path)
    made.write("services/shop/helm/local-values.yaml", "replicas: 3")
    made.write("services/shop/envs/local.yaml", "log_level: warning")
    assert made.values["replicas"] == 3
    assert made.values["config"] == {"log_level": "warning"}


@pytest.mark.parametrize(("content", "what"), [("- a", "is not a mapping"), ("a: [", "is no YAML")])
def test_a_malformed_file_is_named(content: str, what: str, tmp_path: Path) -> None:
    made = Checkout(tmp_path)
    made.write("services/shop/helm/local-values.yaml", content)
    with pytest.raises(UsageError, match=f"local-values.yaml {what}"):
        _ = made.values
