"""`status`: what an instance is, what runs in it, and what is wrong with it, in plain words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from slipway import argocd, cluster, engine, instance, names
from slipway.bundle import pod_trouble
from slipway.kube import Kube, ready, rollout
from slipway.settings import Settings
from slipway.waiting import Ready

PLATFORM_NAMESPACES = ("kube-system", "local-path-storage", names.SYSTEM, names.ARGOCD, names.MONITORING)


@dataclass(frozen=True)
class Part:
    """One workload of the platform; `trouble` is empty when it is well."""

    name: str
    namespace: str
    ready: int
    replicas: int
    trouble: str


@dataclass(frozen=True)
class Service:
    """One service in one environment; `trouble` is empty when it is well."""

    environment: str
    service: str
    version: str
    digest: str
    commit: str
    sync: str
    health: str
    ready: int
    replicas: int
    url: str
    trouble: str


@dataclass(frozen=True)
class Status:
    """What an instance is and runs.

    Attributes:
        state: "absent", "unfinished", "stopped", "unreachable", "degraded" or "healthy".
        trouble: What is wrong with the instance as a whole and what to do, or empty.
    """

    instance: str
    state: str
    profile: str
    kubernetes: str
    node: str
    kubeconfig: str
    urls: Mapping[str, str]
    platform: tuple[Part, ...]
    services: tuple[Service, ...]
    trouble: str

    @property
    def healthy(self) -> bool:
        """Whether everything is as it should be."""
        return self.state == "healthy"

    def as_dict(self) -> dict[str, Any]:
        """The same, for machines."""
        return dataclasses.asdict(self)


def status(settings: Settings) -> Status:
    """What the instance is and runs now. Never starts or changes anything."""
    found = engine.find(settings)
    node = cluster.find(settings, found) if found else None
    if found is None:
        return _whole(settings, "absent", "No Docker engine runs. `./invoke up` starts one, or says what to install.")
    if node is None:
        return _whole(settings, "absent", "There is no such instance. `./invoke up` makes it.")
    if node.facts is None:
        return _whole(settings, "unfinished", "It was not finished. `./invoke up` makes it.", node=node)
    if node.state != "running":
        return _whole(settings, "stopped", f"Its node is {node.state}. `./invoke up` starts it again.", node=node)
    kube = Kube(settings.kubeconfig, settings.context)
    if not settings.kubeconfig.is_file() or not kube.healthy():
        trouble = "Its API server does not answer. `./invoke up` waits for it and repairs what it can."
        return _whole(settings, "unreachable", trouble, node=node)
    return _look(settings, kube, node, node.facts)


def _look(settings: Settings, kube: Kube, node: cluster.Node, facts: instance.Facts) -> Status:
    with ThreadPoolExecutor(7) as pool:
        asked = {kind: pool.submit(kube.list, kind, api_version="apps/v1") for kind in ("Deployment", "StatefulSet", "DaemonSet")}
        pods_asked = pool.submit(kube.list, "Pod")
        nodes_asked = pool.submit(kube.get, "Node", node.name)
        apps_asked = pool.submit(argocd.applications, kube)
        expected_asked = pool.submit(instance.expected, kube)
        workloads = [item for future in asked.values() for item in future.result()]
        pods, apps = pods_asked.result(), apps_asked.result()
        this, expected = nodes_asked.result(), expected_asked.result()
    platform = [item for item in workloads if item["metadata"]["namespace"] in PLATFORM_NAMESPACES]
    parts = (*(_part(item, pods) for item in platform), *_missing(platform, expected))
    # Somebody may have made an application of their own with our label, for an environment that the policy does not name.
    services = tuple(_service(app, workloads, pods, node.http_port) for app in apps if app.environment in settings.environments)
    order = list(settings.environments)
    services = tuple(sorted(services, key=lambda row: (order.index(row.environment), row.service)))
    wrong = [row for row in (*parts, *services) if row.trouble]
    lacking = [name for name in settings.profile(facts.profile).environments if not any(s.environment == name for s in services)]
    trouble = ""
    judged = ready(this)
    if not isinstance(judged, Ready):
        trouble = f"The node is not ready: {judged.why}. "
    elif wrong:
        trouble = f"{len(wrong)} part(s) in trouble. "
    elif lacking:
        trouble = f"Nothing delivered to {', '.join(lacking)} yet. "
    elif expected is None:
        trouble = "It was not finished. "
    if trouble:
        trouble += "`./invoke up` repairs what it can; docs/troubleshooting.md goes on from the symptom."
    return Status(
        instance=settings.instance,
        state="degraded" if trouble else "healthy",
        profile=facts.profile,
        kubernetes=((this or {}).get("status") or {}).get("nodeInfo", {}).get("kubeletVersion", ""),
        node=f"{node.name} ({node.state})",
        kubeconfig=str(settings.kubeconfig),
        urls=instance.urls(settings, facts, node.http_port),
        platform=tuple(sorted(parts, key=lambda part: (PLATFORM_NAMESPACES.index(part.namespace), part.name))),
        services=services,
        trouble=trouble,
    )


def _part(item: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Part:
    meta, state = item["metadata"], item.get("status") or {}
    if item["kind"] == "DaemonSet":
        count, wanted = state.get("numberReady") or 0, state.get("desiredNumberScheduled") or 0
        well = count >= wanted
        why = "" if well else f"{count}/{wanted} ready"
    else:
        count, wanted = state.get("readyReplicas") or 0, item["spec"].get("replicas", 1)
        judged = rollout(item)
        well = isinstance(judged, Ready)
        why = "" if isinstance(judged, Ready) else judged.why
        if not wanted:
            well, why = False, "scaled to nothing"
    return Part(meta["name"], meta["namespace"], count, wanted, "" if well else _trouble(item, pods) or why)


def _missing(there: Sequence[Mapping[str, Any]], expected: frozenset[tuple[str, str, str]] | None) -> Iterable[Part]:
    found = {(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]) for item in there}
    for kind, namespace, name in sorted((expected or frozenset()) - found):
        yield Part(name, namespace, 0, 1, f"its {kind} is gone")


def _service(
    app: argocd.Application, workloads: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]], port: int
) -> Service:
    own = next(
        (
            item
            for item in workloads
            if item["kind"] == "Deployment"
            and (item["metadata"]["namespace"], item["metadata"]["name"]) == (app.environment, app.service)
        ),
        None,
    )
    annotations: Mapping[str, str] = (own or {}).get("metadata", {}).get("annotations") or {}
    image = own["spec"]["template"]["spec"]["containers"][0]["image"] if own else ""
    trouble = ""
    if own is None:
        trouble = app.message or "Argo CD has not made its Deployment yet"
    elif isinstance(rollout(own), Ready):
        well = (app.sync, app.health) == ("Synced", "Healthy")
        trouble = "" if well else app.message or f"Argo CD says {app.sync}, {app.health}"
    else:
        trouble = _trouble(own, pods) or getattr(rollout(own), "why", "")
    return Service(
        environment=app.environment,
        service=app.service,
        version=annotations.get("slipway.dev/version", ""),
        digest=image.partition("@")[2],
        commit=annotations.get("slipway.dev/commit", ""),
        sync=app.sync,
        health=app.health,
        ready=((own or {}).get("status") or {}).get("readyReplicas") or 0,
        replicas=own["spec"].get("replicas", 1) if own else 0,
        url=names.url(app.service, port=port, environment=app.environment),
        trouble=trouble,
    )


def _trouble(item: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> str:
    wanted = item["spec"]["selector"].get("matchLabels") or {}
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        if pod["metadata"]["namespace"] == item["metadata"]["namespace"] and wanted.items() <= labels.items():
            found = pod_trouble(pod)
            if found:
                return found
    return ""


def _whole(settings: Settings, state: str, trouble: str, *, node: cluster.Node | None = None) -> Status:
    return Status(
        instance=settings.instance,
        state=state,
        profile="",
        kubernetes="",
        node=f"{node.name} ({node.state})" if node else "",
        kubeconfig=str(settings.kubeconfig) if settings.kubeconfig.is_file() else "",
        urls={},
        platform=(),
        services=(),
        trouble=trouble,
    )


# Columns of a terminal that has room for the addresses too; `urls` lists them anyway.
_WIDE = 125


def _table(services: Sequence[Service], *, wide: bool) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("ENV", "SERVICE", "VERSION", "DIGEST", "COMMIT", "SYNC", "HEALTH", "READY", *(["URL"] if wide else [])):
        table.add_column(column, no_wrap=True)
    for row in services:
        digest = row.digest.removeprefix("sha256:")[:8]
        cells = (row.environment, row.service, row.version, digest, row.commit[:8], row.sync, row.health)
        table.add_row(*cells, f"{row.ready}/{row.replicas}", *([row.url] if wide else []), style="yellow" if row.trouble else "")
    return table


_STYLES = {"healthy": "green", "degraded": "yellow", "absent": "dim"}


def show(seen: Status, console: Console) -> None:
    """Print it for a person."""
    console.print(
        Text.assemble(
            ("● ", _STYLES.get(seen.state, "red")),
            (f"{seen.instance}", "bold"),
            f"  {seen.state}",
            (f"  {seen.profile} profile, Kubernetes {seen.kubernetes}, node {seen.node}" if seen.kubernetes else "", "dim"),
        )
    )
    if seen.platform:
        ill = [part for part in seen.platform if part.trouble]
        well = len(seen.platform) - len(ill)
        console.print(f"  platform: {well} of {len(seen.platform)} parts ready", style="yellow" if ill else "")
        for part in ill:
            console.print(f"    {part.namespace}/{part.name}: {part.trouble}", style="yellow", markup=False)
    if seen.services:
        console.print()
        console.print(_table(seen.services, wide=console.width >= _WIDE))
        for row in seen.services:
            if row.trouble:
                console.print(f"  {row.environment}/{row.service}: {row.trouble}", style="yellow", markup=False)
    if seen.trouble:
        console.print()
        console.print(seen.trouble, markup=False)
