"""Argo CD's objects, made from a manifest like upstream's."""

from __future__ import annotations

import base64
import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway import argocd, credentials
from slipway.credentials import Secrets
from slipway.settings import Settings, load


def workload(kind: str, name: str, container: str | None = None) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/healthz", "port": 1}, "initialDelaySeconds": 30, "periodSeconds": 30}
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "argocd-dex-server-tls", "mountPath": "/dex"}]
    main = {
        "name": container or name,
        "image": "quay.io/x",
        "imagePullPolicy": "Always",
        "readinessProbe": probe,
        "volumeMounts": mounts,
    }
    volumes = [{"name": "tmp"}, {"name": "var-files"}, {"name": "argocd-dex-server-tls"}]
    pod = {"affinity": {}, "initContainers": [{"name": "copyutil"}], "containers": [main], "volumes": volumes}
    return {"kind": kind, "metadata": {"name": name}, "spec": {"template": {"metadata": {"labels": {}}, "spec": pod}}}


GENERATORS = {"items": {"type": "object", "properties": {"git": {"a": 1}, "matrix": {"b": 2}}}}
SCHEMA = {"properties": {"spec": {"properties": {"generators": GENERATORS, "template": {"c": 3}}}}}

UPSTREAM: list[dict[str, Any]] = [
    {
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "applicationsets.argoproj.io"},
        "spec": {"versions": [{"schema": {"openAPIV3Schema": SCHEMA}}]},
    },
    {"kind": "CustomResourceDefinition", "metadata": {"name": "applications.argoproj.io"}},
    {"kind": "ServiceAccount", "metadata": {"name": "argocd-dex-server"}},
    {"kind": "NetworkPolicy", "metadata": {"name": "argocd-notifications-controller-network-policy"}},
    {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "argocd-server"},
        "subjects": [{"name": "argocd-server", "namespace": "argocd"}],
    },
    {"kind": "ConfigMap", "metadata": {"name": "argocd-cm", "labels": {"a": "b"}}, "data": {"resource.exclusions": "some"}},
    {"kind": "Secret", "metadata": {"name": "argocd-secret"}},
    workload("Deployment", "argocd-dex-server"),
    workload("Deployment", "argocd-server"),
    workload("Deployment", "argocd-repo-server"),
    workload("Deployment", "argocd-redis", "redis"),
    workload("Deployment", "argocd-applicationset-controller"),
    workload("StatefulSet", "argocd-application-controller"),
]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(credentials, "_BCRYPT_ROUNDS", 4)
    monkeypatch.setattr(argocd, "install_manifest", lambda *_: copy.deepcopy(UPSTREAM))
    return replace(load(), home=tmp_path)


@pytest.fixture
def secrets(settings: Settings) -> Secrets:
    return credentials.keep(settings)


def make(settings: Settings, secrets: Secrets, **more: Any) -> dict[tuple[str, str], dict[str, Any]]:
    made = argocd.manifests(settings, source="build", image="our/argocd", cache_image="our/valkey", secrets=secrets, **more)
    return {(item["kind"], item["metadata"]["name"]): dict(item) for item in made}


def decoded(secret: dict[str, Any]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


def test_what_nothing_uses_is_left_out(settings: Settings, secrets: Secrets) -> None:
    names = [name for _, name in make(settings, secrets)]
    assert not [name for name in names if "dex" in name or "notifications" in name]


def test_only_the_generator_that_is_used_is_described(settings: Settings, secrets: Secrets) -> None:
    made = make(settings, secrets)["CustomResourceDefinition", "applicationsets.argoproj.io"]
    spec = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert spec["generators"]["items"]["properties"] == {"git": {"a": 1}}
    assert spec["generators"]["items"]["x-kubernetes-preserve-unknown-fields"] is True
    assert spec["template"] == {"c": 3}


def test_every_container_runs_our_images_and_starts_without_waiting(settings: Settings, secrets: Secrets) -> None:
    for (kind, name), item in make(settings, secrets).items():
        if kind not in ("Deployment", "StatefulSet"):
            continue
        assert item["spec"]["replicas"] == 1  # owned, so that what somebody scaled to nothing comes back
        pod = item["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert container["image"] == ("our/valkey" if name == "argocd-redis" else "our/argocd")
        assert container["imagePullPolicy"] == "IfNotPresent"
        assert container["resources"]["requests"]
        assert "initContainers" not in pod
        assert {volume["name"] for volume in pod["volumes"]} == {mount["name"] for mount in container["volumeMounts"]} == {"tmp"}
        assert container["startupProbe"]["periodSeconds"] == 1
        assert "initialDelaySeconds" not in container["readinessProbe"]


def test_a_changed_setting_or_secret_starts_everything_anew_and_nothing_else_does(settings: Settings, secrets: Secrets) -> None:
    def stamp(**more: Any) -> str:
        server = make(settings, more.pop("secrets", secrets), **more)["Deployment", "argocd-server"]
        return server["spec"]["template"]["metadata"]["annotations"]["slipway.dev/config-sha256"]

    assert stamp() == stamp()
    assert stamp(polling="6h") != stamp()
    assert stamp(secrets=replace(secrets, webhook="other")) != stamp()


def test_polling_is_what_was_asked_for(settings: Settings, secrets: Secrets) -> None:
    data = make(settings, secrets, polling="6h")["ConfigMap", "argocd-cm"]["data"]
    assert data["timeout.reconciliation"] == "6h"
    assert data["timeout.reconciliation.jitter"] == "0s"
    assert data["resource.exclusions"] == "some", "upstream's own settings stay"


def test_the_admin_is_off_and_each_role_has_an_account(settings: Settings, secrets: Secrets) -> None:
    made = make(settings, secrets)
    data = made["ConfigMap", "argocd-cm"]["data"]
    assert data["admin.enabled"] == "false"
    assert data["exec.enabled"] == "false"
    assert [key for key in data if key.startswith("accounts.")] == ["accounts.developer", "accounts.lead", "accounts.pipeline"]
    kept = decoded(made["Secret", "argocd-secret"])
    assert kept["accounts.lead.password"] == secrets.bcrypt["lead"]
    assert kept["webhook.github.secret"] == secrets.webhook
    assert decoded(made["Secret", "argocd-redis"]) == {"auth": secrets.cache}


def test_nobody_may_override_delete_or_execute_and_a_developer_syncs_only_before_stage(
    settings: Settings, secrets: Secrets
) -> None:
    made = make(settings, secrets)["ConfigMap", "argocd-rbac-cm"]["data"]
    assert made["policy.default"] == ""
    grants = [[part.strip() for part in line.split(",")] for line in made["policy.csv"].splitlines()]
    allowed = {(who, what, verb, where) for kind, who, what, verb, where, _ in (row for row in grants if row[0] == "p") if kind}
    assert {verb for _, _, verb, _ in allowed} == {"get", "sync"}
    assert {(who, where) for who, _, verb, where in allowed if verb == "sync"} == {
        ("role:developer", "nonprod/*"),
        ("role:lead", "*/*"),
        ("role:pipeline", "*/*"),
    }
    assert {tuple(row[1:]) for row in grants if row[0] == "g"} >= {(role, f"role:{role}") for role in settings.roles}


def test_repositories_are_read_as_somebody_who_can_push_nowhere(settings: Settings, secrets: Secrets) -> None:
    made = make(settings, secrets)
    for repository in ("gitops-nonprod", "gitops-prod"):
        secret = made["Secret", f"repository-{repository}"]
        assert secret["metadata"]["labels"]["argocd.argoproj.io/secret-type"] == "repository"
        told = decoded(secret)
        assert told["url"] == f"http://git.slipway-system.svc.cluster.local/{repository}.git"
        assert told["username"] == credentials.READER
        assert told["username"] not in settings.roles


def test_every_kind_that_a_project_may_hold_is_watched(settings: Settings, secrets: Secrets) -> None:
    included = yaml.safe_load(make(settings, secrets)["ConfigMap", "argocd-cm"]["data"]["resource.inclusions"])
    watched = {(group["apiGroups"][0], kind) for group in included for kind in group["kinds"]}
    config = yaml.safe_load((settings.cluster / "argocd" / "config.yaml").read_text())
    assert {(entry["group"], entry["kind"]) for entry in config["kinds"]} <= watched
    assert {("", "Pod"), ("apps", "ReplicaSet")} <= watched, "health is judged by them"
