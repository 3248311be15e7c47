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

from slipway import agent, argocd, cluster, engine, instance, names, runs
from slipway.bundle import pod_trouble
from slipway.kube import NOT_YET, Kube, ready, rollout
from slipway.settings import Settings
from slipway.waiting import Ready

PLATFORM_NAMESPACES = ("kube-system", "local-path-storage", names.SYSTEM, names.ARGOCD, names.MONITORING)


@dataclass(frozen=True)
class Part:
    """One workload of the platform, or one part of the cluster itself; `trouble` is empty when it is well."""

    name: str
    namespace: str
    ready: int
    replicas: int
    trouble: str


@dataclass(frozen=True)
class Service:
    """One service or store in one environment.

    Attributes:
        kind: "service" or "store".
        url: Where the host reaches it; empty for a store.
        trouble: What is wrong; empty when it is well.
    """

    environment: str
    service: str
    kind: str
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
class Runner:
    """Who takes the pushes.

    Attributes:
        under_way: The run under way; empty for none.
        queued: How many runs wait.
        last: The last run that ended, in one line; empty when none has.
        trouble: What is wrong with the runner; empty when it is well.
    """

    under_way: str
    queued: int
    last: str
    trouble: str

    @property
    def now(self) -> str:
        """What it does, or what is wrong with it, in a few words."""
        waits = f", {self.queued} waiting" if self.queued else ""
        return self.trouble or (f"runs {self.under_way}{waits}" if self.under_way else f"looks for pushes{waits}")


@dataclass(frozen=True)
class Status:
    """What an instance is and runs.

    Attributes:
        state: "absent", "unfinished", "stopped", "unreachable" (it may be there, and does not answer or cannot be looked for),
            "degraded" or "healthy".
        trouble: What is wrong with the instance as a whole and what to do, or empty.
        runner: Who takes the pushes; None where nothing is known of it.
        local: What `dev` has put into `local`. How that is does not count: it is somebody's work under way.
        tilt: The page of the Tilt that runs; empty for none.
    """

    instance: str
    state: str
    profile: str
    kubernetes: str
    node: str
    kubeconfig: str
    urls: Mapping[str, str]
    service_urls: Mapping[str, str]
    platform: tuple[Part, ...]
    services: tuple[Service, ...]
    trouble: str
    runner: Runner | None = None
    local: tuple[Service, ...] = ()
    tilt: str = ""

    @property
    def healthy(self) -> bool:
        """Whether everything is as it should be."""
        return self.state == "healthy"

    def as_dict(self) -> dict[str, Any]:
        """The same, for machines."""
        return dataclasses.asdict(self)


def status(settings: Settings) -> Status:
    """What the instance is and runs now. Never starts or changes anything."""
    found, up = engine.find(settings), settings.command("up")
    node = cluster.find(settings, found) if found else None
    if found is None or node is None:
        return _not_found(settings, found)
    if node.facts is None:
        return _whole(settings, "unfinished", f"It was not finished. `{up}` makes it.", node=node)
    if node.state != "running":
        return _whole(settings, "stopped", f"Its node is {node.state}. `{up}` starts it again.", node=node)
    kube = Kube(settings.kubeconfig, settings.context)
    if settings.kubeconfig.is_file() and kube.healthy():
        try:
            return _look(settings, kube, node, node.facts, _runner(settings, found))
        except NOT_YET:  # it went away while it was asked
            pass
    trouble = f"Its API server does not answer. `{up}` waits for it and repairs what it can."
    return _whole(settings, "unreachable", trouble, node=node)


def _not_found(settings: Settings, found: engine.Engine | None) -> Status:
    up = settings.command("up")
    if why := instance.unseen(settings, found):
        return _whole(settings, "unreachable", why)
    if found is None:
        return _whole(settings, "absent", f"No Docker engine runs. `{up}` starts one, or says what to install.")
    return _whole(settings, "absent", f"There is no such instance. `{up}` makes it.")


def _runner(settings: Settings, found: engine.Engine) -> Runner:
    said, ended = agent.beat(settings), next((run for run in runs.every(settings) if run.over), None)
    last = f"{ended.branch} {ended.commit[:9]} {ended.state} after {ended.seconds:.0f} s" if ended else ""
    return Runner(said.run if said else "", said.queued if said else 0, last, agent.trouble(settings, found))


def _look(settings: Settings, kube: Kube, node: cluster.Node, facts: instance.Facts, runner: Runner) -> Status:
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
    own = (_static(pod, node) for pod in cluster.control_plane(pods))
    parts = (*(_part(item, pods) for item in platform), *own, *_missing(platform, expected))
    # Somebody may have made an application of their own with our label, for an environment that the policy does not name.
    known = [app for app in apps if app.environment in settings.environments]
    rows = [(app, _service(app, workloads, pods, node.http_port, store=app.service in settings.stores)) for app in known]
    services = [row for app, row in rows if not app.retired or row.replicas]
    gone = {f"{row.service}.{row.environment}" for _, row in rows} - {f"{row.service}.{row.environment}" for row in services}
    tilt = instance.find_tilt(settings)
    local = _local(settings, workloads, pods, node.http_port, tilt=tilt is not None)
    fronts = {f"{row.service}.{row.environment}": row.url for row in local if row.service == names.FRONT}
    order = list(settings.environments)
    services.sort(key=lambda row: (order.index(row.environment), row.kind, row.service))
    wrong = [row for row in (*parts, *services) if row.trouble]
    lacking = [name for name in settings.profile(facts.profile).environments if not any(s.environment == name for s in services)]
    trouble = ""
    judged = ready(this)
    if not isinstance(judged, Ready):
        trouble = f"The node is not ready: {judged.why}. "
    elif wrong:
        trouble = f"{len(wrong)} part(s) in trouble. "
    elif runner.trouble:
        trouble = "The runner is in trouble. "
    elif lacking:
        trouble = f"Nothing delivered to {', '.join(lacking)} yet. "
    elif expected is None:
        trouble = "It was not finished. "
    if trouble:
        trouble += f"`{settings.command('up')}` repairs what it can; docs/troubleshooting.md goes on from the symptom."
    return Status(
        instance=settings.instance,
        state="degraded" if trouble else "healthy",
        profile=facts.profile,
        kubernetes=((this or {}).get("status") or {}).get("nodeInfo", {}).get("kubeletVersion", ""),
        node=f"{node.name} ({node.state})",
        kubeconfig=str(settings.kubeconfig),
        urls={**instance.urls(settings, facts, node.http_port), **fronts, **({"tilt": tilt.page} if tilt and tilt.page else {})},
        # A service may have come by the pipeline from a branch that this checkout does not have.
        service_urls={
            **{name: url for name, url in instance.service_urls(settings, facts, node.http_port).items() if name not in gone},
            **{f"{row.service}.{row.environment}": row.url for row in (*services, *local) if row.url},
        },
        platform=tuple(sorted(parts, key=lambda part: (PLATFORM_NAMESPACES.index(part.namespace), part.name))),
        services=tuple(services),
        trouble=trouble,
        runner=runner,
        local=local,
        tilt=tilt.page if tilt else "",
    )


def _part(item: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Part:
    meta, state = item["metadata"], item.get("status") or {}
    judged = rollout(item)
    why = "" if isinstance(judged, Ready) else _trouble(item, pods) or judged.why
    if item["kind"] == "DaemonSet":
        count, wanted = state.get("numberReady") or 0, state.get("desiredNumberScheduled") or 0
    else:
        count, wanted = state.get("readyReplicas") or 0, item["spec"].get("replicas", 1)
        why = why if wanted else _trouble(item, pods) or "scaled to nothing"
    return Part(meta["name"], meta["namespace"], count, wanted, why)


def _static(pod: Mapping[str, Any], node: cluster.Node) -> Part:
    meta, why = pod["metadata"], pod_trouble(pod) or ""
    return Part(meta["name"].removesuffix(f"-{node.name}"), meta["namespace"], 0 if why else 1, 1, why)


def _missing(there: Sequence[Mapping[str, Any]], expected: frozenset[tuple[str, str, str]] | None) -> Iterable[Part]:
    found = {(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]) for item in there}
    for kind, namespace, name in sorted((expected or frozenset()) - found):
        yield Part(name, namespace, 0, 1, f"its {kind} is gone")


def _service(
    app: argocd.Application, workloads: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]], port: int, *, store: bool
) -> Service:
    kind = "StatefulSet" if store else "Deployment"
    own = next(
        (
            item
            for item in workloads
            if item["kind"] == kind
            and (item["metadata"]["namespace"], item["metadata"]["name"]) == (app.environment, app.service)
        ),
        None,
    )
    annotations: Mapping[str, str] = (own or {}).get("metadata", {}).get("annotations") or {}
    image = own["spec"]["template"]["spec"]["containers"][0]["image"] if own else ""
    trouble = ""
    if own is None:
        trouble = app.message or f"Argo CD has not made its {kind} yet"
    elif isinstance(rollout(own), Ready):
        well = (app.sync, app.health) == ("Synced", "Healthy")
        trouble = "" if well else app.message or f"Argo CD says {app.sync}, {app.health}"
    else:
        trouble = _trouble(own, pods) or getattr(rollout(own), "why", "")
    return Service(
        environment=app.environment,
        service=app.service,
        kind="store" if store else "service",
        version=annotations.get("slipway.dev/version", ""),
        digest=image.partition("@")[2],
        commit=annotations.get("slipway.dev/commit", ""),
        sync=app.sync,
        health=app.health,
        ready=((own or {}).get("status") or {}).get("readyReplicas") or 0,
        replicas=own["spec"].get("replicas", 1) if own else 0,
        url="" if store else names.url(app.service, port=port, environment=app.environment),
        trouble=trouble,
    )


def _local(
    settings: Settings, workloads: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]], port: int, *, tilt: bool
) -> tuple[Service, ...]:
    """What `dev` has put into `local`; nobody else's workloads there."""
    rows: list[Service] = []
    for item in workloads:
        meta = item["metadata"]
        if (meta.get("labels") or {}).get(names.ENVIRONMENT_LABEL) != names.LOCAL or meta["namespace"] != names.LOCAL:
            continue
        judged, store, image = rollout(item), meta["name"] in settings.stores, item["spec"]["template"]["spec"]["containers"][0]
        rows.append(
            Service(
                environment=names.LOCAL,
                service=meta["name"],
                kind="store" if store else "service",
                version=(meta.get("annotations") or {}).get("slipway.dev/version", ""),
                digest=image["image"].partition("@")[2],
                commit="",
                sync="Tilt" if tilt else "",
                health="Healthy" if isinstance(judged, Ready) else "Progressing",
                ready=(item.get("status") or {}).get("readyReplicas") or 0,
                replicas=item["spec"].get("replicas", 1),
                url="" if store else names.url(meta["name"], port=port, environment=names.LOCAL),
                trouble="" if isinstance(judged, Ready) else _trouble(item, pods) or judged.why,
            )
        )
    return tuple(sorted(rows, key=lambda row: (row.kind, row.service)))


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
        service_urls={},
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
    stores = [row for row in seen.services if row.kind == "store"]
    for what, rows in (("platform", seen.platform), ("stores", stores)):
        ill = sum(1 for row in rows if row.trouble)
        if rows:
            console.print(f"  {what + ':':<10}{len(rows) - ill} of {len(rows)} ready", style="yellow" if ill else "")
    for part in seen.platform:
        if part.trouble:
            console.print(f"    {part.namespace}/{part.name}: {part.trouble}", style="yellow", markup=False)
    if seen.tilt:
        console.print(f"  {'tilt:':<10}{seen.tilt}", markup=False)
    if seen.runner:
        last = f" (last: {seen.runner.last})" if seen.runner.last else ""
        style = "yellow" if seen.runner.trouble else ""
        console.print(f"  {'runner:':<10}{seen.runner.now}{last}", style=style, markup=False)
    listed = [row for row in (*seen.services, *seen.local) if row.kind == "service" or row.trouble]
    if listed:
        console.print()
        console.print(_table(listed, wide=console.width >= _WIDE))
        for row in listed:
            if row.trouble:
                console.print(f"  {row.environment}/{row.service}: {row.trouble}", style="yellow", markup=False)
    if seen.trouble:
        console.print()
        console.print(seen.trouble, markup=False)
