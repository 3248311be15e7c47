"""Everything that somebody wrote into namespaces, at one moment: what a second writer would change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tests.e2e.conftest import Instance

# Every kind of which charts, Tilt or Argo CD make objects there, and the pods that come of them. What controllers write about
# others (EndpointSlices, Events, ReplicaSets) follows from these.
KINDS = (
    *(("v1", kind) for kind in ("ConfigMap", "Secret", "Service", "ServiceAccount", "PersistentVolumeClaim", "Pod")),
    *(("apps/v1", kind) for kind in ("Deployment", "StatefulSet")),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    *(("rbac.authorization.k8s.io/v1", kind) for kind in ("Role", "RoleBinding")),
)

Sight = Mapping[str, tuple[str, str]]


def of(instance: Instance, *namespaces: str) -> Sight:
    """The uid of every object of these namespaces and the hash of what was written into it, by its name."""
    return {
        f"{item['metadata']['namespace']}/{kind}/{item['metadata']['name']}": (item["metadata"]["uid"], _hash(_written(item)))
        for version, kind in KINDS
        for item in instance.kube.list(kind, api_version=version)
        # What was on its way out already goes by itself; what is being removed since is missed in the second of two looks.
        if item["metadata"]["namespace"] in namespaces and not item["metadata"].get("deletionTimestamp")
    }


def delivered(instance: Instance) -> Sight:
    """The same of every environment, and of the Applications that fill them: what they want, and the commit that they have."""
    applications = {
        f"Application/{item['metadata']['name']}": (item["metadata"]["uid"], _hash([item["spec"], _revision(item)]))
        for item in instance.kube.list("Application", namespace="argocd", api_version="argoproj.io/v1alpha1")
    }
    return {**of(instance, *instance.settings.environments), **applications}


def changed(before: Sight, after: Sight) -> set[str]:
    """What somebody wrote between two moments, made or removed."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _written(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in item.items() if name not in ("apiVersion", "kind", "metadata", "status")}


def _revision(application: Mapping[str, Any]) -> str:
    return ((application.get("status") or {}).get("sync") or {}).get("revision", "")


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
