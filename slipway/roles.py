"""What each role may do in the cluster, the environments' namespaces it does it in, and a kubeconfig for each role."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from slipway import names
from slipway.credentials import write_private
from slipway.kube import Kube, Object
from slipway.settings import Settings
from slipway.waiting import Pending, Ready, wait_for

_TOKEN_TIMEOUT = 30.0


def manifests(settings: Settings, environments: Iterable[str]) -> list[Object]:
    """The namespaces of the environments and what each role may do in the cluster.

    Everybody sees everything but secrets. The developer also works in `local`, and looks into the pods of the
    environments before stage. Nobody of them changes an environment by hand: that is what Git is for.
    """
    there = [settings.environment(name) for name in environments]
    objects: list[Object] = [_namespace(names.SYSTEM), _namespace(names.LOCAL)]
    objects += [_namespace(env.name, {names.ENVIRONMENT_LABEL: env.name, names.TIER_LABEL: env.tier}) for env in there]
    observed = {"apiGroups": ["argoproj.io"], "resources": ["applications", "applicationsets", "appprojects"]}
    cluster = {"apiGroups": [""], "resources": ["nodes", "namespaces", "persistentvolumes"]}
    objects.append(
        _cluster_role("slipway-observer", [{**rule, "verbs": ["get", "list", "watch"]} for rule in (observed, cluster)])
    )
    inside = [{"apiGroups": [""], "resources": ["pods/exec", "pods/portforward"], "verbs": ["get", "create"]}]
    objects.append(_cluster_role("slipway-debugger", inside))
    for role in settings.roles:
        objects += _account(role)
        objects += [_binding(None, f"slipway-{role}-{granted}", granted, role) for granted in ("view", "slipway-observer")]
    objects.append(_binding(names.LOCAL, "developer", "edit", "developer"))
    objects += [_binding(env.name, "developer", "slipway-debugger", "developer") for env in there if env.tier == "nonprod"]
    return objects


def _namespace(name: str, labels: Mapping[str, str] | None = None) -> Object:
    labels = {names.OWNER_LABEL: names.OWNER, **(labels or {})}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _cluster_role(name: str, rules: list[dict[str, Any]]) -> Object:
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}


def _account(role: str) -> list[Object]:
    meta = {"name": role, "namespace": names.SYSTEM}
    token = {"name": f"{role}-token", "namespace": names.SYSTEM, "annotations": {"kubernetes.io/service-account.name": role}}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta, "automountServiceAccountToken": False},
        {"apiVersion": "v1", "kind": "Secret", "metadata": token, "type": "kubernetes.io/service-account-token"},
    ]


def _binding(namespace: str | None, name: str, granted: str, role: str) -> Object:
    where = {"namespace": namespace} if namespace else {}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": {"name": name, **where},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": granted},
        "subjects": [{"kind": "ServiceAccount", "name": role, "namespace": names.SYSTEM}],
    }


def kubeconfig(settings: Settings, role: str) -> Path:
    """Where a role's kubeconfig is."""
    return settings.folder / f"kubeconfig-{role}"


def write_kubeconfigs(settings: Settings, kube: Kube) -> None:
    """Give each role its kubeconfig in the instance's folder, once its objects are in the cluster.

    Raises:
        WaitTimeout: The cluster made no token for a role.
    """
    admin = yaml.safe_load(settings.kubeconfig.read_text())
    cluster = admin["clusters"][0]
    for role in settings.roles:
        token = wait_for(f"the token of {role}", lambda role=role: _token(kube, role), timeout=_TOKEN_TIMEOUT)
        context = {"cluster": cluster["name"], "user": role, "namespace": "default"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [{"name": role, "user": {"token": token}}],
            "contexts": [{"name": f"{settings.context}-{role}", "context": context}],
            "current-context": f"{settings.context}-{role}",
        }
        content = yaml.safe_dump(config, sort_keys=False)
        file = kubeconfig(settings, role)
        if not file.is_file() or file.read_text() != content:
            write_private(file, content)


def _token(kube: Kube, role: str) -> Ready[str] | Pending:
    secret = kube.get("Secret", f"{role}-token", namespace=names.SYSTEM) or {}
    token = (secret.get("data") or {}).get("token")
    return Ready(base64.b64decode(token).decode()) if token else Pending("the cluster has not made it yet")
