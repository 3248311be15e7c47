"""Workloads of every kind to be asked about, and who says no."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipway import roles, shell, toolbox
from slipway.kube import Kube, KubeError
from tests.e2e.conftest import Instance

SECURITY: Mapping[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}

# By kind: its API version, and what its controller calls the template's policy for restarts.
KINDS = {
    "Deployment": ("apps/v1", "Always"),
    "StatefulSet": ("apps/v1", "Always"),
    "DaemonSet": ("apps/v1", "Always"),
    "ReplicationController": ("v1", "Always"),
    "Job": ("batch/v1", "Never"),
    "CronJob": ("batch/v1", "Never"),
}


def stranger() -> str:
    """An image that nobody approved: of a name that is known, and a digest that is not."""
    return f"localhost:5001/catalog@sha256:{secrets.token_hex(32)}"


def pod_spec(image: str, *, place: str = "containers", restarts: str = "Always", good: str = "") -> dict[str, Any]:
    """What a pod is told: one image, in one of the places where an image can stand; a good one in the main container."""
    main = {"name": "main", "image": image if place == "containers" else good, "securityContext": SECURITY}
    spec: dict[str, Any] = {"restartPolicy": restarts, "containers": [main]}
    if place == "initContainers":
        spec["initContainers"] = [{"name": "first", "image": image, "securityContext": SECURITY}]
    if place == "volumes":
        spec["volumes"] = [{"name": "data", "image": {"reference": image}}]
    return spec


def workload(kind: str, environment: str, image: str, *, place: str = "containers", good: str = "") -> dict[str, Any]:
    """An object of a kind that runs an image, compliant in all else."""
    name = f"try-{secrets.token_hex(3)}"
    meta: dict[str, Any] = {"name": name, "namespace": environment}
    if kind in ("Pod", "ReplicaSet"):
        version, restarts = ("v1", "Never") if kind == "Pod" else ("apps/v1", "Always")
    else:
        version, restarts = KINDS[kind]
    pod = pod_spec(image, place=place, restarts=restarts, good=good)
    template: dict[str, Any] = {"metadata": {"labels": {"try": name}}, "spec": pod}
    labels = {"try": name}
    spec: dict[str, Any]
    if kind == "Pod":
        spec = pod
    elif kind == "Job":
        spec = {"template": template}
    elif kind == "CronJob":
        spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}
    else:
        selector = labels if kind == "ReplicationController" else {"matchLabels": labels}
        spec = {"selector": selector, "template": template, **({"serviceName": name} if kind == "StatefulSet" else {})}
    return {"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec}


def actor(instance: Instance, who: str) -> Kube:
    """The cluster, as a role or as its admin."""
    settings = instance.settings
    return instance.kube if who == "admin" else Kube(roles.kubeconfig(settings, who), f"{settings.context}-{who}")


def kubectl(instance: Instance, *words: str, config: Path | None = None) -> shell.Result:
    """What kubectl with these words did, as the cluster's admin or by another kubeconfig."""
    settings = instance.settings
    mine = ["--kubeconfig", config] if config else ["--kubeconfig", settings.kubeconfig, "--context", settings.context]
    return shell.run([toolbox.get(settings, "kubectl"), *mine, *words], check=False, timeout=60)


def may(kube: Kube, verb: str, resource: str, namespace: str = "", *, group: str = "", name: str = "") -> bool:
    """Whether the API server lets somebody do something, as far as roles go; nothing is done."""
    kind, _, part = resource.partition("/")
    asked = {"verb": verb, "resource": kind, "subresource": part, "group": group, "namespace": namespace, "name": name}
    answer = kube.create(
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {"name": ""},
            "spec": {"resourceAttributes": asked},
        }
    )
    assert answer
    return bool(answer["status"].get("allowed", False))


def refuser(error: KubeError | None) -> str:
    """Who said no: "roles", "Pod Security", or the rule of admission; "" for nobody."""
    said = str(error) if error else ""
    if "REFUSED by rule '" in said:
        assert "ValidatingAdmissionPolicy" in said, said
        assert " Allowed: " in said, said
        return said.partition("REFUSED by rule '")[2].partition("'")[0]
    if "violates PodSecurity" in said:
        return "Pod Security"
    if "no params found" in said:
        return "no list"
    return "roles" if "cannot " in said and "User " in said else said
