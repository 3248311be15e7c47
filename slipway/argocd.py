"""Argo CD as an instance runs it: upstream's objects, less what nothing here uses, with our images and settings."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import yaml

from slipway import names
from slipway.applications import Application, applications, delivered
from slipway.credentials import READER, Secrets
from slipway.kube import Object
from slipway.settings import Settings
from slipway.upstream import install_manifest

__all__ = ["DEFAULT_POLLING", "Application", "applications", "delivered", "manifests"]

DEFAULT_POLLING = "120s"

_SETTINGS = ("argocd-cm", "argocd-cmd-params-cm", "argocd-rbac-cm", "argocd-secret", "argocd-redis")


def manifests(
    settings: Settings, *, source: str, image: str, cache_image: str, secrets: Secrets, polling: str = DEFAULT_POLLING
) -> list[Object]:
    """Everything Argo CD consists of, its definitions of kinds included.

    Args:
        settings: The instance's.
        source: Where the upstream manifest comes from, "build" or "pull".
        image: The reference of Argo CD's image.
        cache_image: The reference of Valkey's image, which is its cache.
        secrets: The instance's.
        polling: How often Git is asked without a webhook, as Argo CD writes it ("120s", "6h").
    """
    config = yaml.safe_load((settings.cluster / "argocd" / "config.yaml").read_text())
    own = _own(settings, config, secrets, polling)
    # A process reads most of its settings once: whoever depends on one is started anew when it changes.
    stamp = hashlib.sha256(json.dumps([own[name] for name in _SETTINGS], sort_keys=True).encode()).hexdigest()
    objects: list[Object] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": _meta(names.ARGOCD, namespace=None)}]
    for item in install_manifest(settings, source):
        kind, name = item["kind"], item["metadata"]["name"]
        if any(part in name for part in config["absent"]):
            continue
        if name == "applicationsets.argoproj.io":
            _trim(item)
        if kind in ("Deployment", "StatefulSet"):
            _adapt(item, config, image, cache_image, stamp)
        if kind == "ClusterRoleBinding":
            item["subjects"] = [{**subject, "namespace": names.ARGOCD} for subject in item["subjects"]]
        if kind not in ("CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"):
            item["metadata"]["namespace"] = names.ARGOCD
        replaced = own.pop(name, None) if kind in ("ConfigMap", "Secret") else None
        objects.append(_merged(item, replaced) if replaced else item)
    return [*objects, *own.values()]


def _trim(definition: dict[str, Any]) -> None:
    # Nine tenths of this definition describe generators that nothing here uses; applying them costs seconds at each `up`.
    for version in definition["spec"]["versions"]:
        generator = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["generators"]["items"]
        generator["properties"] = {"git": generator["properties"]["git"]}
        generator["x-kubernetes-preserve-unknown-fields"] = True


def _own(settings: Settings, config: Mapping[str, Any], secrets: Secrets, polling: str) -> dict[str, dict[str, Any]]:
    accounts = {f"accounts.{role}": "apiKey, login" if role == "pipeline" else "login" for role in settings.roles}
    policy = config["policy"] + "".join(f"g, {role}, role:{role}\n" for role in settings.roles)
    watched = [*config["kinds"], *config["grown"]]
    groups = {entry["group"]: [other["kind"] for other in watched if other["group"] == entry["group"]] for entry in watched}
    inclusions = [{"apiGroups": [group], "kinds": kinds, "clusters": ["*"]} for group, kinds in groups.items()]
    basics = {
        "timeout.reconciliation": polling,
        "resource.inclusions": yaml.safe_dump(inclusions, sort_keys=False),
    }
    passwords = {f"accounts.{role}.password": secrets.bcrypt[role] for role in settings.roles}
    times = {f"accounts.{role}.passwordMtime": secrets.made for role in settings.roles}
    keys = {"server.secretkey": secrets.session, "webhook.github.secret": secrets.webhook}
    made = [
        _config_map("argocd-cm", {**config["argocd-cm"], **basics, **accounts}),
        _config_map("argocd-cmd-params-cm", config["argocd-cmd-params-cm"]),
        _config_map("argocd-rbac-cm", {"policy.default": "", "policy.csv": policy, "scopes": "[]"}),
        _secret("argocd-secret", {**passwords, **times, **keys}),
        _secret("argocd-redis", {"auth": secrets.cache}),
        *(_repository(name, secrets) for name in sorted({env.repository for env in settings.environments.values()})),
    ]
    return {item["metadata"]["name"]: item for item in made}


def _adapt(item: dict[str, Any], config: Mapping[str, Any], image: str, cache_image: str, stamp: str) -> None:
    template = item["spec"]["template"]
    template["metadata"].setdefault("annotations", {})["slipway.dev/config-sha256"] = stamp
    pod = template["spec"]
    pod.pop("affinity", None)
    # What upstream prepares in them: a password that we generate, and a plug-in server that nothing uses.
    pod.pop("initContainers", None)
    pod["volumes"] = [volume for volume in pod.get("volumes", []) if volume["name"] not in ("var-files", "argocd-dex-server-tls")]
    pod["enableServiceLinks"] = False
    item["spec"]["revisionHistoryLimit"] = 2
    item["spec"].setdefault("replicas", 1)  # what upstream leaves open, somebody may have scaled to nothing
    for container in pod["containers"]:
        cache = container["name"] == "redis"
        container["image"], container["imagePullPolicy"] = cache_image if cache else image, "IfNotPresent"
        container["resources"] = config["resources"][container["name"]]
        container["volumeMounts"] = [
            mount for mount in container.get("volumeMounts", []) if mount["name"] not in ("var-files", "argocd-dex-server-tls")
        ]
        if cache:
            container["command"] = ["valkey-server"]
            container["args"] = ["--save", "", "--appendonly", "no", "--requirepass", "$(REDIS_PASSWORD)"]
            container["readinessProbe"] = {"tcpSocket": {"port": 6379}, "periodSeconds": 5}
            container["startupProbe"] = {"tcpSocket": {"port": 6379}, "periodSeconds": 1, "failureThreshold": 60}
            continue
        container["env"] = [*container.get("env", []), {"name": "ARGOCD_GPG_ENABLED", "value": "false"}]
        _quicken(container)


def _quicken(container: dict[str, Any]) -> None:
    """Look often until the container has started, seldom afterwards: an idle instance costs little."""
    for name in ("readinessProbe", "livenessProbe"):
        if probe := container.get(name):
            probe.pop("initialDelaySeconds", None)
            probe.update(periodSeconds=10 if name == "readinessProbe" else 30, timeoutSeconds=5, failureThreshold=3)
    if probe := container.get("readinessProbe"):
        container["startupProbe"] = {**probe, "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 120}


def _repository(repository: str, secrets: Secrets) -> dict[str, Any]:
    data = {"type": "git", "url": names.repository(repository), "username": READER, "password": secrets.passwords[READER]}
    made = _secret(f"repository-{repository}", data)
    made["metadata"]["labels"]["argocd.argoproj.io/secret-type"] = "repository"
    return made


def _meta(name: str, *, namespace: str | None = names.ARGOCD) -> dict[str, Any]:
    labels = {names.OWNER_LABEL: names.OWNER, "app.kubernetes.io/part-of": "argocd"}
    return {"name": name, "labels": labels, **({"namespace": namespace} if namespace else {})}


def _config_map(name: str, data: Mapping[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(name), "data": dict(data)}


def _secret(name: str, data: Mapping[str, str]) -> dict[str, Any]:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": _meta(name), "type": "Opaque", "data": encoded}


def _merged(upstream: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    meta = {**own["metadata"], "labels": {**(upstream["metadata"].get("labels") or {}), **own["metadata"]["labels"]}}
    return {**own, "metadata": meta, "data": {**(upstream.get("data") or {}), **own["data"]}}
