"""What delivers the records: a project and an application set per tier, and a default project that can do nothing.

And the judgement whether an environment runs what Git records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import yaml

from slipway import names
from slipway.applications import API_VERSION, SERVICE_LABEL, Application, applications, delivered
from slipway.kube import NOT_YET, Kube, Object, rollout
from slipway.records import Entry
from slipway.settings import Environment, Settings
from slipway.waiting import Failed, Pending, Ready, wait_for

# The kinds that manifests() makes objects of, and what Argo CD makes of these.
_KINDS = ("AppProject", "ApplicationSet", "Application")

# Seconds between two looks at which records there are; the webhook is what tells at once.
_GENERATOR_SECONDS = 3600

_CLUSTER = "https://kubernetes.default.svc"

# What kubelet says of a container that will not start whatever the time; and what it says in words of a refusal.
_HOPELESS = (
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerError",
    "CreateContainerConfigError",
    "RunContainerError",
)
_DENIED = re.compile(r"ValidatingAdmissionPolicy|admission webhook|denied request|violates PodSecurity")
_REVISION = "deployment.kubernetes.io/revision"
_HASH = "pod-template-hash"

# What the cluster says of a Deployment once all pods of its newest template were available, and goes on to say when they crash.
_COMPLETE = "NewReplicaSetAvailable"


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

    def probe(kind: str) -> Ready[None]:
        # That a definition is established says nothing of discovery, which follows in its own time.
        kube.list(kind, namespace=names.ARGOCD, api_version=API_VERSION)
        return Ready(None)

    for kind in _KINDS:
        wait_for(f"the cluster to serve the kind {kind}", lambda kind=kind: probe(kind), timeout=timeout, tolerate=NOT_YET)


def settled(kube: Kube, environment: str, services: Collection[str], *, commit: str = "") -> Ready[None] | Pending | Failed:
    """Whether an environment runs what Git records for it, with every pod ready.

    Args:
        kube: The cluster.
        environment: The environment.
        services: Those, and the stores, that must be there at least.
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
    for workload in (*_workloads(kube, "Deployment", environment), *_workloads(kube, "StatefulSet", environment)):
        judged = rollout(workload)
        if not isinstance(judged, Ready):
            return type(judged)(f"{workload['metadata']['name']}: {judged.why}")
    return Ready(None)


def exactly(
    kube: Kube,
    environment: str,
    entries: Iterable[Entry],
    commits: Mapping[str, str],
    *,
    after: Callable[[str, str], bool] = lambda commit, revision: False,
) -> Ready[Mapping[str, str]] | Pending | Failed:
    """Whether an environment runs exactly these entries; what its pods run then, by service.

    That is: Argo CD applied the commit, every workload has rolled out, each pod is of its newest template and runs the
    recorded digest, and no other pod of the service is left, not even one on its way out. What cannot become so any
    more has failed: an image that does not come, a container that does not start, a migration, a refusal.

    Args:
        kube: The cluster.
        environment: The environment.
        entries: What it shall run.
        commits: The commit that says so, by service. It must touch the service's own folder.
        after: Whether another commit (the second one) contains it, and still says so.
    """
    apps = {app.service: app for app in applications(kube) if app.environment == environment}
    seen = {kind: kube.list(kind, namespace=environment, api_version=version) for kind, version in _SEEN.items()}
    running: dict[str, str] = {}
    for entry in entries:
        service = entry.record.service
        app, commit = apps.get(service), commits[service]
        good = {commit, *({app.revision} if app and app.revision != commit and after(commit, app.revision) else ())}
        # Before Argo CD has begun with it, what is there is the former's.
        begun = app is not None and bool({app.revision, app.applied} & good)
        # Until Argo CD finds the workloads to be what the commit says, their pods are the former's.
        newest = app is not None and app.sync == "Synced" and app.revision in good
        if begun and (doomed := _doomed(entry, app, seen, newest=newest)):
            return Failed(f"{service}: {doomed}")
        judged = delivered(app, commit, later=good)
        if not isinstance(judged, Ready):
            return type(judged)(f"{service}: {judged.why}")
        if lacking := _lacking(entry, seen):
            return Pending(f"{service}: {lacking}")
        running[service] = entry.record.digest
    return Ready(running)


def came(
    kube: Kube,
    environment: str,
    entry: Entry,
    commit: str,
    *,
    after: Callable[[str, str], bool] = lambda commit, revision: False,
) -> bool:
    """Whether an environment has come to run an entry, whatever became of its pods since.

    Args:
        kube: The cluster.
        environment: The environment.
        entry: What it shall run.
        commit: The commit that says so.
        after: Whether another commit (the second one) contains it, and still says so.
    """
    service = entry.record.service
    if isinstance(exactly(kube, environment, [entry], {service: commit}, after=after), Ready):
        return True
    app = next((one for one in applications(kube) if (one.environment, one.service) == (environment, service)), None)
    if app is None or app.sync != "Synced" or not (app.revision == commit or after(commit, app.revision)):
        return False
    named = _named(entry, ("Deployment",), {"Deployment": _workloads(kube, "Deployment", environment)})
    return bool(named) and all(workload is not None and _complete(workload) for _, workload in named)


_SEEN = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "ReplicaSet": "apps/v1", "Job": "batch/v1", "Pod": "v1"}

_Seen = Mapping[str, Sequence[Object]]


def _named(entry: Entry, kinds: Collection[str], seen: _Seen) -> Sequence[tuple[Object, Object | None]]:
    """The entry's objects of these kinds, each with the one that the cluster has."""
    there = {(kind, item["metadata"]["name"]): item for kind in kinds for item in seen[kind]}
    wanted = [item for item in entry.manifests if item["kind"] in kinds]
    return [(item, there.get((item["kind"], item["metadata"]["name"]))) for item in wanted]


def _doomed(entry: Entry, app: Application | None, seen: _Seen, *, newest: bool) -> str:
    """Why it cannot come to run what it should; empty when it still can."""
    if app and app.operation != "Succeeded" and _DENIED.search(app.message):
        return f"the cluster refuses it: {app.message}"
    for _, job in _named(entry, ("Job",), seen):
        failed = _condition(job, "Failed")
        if failed:
            return (
                f"the migration {job['metadata']['name'] if job else ''} failed: {failed.get('message') or failed.get('reason')}"
            )
    for _, workload in _named(entry, ("Deployment",), seen):
        refused = _condition(workload, "ReplicaFailure")
        if refused and _DENIED.search(refused.get("message") or ""):
            return f"the cluster refuses its pods: {refused['message']}"
        for pod in _pods(workload, seen) if newest else ():
            if workload and _of_template(pod, _template(workload, seen)) and (why := _hopeless(pod)):
                return why
        stuck = _condition(workload, "Progressing", "False")
        if workload and newest and stuck and _observed(workload):
            return str(stuck.get("message") or stuck.get("reason"))
    return ""


def _lacking(entry: Entry, seen: _Seen) -> str:
    """What is not yet as the entry says; empty when all is."""
    if entry.record.retired:
        return _left(entry.record.service, seen)
    for wanted, workload in _named(entry, ("Deployment", "StatefulSet"), seen):
        judged = rollout(workload)
        if workload is None or not isinstance(judged, Ready):
            return getattr(judged, "why", "")
        digests = {one["name"]: one["image"].rpartition("@")[2] for one in wanted["spec"]["template"]["spec"]["containers"]}
        pods, template = _pods(workload, seen), _template(workload, seen)
        former = [pod for pod in pods if not _of_template(pod, template)]
        if former:
            return f"{len(former)} pod(s) of the former template still there"
        for pod in pods:
            states = (pod.get("status") or {}).get("containerStatuses") or []
            runs = {one["name"]: one.get("imageID", "").rpartition("@")[2] for one in states}
            if runs != digests:
                return f"pod {pod['metadata']['name']} runs {', '.join(runs.values()) or 'nothing yet'}"
        if not pods and workload["spec"].get("replicas", 1):
            return "no pod yet"
    return ""


def _left(service: str, seen: _Seen) -> str:
    """What still runs of a retired service; empty when that is nothing."""
    if any(workload["metadata"]["name"] == service for workload in seen["Deployment"]):
        return "its Deployment is still there"
    selector = {"app.kubernetes.io/name": service}
    pods = _pods({"spec": {"selector": {"matchLabels": selector}}}, seen)
    return f"{len(pods)} pod(s) of it still there" if pods else ""


def _condition(item: Object | None, name: str, status: str = "True") -> Mapping[str, Any] | None:
    conditions = ((item or {}).get("status") or {}).get("conditions") or []
    return next((one for one in conditions if (one["type"], one["status"]) == (name, status)), None)


def _complete(workload: Object) -> bool:
    return _observed(workload) and (_condition(workload, "Progressing") or {}).get("reason") == _COMPLETE


def _observed(workload: Object) -> bool:
    return ((workload.get("status") or {}).get("observedGeneration") or 0) >= workload["metadata"].get("generation", 0)


def _pods(workload: Object | None, seen: _Seen) -> Sequence[Object]:
    """The pods that a workload's selector finds, apart from those that have ended."""
    if workload is None:
        return []
    wanted = workload["spec"]["selector"]["matchLabels"].items()
    return [
        pod
        for pod in seen["Pod"]
        if wanted <= (pod["metadata"].get("labels") or {}).items()
        and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]


def _template(workload: Object, seen: _Seen) -> str:
    """What marks the pods of a Deployment's newest template; empty when that is not known, or there is no such mark."""
    if workload["kind"] != "Deployment" or not _observed(workload):
        return ""
    uid = workload["metadata"].get("uid")
    own = [one for one in seen["ReplicaSet"] if any(ref["uid"] == uid for ref in one["metadata"].get("ownerReferences") or [])]
    newest = max(own, key=lambda one: int((one["metadata"].get("annotations") or {}).get(_REVISION) or 0), default=None)
    return str(newest["metadata"]["labels"].get(_HASH, "")) if newest else ""


def _of_template(pod: Object, template: str) -> bool:
    return not template or (pod["metadata"].get("labels") or {}).get(_HASH) == template


def _hopeless(pod: Object) -> str:
    if pod["metadata"].get("deletionTimestamp"):
        return ""
    status = pod.get("status") or {}
    for container in (*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _HOPELESS:
            return f"pod {pod['metadata']['name']}: {waiting['reason']}: {waiting.get('message') or 'no reason given'}"
    return ""


def _workloads(kube: Kube, kind: str, environment: str) -> Sequence[Object]:
    return kube.list(kind, namespace=environment, api_version="apps/v1")


def _meta(name: str) -> dict[str, Any]:
    labels = {names.OWNER_LABEL: names.OWNER, "app.kubernetes.io/part-of": "argocd"}
    return {"name": name, "namespace": names.ARGOCD, "labels": labels}
