"""The rules of stage and prod as objects for the API server, made of cluster/admission.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from slipway import names
from slipway.admission.lists import probe
from slipway.kube import Object
from slipway.policy import GUARDED
from slipway.settings import Settings

API_VERSION = "admissionregistration.k8s.io/v1"

# The tier whose environments are guarded.
TIER = GUARDED


def guarded(settings: Settings, environments: Iterable[str]) -> tuple[str, ...]:
    """Those of the environments that admit only what is approved."""
    return tuple(name for name in environments if settings.environment(name).tier == TIER)


def manifests(settings: Settings, environments: Iterable[str]) -> list[Object]:
    """The policies and where they hold; none for an instance without such an environment. The lists are not among them.

    Args:
        settings: The instance's.
        environments: Which environments the instance has.
    """
    there = guarded(settings, environments)
    if not there:
        return []
    rules: Mapping[str, Any] = yaml.safe_load((settings.cluster / "admission.yaml").read_text())["policies"]
    facts = {
        "environments": list(there),
        "project": TIER,
        "repository": names.repository(settings.environment(there[0]).repository),
        "pipeline": f"system:serviceaccount:{names.SYSTEM}:pipeline",
    }
    objects: list[Object] = []
    for name, rule in rules.items():
        objects += [_policy(name, rule, facts), *_bindings(name, rule, there)]
    return objects


def _policy(name: str, rule: Mapping[str, Any], facts: Mapping[str, Any]) -> Object:
    told = [{"name": key, "expression": json.dumps(value)} for key, value in facts.items()]
    spec: dict[str, Any] = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [_resources(*match) for match in rule["matches"]]},
        "variables": [*told, *rule["variables"]],
        "validations": [
            {"expression": one["expression"], "messageExpression": one["message"], "reason": "Forbidden"}
            for one in rule["validations"]
        ],
    }
    if rule.get("list"):
        spec["paramKind"] = {"apiVersion": "v1", "kind": "ConfigMap"}
    return _object("ValidatingAdmissionPolicy", name, spec)


def _bindings(name: str, rule: Mapping[str, Any], environments: Sequence[str]) -> list[Object]:
    """Where a policy holds. Namespaces are known by the label that the API server itself gives them."""
    if rule["place"] != "each environment":
        places = environments if rule["place"] == "environments" else [rule["place"]]
        return [_binding(name, name, {"namespaceSelector": _namespaces(places)})]
    made: list[Object] = []
    for environment in environments:
        where: dict[str, Any] = {"namespaceSelector": _namespaces([names.ADMISSION if rule.get("probe") else environment])}
        if rule.get("probe"):
            where["resourceRules"] = [{**_resources(*match), "resourceNames": [probe(environment)]} for match in rule["matches"]]
        made.append(_binding(f"{name}-{environment}", name, where, environment))
    return made


def _binding(name: str, policy: str, where: Mapping[str, Any], environment: str = "") -> Object:
    spec: dict[str, Any] = {"policyName": f"slipway-{policy}", "validationActions": ["Deny"], "matchResources": where}
    if environment:
        # Without the list nobody knows what is approved, so nothing is.
        listed = {"name": names.approved(environment), "namespace": names.ADMISSION}
        spec["paramRef"] = {**listed, "parameterNotFoundAction": "Deny"}
    return _object("ValidatingAdmissionPolicyBinding", name, spec)


def _resources(groups: Sequence[str], resources: Sequence[str], operations: Sequence[str]) -> dict[str, Any]:
    return {"apiGroups": groups, "apiVersions": ["*"], "resources": resources, "operations": operations, "scope": "Namespaced"}


def _namespaces(which: Iterable[str]) -> dict[str, Any]:
    return {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(which)}]}


def _object(kind: str, name: str, spec: Mapping[str, Any]) -> Object:
    meta = {"name": f"slipway-{name}", "labels": {names.OWNER_LABEL: names.OWNER}}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": meta, "spec": spec}
