"""What stage and prod admit: images that are on the environment's list, and pods that the cluster's controllers make of them.

The rules are in cluster/admission.yaml; the API server asks them of everybody, the cluster's admin and Argo CD too. A list
is a ConfigMap: for each digest, the references by which its image may be named. What was approved once stays listed, so
that a rollback needs nobody.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from slipway import git, gitops, locks, names
from slipway.errors import SlipwayError, UsageError
from slipway.kube import Conflict, Kube, KubeError, Object
from slipway.policy import GUARDED
from slipway.settings import Settings
from slipway.waiting import Clock, Pending, Ready, wait_for

API_VERSION = "admissionregistration.k8s.io/v1"

# The tier whose environments are guarded.
TIER = GUARDED

# Seconds. The API server watches the lists, and reads its policies anew about once a second.
OBSERVED_TIMEOUT = 20.0
ACTIVE_TIMEOUT = 60.0

# Somebody else can come first a few times; more often means that something is wrong.
_ATTEMPTS = 6

_REFERENCE = re.compile(r"[^@\s]+@(sha256:[0-9a-f]{64})")

# An image that nobody ever approves.
_NOBODYS = f"slipway.invalid/nobodys@sha256:{'0' * 64}"


class NotAnImage(UsageError):
    """What is to be approved does not name one image for ever."""


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
            where["resourceRules"] = [{**_resources(*match), "resourceNames": [_probe(environment)]} for match in rule["matches"]]
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


def _probe(environment: str) -> str:
    return f"observed-{environment}"


# --- the lists


def approved(kube: Kube, environment: str) -> list[str]:
    """The full references of the images that an environment admits; none when there is no list."""
    return sorted(_listed(_list(kube, environment)))


def missing(kube: Kube, environment: str) -> bool:
    """Whether an environment has no list, so that it admits nothing."""
    return _list(kube, environment) is None


def approve(
    kube: Kube,
    environment: str,
    references: Iterable[str],
    *,
    timeout: float = OBSERVED_TIMEOUT,
    on_change: Callable[[str], None] | None = None,
    clock: Clock | None = None,
) -> None:
    """Return when the API server admits these images to an environment; what was approved before stays so.

    Args:
        kube: The cluster, as the pipeline or its admin.
        environment: One of the guarded ones.
        references: What is approved, each with its digest: "localhost:5001/catalog@sha256:...".
        timeout: Seconds.
        on_change: Told what is waited for.
        clock: Another clock, for tests.

    Raises:
        NotAnImage: A reference has no digest.
        KubeError: The API server does not let the user change the list.
        WaitTimeout: The list is written, but the API server does not go by it.
    """
    wanted = _checked(references)
    _change(kube, environment, lambda had: had | wanted)
    _observe(kube, environment, wanted, admitted=True, timeout=timeout, on_change=on_change, clock=clock)


def revoke(
    kube: Kube,
    environment: str,
    references: Iterable[str],
    *,
    timeout: float = OBSERVED_TIMEOUT,
    on_change: Callable[[str], None] | None = None,
    clock: Clock | None = None,
) -> None:
    """Return when the API server does not admit these images any more. What runs already goes on, and may be rescheduled.

    Args:
        kube: The cluster, as the pipeline or its admin.
        environment: One of the guarded ones.
        references: What is not approved any more.
        timeout: Seconds.
        on_change: Told what is waited for.
        clock: Another clock, for tests.

    Raises:
        NotAnImage: A reference has no digest.
        KubeError: The API server does not let the user change the list.
        WaitTimeout: The list is written, but the API server does not go by it.
    """
    unwanted = _checked(references)
    _change(kube, environment, lambda had: had - unwanted)
    for one in sorted(unwanted):
        _observe(kube, environment, {one}, admitted=False, timeout=timeout, on_change=on_change, clock=clock)


def _checked(references: Iterable[str]) -> set[str]:
    wanted = set(references)
    for one in sorted(wanted):
        if not _REFERENCE.fullmatch(one):
            raise NotAnImage(
                f"{one!r} cannot be approved: it has no digest. Approve NAME@sha256:DIGEST, as the registry tells it."
            )
    return wanted


def _change(kube: Kube, environment: str, edit: Callable[[set[str]], set[str]]) -> None:
    """Write the list that `edit` makes of the one there is; two at a time lose nothing of each other's."""
    name = names.approved(environment)
    for _ in range(_ATTEMPTS):
        found = _list(kube, environment)
        had = _listed(found)
        wanted = edit(had)
        if found is None:
            meta = {"name": name, "namespace": names.ADMISSION, "labels": {names.OWNER_LABEL: names.OWNER}}
            if kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": _data(wanted)}) is not None:
                return
            continue
        if wanted == had:
            return
        old, new = found.get("data") or {}, _data(wanted)
        data = {key: new.get(key) for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        version = {"resourceVersion": found["metadata"]["resourceVersion"]}
        try:
            kube.patch("ConfigMap", name, {"metadata": version, "data": data}, namespace=names.ADMISSION)
        except Conflict:
            continue
        return
    raise SlipwayError(f"somebody else changed {name} each of {_ATTEMPTS} times. Repeat the command.")


def _list(kube: Kube, environment: str) -> Object | None:
    return kube.get("ConfigMap", names.approved(environment), namespace=names.ADMISSION)


def _listed(found: Object | None) -> set[str]:
    data: Mapping[str, str] = (found or {}).get("data") or {}
    return {reference for references in data.values() for reference in references.split("\n")}


def _data(references: Iterable[str]) -> dict[str, str]:
    """By digest, so that the API server finds an image at once however long the list becomes."""
    data: dict[str, list[str]] = {}
    for one in sorted(references):
        data.setdefault(one.rpartition("@")[2].replace(":", "-"), []).append(one)
    return {key: "\n".join(found) for key, found in data.items()}


def _observe(
    kube: Kube,
    environment: str,
    references: Iterable[str],
    *,
    admitted: bool,
    timeout: float,
    on_change: Callable[[str], None] | None,
    clock: Clock | None,
) -> None:
    listed = sorted(references)
    if not listed:
        return
    short = ", ".join(one.rpartition("/")[2][:40] for one in listed)
    meta = {"name": _probe(environment), "namespace": names.ADMISSION}
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"images": "\n".join(listed)}}

    def look() -> Ready[None] | Pending:
        said = refusal(kube, probe)
        if said and "ValidatingAdmissionPolicy" not in said:
            raise KubeError(said)
        return Ready(None) if admitted is not bool(said) else Pending(said or "it is still admitted")

    wait_for(
        f"{environment} to {'admit' if admitted else 'refuse'} {short}",
        look,
        timeout=timeout,
        on_change=on_change,
        hint="Look at `kubectl get validatingadmissionpolicies`; `./invoke up` makes what is missing.",
        clock=clock,
    )


def refusal(kube: Kube, item: Object) -> str:
    """What the API server has against making an object; nothing is made, and nothing said when it would be."""
    try:
        kube.create(item, dry_run=True)
    except KubeError as error:
        return str(error)
    return ""


# --- at `up`


def wait_until_active(
    kube: Kube, environments: Iterable[str], *, timeout: float = ACTIVE_TIMEOUT, on_change: Callable[[str], None] | None = None
) -> None:
    """Return when these environments refuse what nobody approved: the API server takes a moment to know new policies.

    Args:
        kube: The cluster, as its admin, who may do all that no policy forbids.
        environments: The guarded ones.
        timeout: Seconds.
        on_change: Told what is waited for.

    Raises:
        WaitTimeout: Something is admitted that must not be.
    """
    for environment in environments:
        for item, policy in _forbidden(environment):
            wait_for(
                f"{environment} to refuse a {item['kind']} that nobody approved",
                lambda item=item, policy=policy: _refused(kube, item, policy),
                timeout=timeout,
                on_change=on_change,
                hint="Look at `kubectl get validatingadmissionpolicies --output yaml`; `./invoke up` makes what is missing.",
            )


def _refused(kube: Kube, item: Object, policy: str) -> Ready[None] | Pending:
    said = refusal(kube, item)
    return Ready(None) if f"ValidatingAdmissionPolicy 'slipway-{policy}'" in said else Pending(said or "it is admitted")


def _forbidden(environment: str) -> list[tuple[Object, str]]:
    """An object for each policy about workloads and lists, which that policy must refuse."""
    security = {
        "runAsNonRoot": True,
        "runAsUser": 1,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": _NOBODYS, "securityContext": security}]}
    here = {"name": "slipway-probe", "namespace": environment}
    listed = {"name": _probe(environment), "namespace": names.ADMISSION}
    return [
        ({"apiVersion": "v1", "kind": "Pod", "metadata": here, "spec": pod}, "controllers"),
        ({"apiVersion": "batch/v1", "kind": "Job", "metadata": here, "spec": {"template": {"spec": pod}}}, "approved-digests"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": listed, "data": {"images": _NOBODYS}}, "observed"),
    ]


def recorded(settings: Settings, remote: git.Remote, environment: str) -> set[str]:
    """What Git says an environment may run: what it records, and what the locks hold that may come there.

    Where approval is needed, a lock counts only when somebody gave it.

    Args:
        settings: The instance's.
        remote: The repository of the environment's records.
        environment: The environment.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-admission-") as folder:
        tree = Path(folder, "tree")
        git.clone(remote, tree, branch=gitops.BRANCH, depth=1)
        running = [entry.record for entry in gitops.entries(tree).values() if entry.record.environment == environment]
        known = locks.read_locks(tree)
        if environment in settings.policy.approvals:
            given = {approval.lock for approval in locks.approvals(tree)}
            known = [lock for lock in known if lock.hash in given]
    return {f"{one.image}@{one.digest}" for one in (*running, *(locked for lock in known for locked in lock.services))}
