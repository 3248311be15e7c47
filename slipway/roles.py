"""What each role may do in the cluster, the environments' namespaces it does it in, and a kubeconfig for each role."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from slipway import names, policy
from slipway.credentials import write_private
from slipway.kube import NOT_YET, Kube, Object
from slipway.settings import Settings
from slipway.waiting import Pending, Ready, wait_for

_TOKEN_TIMEOUT = 30.0

_POD_SECURITY = "pod-security.kubernetes.io/enforce"


def manifests(settings: Settings, environments: Iterable[str]) -> list[Object]:
    """The namespaces of the environments and what each role may do in the cluster.

    Everybody sees everything but secrets. The developer also works in `local`, and looks into the pods of the
    environments before stage. The pipeline says what stage and prod admit. Nobody of them changes an environment by
    hand: that is what Git is for.
    """
    there = [settings.environment(name) for name in environments]
    # Whoever may make pods that reach into the node is its master, and so everybody's. In `local` the developer makes them.
    objects: list[Object] = [_namespace(names.SYSTEM), _namespace(names.LOCAL, {_POD_SECURITY: "baseline"})]
    # What is delivered needs no privilege of any kind, and the cluster sees to it that none creeps in.
    objects += [
        _namespace(env.name, {names.ENVIRONMENT_LABEL: env.name, names.TIER_LABEL: env.tier, _POD_SECURITY: "restricted"})
        for env in there
    ]
    observed = {"apiGroups": ["argoproj.io"], "resources": ["applications", "applicationsets", "appprojects"]}
    cluster = {"apiGroups": [""], "resources": ["nodes", "namespaces", "persistentvolumes"]}
    guards = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"]
    admission = {"apiGroups": ["admissionregistration.k8s.io"], "resources": guards}
    objects.append(
        _cluster_role(
            "slipway-observer", [{**rule, "verbs": ["get", "list", "watch"]} for rule in (observed, cluster, admission)]
        )
    )
    inside = [{"apiGroups": [""], "resources": ["pods/exec", "pods/portforward"], "verbs": ["get", "create"]}]
    objects.append(_cluster_role("slipway-debugger", inside))
    for role in settings.roles:
        objects += _account(role)
        objects += [_binding(None, f"slipway-{role}-{granted}", granted, role) for granted in ("view", "slipway-observer")]
    objects.append(_binding(names.LOCAL, "developer", "edit", "developer"))
    objects += [_binding(env.name, "developer", "slipway-debugger", "developer") for env in there if env.tier == "nonprod"]
    if guarded := [env.name for env in there if env.tier == policy.GUARDED]:
        # A new list has no name yet that a role could be bound to; what is no list, the cluster does not admit there.
        lists = {"apiGroups": [""], "resources": ["configmaps"]}
        rules = [
            {**lists, "verbs": ["get", "list", "watch", "create"]},
            {**lists, "resourceNames": [names.approved(name) for name in guarded], "verbs": ["update", "patch"]},
        ]
        objects += [_namespace(names.ADMISSION), _cluster_role("slipway-approver", rules)]
        objects.append(_binding(names.ADMISSION, "pipeline", "slipway-approver", "pipeline"))
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
        token = wait_for(f"the token of {role}", lambda role=role: _token(kube, role), timeout=_TOKEN_TIMEOUT, tolerate=NOT_YET)
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
