"""What delivers the records: a project and an application set per tier, and a default project that can do nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import yaml

from slipway import names
from slipway.applications import API_VERSION, SERVICE_LABEL, applications, delivered
from slipway.kube import Kube, Object, ready, rollout
from slipway.settings import Environment, Settings
from slipway.waiting import Failed, Pending, Ready, wait_for

# The kinds that manifests() makes objects of.
_DEFINITIONS = ("applications", "applicationsets", "appprojects")

# Seconds between two looks at which records there are; the webhook is what tells at once.
_GENERATOR_SECONDS = 3600

_CLUSTER = "https://kubernetes.default.svc"


def manifests(settings: Settings, environments: Iterable[str]) -> list[Object]:
    """The projects, and what makes an application of every record; to be applied once wait_for_kinds() returned.

    Args:
        settings: The instance's.
        environments: Which environments the instance has.
    """
    config = yaml.safe_load((settings.cluster / "argocd" / "config.yaml").read_text())
    there = [settings.environment(name) for name in environments]
    objects: list[Object] = [_closed_default()]
    for tier in dict.fromkeys(env.tier for env in there):
        own = [env for env in there if env.tier == tier]
        objects += [_project(tier, own, config), _application_set(tier, own, config)]
    return objects


def _closed_default() -> Object:
    spec = {"sourceRepos": [], "destinations": [], "description": "Closed: every application belongs to the project of its tier."}
    return {
        "apiVersion": API_VERSION,
        "kind": "AppProject",
        "metadata": _meta("default"),
        "spec": {**spec, "clusterResourceWhitelist": [], "namespaceResourceWhitelist": []},
    }


def _project(tier: str, environments: Sequence[Environment], config: Mapping[str, Any]) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": "AppProject",
        "metadata": _meta(tier),
        "spec": {
            "description": f"What runs in {' and '.join(env.name for env in environments)}, from one repository and no other.",
            "sourceRepos": sorted({names.repository(env.repository) for env in environments}),
            "destinations": [{"server": _CLUSTER, "namespace": env.name} for env in environments],
            "clusterResourceWhitelist": [],
            "namespaceResourceWhitelist": config["kinds"],
        },
    }


def _application_set(tier: str, environments: Sequence[Environment], config: Mapping[str, Any]) -> Object:
    repository = names.repository(environments[0].repository)
    environment, service = "{{index .path.segments 1}}", "{{index .path.segments 2}}"
    template = {
        "metadata": {
            "name": f"{service}-{environment}",
            "labels": {names.ENVIRONMENT_LABEL: environment, names.TIER_LABEL: tier, SERVICE_LABEL: service},
            # Only the applications whose own folder a push touches are looked at.
            "annotations": {"argocd.argoproj.io/manifest-generate-paths": "."},
        },
        "spec": {
            "project": tier,
            "source": {
                "repoURL": repository,
                "targetRevision": "main",
                "path": "{{.path.path}}",
                "directory": {"include": "manifests.yaml"},
            },
            "destination": {"server": _CLUSTER, "namespace": environment},
            "syncPolicy": config["syncPolicy"],
            "revisionHistoryLimit": 5,
        },
    }
    generator = {
        "repoURL": repository,
        "revision": "main",
        "requeueAfterSeconds": _GENERATOR_SECONDS,
        "directories": [{"path": f"envs/{env.name}/*"} for env in environments],
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "ApplicationSet",
        "metadata": _meta(tier),
        "spec": {
            "goTemplate": True,
            "goTemplateOptions": ["missingkey=error"],
            "generators": [{"git": generator}],
            # A record that vanishes from Git takes nothing with it.
            "syncPolicy": {"applicationsSync": "create-update", "preserveResourcesOnDeletion": True},
            "template": template,
        },
    }


def wait_for_kinds(kube: Kube, *, timeout: float = 30.0) -> None:
    """Return when the cluster serves Argo CD's kinds.

    Raises:
        WaitTimeout: It does not within `timeout` seconds.
    """

    def probe(name: str) -> Ready[Any] | Pending:
        found = kube.get("CustomResourceDefinition", name, api_version="apiextensions.k8s.io/v1")
        return ready(found, "Established")

    for plural in _DEFINITIONS:
        name = f"{plural}.argoproj.io"
        wait_for(f"the kind {name}", lambda name=name: probe(name), timeout=timeout)


def settled(kube: Kube, environment: str, services: Collection[str], *, commit: str = "") -> Ready[None] | Pending | Failed:
    """Whether an environment runs what Git records for it, with every pod ready.

    Args:
        kube: The cluster.
        environment: The environment.
        services: Those that must be there at least.
        commit: The commit whose records they must run; by default whatever Argo CD saw last.
    """
    found = {app.service: app for app in applications(kube) if app.environment == environment}
    absent = sorted(set(services) - set(found))
    if absent or not found:
        return Pending(f"Argo CD has not made the application of {', '.join(absent) or 'any service'} yet")
    for name, app in sorted(found.items()):
        judged = delivered(app, commit or app.revision)
        if not isinstance(judged, Ready):
            return type(judged)(f"{name}: {judged.why}")
    for workload in kube.list("Deployment", namespace=environment, api_version="apps/v1"):
        judged = rollout(workload)
        if not isinstance(judged, Ready):
            return type(judged)(f"{workload['metadata']['name']}: {judged.why}")
    return Ready(None)


def _meta(name: str) -> dict[str, Any]:
    labels = {names.OWNER_LABEL: names.OWNER, "app.kubernetes.io/part-of": "argocd"}
    return {"name": name, "namespace": names.ARGOCD, "labels": labels}
