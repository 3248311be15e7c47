"""The cluster of an instance: made by kind from a config that is data, started again after a restart, judged by looking."""

from __future__ import annotations

import copy
import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from slipway import cache, freezer, images, kind, names, ports, registry
from slipway.engine import Engine, EngineError, asking, ours
from slipway.errors import SlipwayError, UsageError
from slipway.instance import Facts
from slipway.kube import NOT_YET, Kube, Object, ready, rollout
from slipway.progress import Phase
from slipway.settings import Settings
from slipway.waiting import Clock, Failed, Pending, Ready, wait_for

# After an engine was killed, its node needed about 100 s on two cores to answer again.
API_TIMEOUT = 240.0
NODE_TIMEOUT = 180.0
# An engine gives up a try to kill after 10 s.
REMOVE_TIMEOUT = 60.0

# Written into the node once kind has finished: what is in the engine tells what a cluster is, not a file on the host.
_FACTS = "/kind/slipway.json"

# What kind labels every node with: the name of its cluster.
_CLUSTER_LABEL = "io.x-k8s.kind.cluster"

# What the kubelet says of a pod that it runs from a file of the node's: no workload stands for it.
_STATIC = "kubernetes.io/config.mirror"

# What the node's kubelet does before it starts pods: rules do not outlive the node's stop.
_KUBELET_DROP_IN = "/etc/systemd/system/kubelet.service.d/20-slipway.conf"

# What a node, which gets the proxies of whoever makes it, reaches without one.
_DIRECT = ("localhost", "127.0.0.1", registry.CONTAINER)


@dataclass(frozen=True)
class Node:
    """The one node of an instance, as the engine sees it.

    Attributes:
        state: The container's state in Docker's words ("running", "exited", ...).
        http_port: The port of 127.0.0.1 that leads to the gateway; 0 when it maps none.
        facts: What the instance was made as; None when kind did not finish making the node.
    """

    name: str
    state: str
    image: str
    http_port: int
    facts: Facts | None


@dataclass(frozen=True)
class Blueprint:
    """What a new node is made by.

    Attributes:
        kind_tool: The program kind.
        image: The node's image, as the engine knows it.
        mounts: Folders of the host and where the node sees them, read-only.
        facts: What the instance is made as, which its node remembers.
    """

    kind_tool: Path
    image: str
    mounts: Sequence[tuple[Path, str]]
    facts: Facts


def find(settings: Settings, engine: Engine) -> Node | None:
    """The node of this instance, running or not; None when there is none.

    Raises:
        UsageError: Somebody else's container has its name.
    """
    container = engine.container(settings.node)
    if container is None:
        return None
    _require_ours(settings, engine, container)
    bindings = container.attrs["HostConfig"].get("PortBindings") or {}
    mapped = bindings.get(f"{names.GATEWAY_NODE_PORT}/tcp") or []
    kept = engine.file(settings.node, _FACTS)
    return Node(
        name=settings.node,
        state=container.status,
        image=container.attrs["Config"]["Image"],
        http_port=int(mapped[0]["HostPort"]) if mapped else 0,
        facts=Facts(**json.loads(kept)) if kept else None,
    )


def others(settings: Settings, engine: Engine) -> Sequence[str]:
    """The other instances that have a node in the engine, whichever state folder the rest of them lies in."""
    nodes = [node for node in engine.labelled(_CLUSTER_LABEL) if node.name != settings.node and _ours(engine, node)]
    return sorted({node.labels[_CLUSTER_LABEL] for node in nodes})


def config(base: Mapping[str, Any], *, http_port: int, mounts: Sequence[tuple[Path, str]], stock: bool = False) -> dict[str, Any]:
    """What kind is told of one instance.

    Args:
        base: What every instance shares, as it stands in cluster/kind.yaml.
        http_port: The port of 127.0.0.1 that leads to the gateway.
        mounts: Folders of the host and where the node sees them, read-only.
        stock: Whether the node is kind's own, which brings a pod network; ours makes it in containerd.
    """
    result = copy.deepcopy(dict(base))
    node = result["nodes"][0]
    result.setdefault("networking", {})["disableDefaultCNI"] = not stock
    node["extraPortMappings"] = [
        {
            "containerPort": names.GATEWAY_NODE_PORT,
            "hostPort": http_port,
            "listenAddress": "127.0.0.1",
            "protocol": "TCP",
        }
    ]
    if mounts:
        node["extraMounts"] = [{"hostPath": str(folder), "containerPath": seen, "readOnly": True} for folder, seen in mounts]
    return result


def ensure(settings: Settings, engine: Engine, blueprint: Blueprint, *, phase: Phase) -> Node:
    """The node of this instance, running, with an API server that answers and a kubeconfig to reach it.

    A whole one is kept, and started when it stands still. What an interrupted run left half-made holds nothing yet,
    and is made again.

    Raises:
        CommandFailed: kind failed.
        WaitTimeout: The API server or the node did not become ready.
        UsageError: Somebody else's container has the node's name.
        SlipwayError: The instance's node is there but cannot be used; the message says what to do.
    """
    node = find(settings, engine)
    if node and not node.facts:  # before it is started: it may never have been able to
        phase.say("removing what an interrupted run left half-made")
        remove(settings, engine)
        node = None
    if node and node.state != "running":
        phase.say(f"starting the node, which is {node.state}")
        if container := engine.container(settings.node):
            engine.start(container)
        node = find(settings, engine)
    made = node is None
    if node is None:
        node = _make(settings, engine, blueprint, phase)
    if not settings.kubeconfig.is_file():
        kind.export_kubeconfig(
            blueprint.kind_tool, name=settings.instance, kubeconfig=settings.kubeconfig, env=engine.environment
        )
    settings.kubeconfig.chmod(0o600)
    kube = Kube(settings.kubeconfig, settings.context)
    if not made and kube.healthy():
        phase.skip("running")
    wait_for(
        f"the API server of {settings.node}",
        lambda: _api(settings, engine, kube),
        timeout=API_TIMEOUT,
        on_change=phase.say,
        hint=f"Look at `docker logs {settings.node}`; {_anew(settings)} make a new one.",
    )
    return node


def _make(settings: Settings, engine: Engine, blueprint: Blueprint, phase: Phase) -> Node:
    # Of two that are made at the same moment both would choose the same: it is taken once the container is there.
    with cache.locked(settings.cache, "http-port", phase=phase):
        port = ports.free_port(names.PREFERRED_HTTP_PORT, reserved=engine.mapped())
        _create(settings, engine, blueprint, port, phase)
    phase.say(f"http port {port}" + ("" if port == names.PREFERRED_HTTP_PORT else f" ({names.PREFERRED_HTTP_PORT} is taken)"))
    found = find(settings, engine)
    if found is None:
        raise SlipwayError(f"kind made no container {settings.node}. {_anew(settings)} make it.")
    return found


def _create(settings: Settings, engine: Engine, blueprint: Blueprint, port: int, phase: Phase) -> None:
    """Let kind make the node, and write into it what it was made as."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    file = settings.folder / "kind.yaml"
    base = yaml.safe_load((settings.cluster / "kind.yaml").read_text())
    told = config(base, http_port=port, mounts=blueprint.mounts, stock=blueprint.facts.source == "pull")
    file.write_text(yaml.safe_dump(told, sort_keys=False))
    for stale in (settings.kubeconfig, settings.kubeconfig.with_suffix(".discovery.json")):
        stale.unlink(missing_ok=True)
    kind.create(
        blueprint.kind_tool,
        name=settings.instance,
        image=blueprint.image,
        config=file,
        kubeconfig=settings.kubeconfig,
        env={**engine.environment, **past_proxies(os.environ)},
        on_line=lambda line: phase.say(line.lstrip("•✓ \t").rstrip()),
    )
    container = engine.container(settings.node)
    if container:
        write(container, _FACTS, json.dumps(asdict(blueprint.facts)).encode())


def past_proxies(environ: Mapping[str, str]) -> Mapping[str, str]:
    """What kind's environment needs so that the node asks no proxy for what lies beside it; nothing when there is no proxy.

    Args:
        environ: The user's, whose own exceptions are kept.
    """
    named = images.proxies(environ)
    own = [named.pop(name) for name in ("NO_PROXY", "no_proxy") if name in named]
    if not named:
        return {}
    direct = ",".join(dict.fromkeys([*own, *_DIRECT]))
    return {"NO_PROXY": direct, "no_proxy": direct}


def wait_node_ready(settings: Settings, engine: Engine, kube: Kube, phase: Phase) -> None:
    """Return when the node may run pods, these reach the cluster's own services, and what the cluster says of them is of now.

    Raises:
        WaitTimeout: It is not ready in time; the message carries the kubelet's reason.
    """
    wait = partial(wait_for, timeout=NODE_TIMEOUT, on_change=phase.say, tolerate=NOT_YET)
    wait(f"node {settings.node}", lambda: ready(kube.get("Node", settings.node)))
    wait("the kubelet's word on each pod", lambda: _told_since(kube.list("Pod"), engine.running_since(settings.node)))
    wait("Services to lead to their own pods", lambda: _led_right(kube))
    # A pod that comes before kube-proxy finds no API server and ends; the kubelet starts it again ten seconds later.
    wait("kube-proxy", lambda: rollout(kube.get("DaemonSet", "kube-proxy", namespace="kube-system", api_version="apps/v1")))


def control_plane(pods: Sequence[Object]) -> Sequence[Object]:
    """Those of the pods that the cluster itself consists of. While one of them is ill, what it says of all else may be old."""
    metas = ((pod, pod["metadata"]) for pod in pods)
    return [pod for pod, meta in metas if meta["namespace"] == "kube-system" and _STATIC in (meta.get("annotations") or {})]


def trust_registry(container: Any, *, registry: str, mirror: str) -> None:
    """Let the node's containerd fetch images named after `registry` from `mirror`, over plain HTTP.

    Args:
        container: The node.
        registry: The registry's canonical name, as it stands in image references.
        mirror: Its URL as the node reaches it.
    """
    hosts = f'server = "{mirror}"\n\n[host."{mirror}"]\n  capabilities = ["pull", "resolve"]\n'
    write(container, f"/etc/containerd/certs.d/{registry}/hosts.toml", hosts.encode())


def keep_calls_inside(settings: Settings, container: Any) -> None:
    """Let nothing that is meant for a Service leave the node.

    A Service that kube-proxy has not heard of yet (none, after a restart of the node) leads nowhere. What is sent to it would go
    out by the default route, and whoever answers out there, a proxy say, would be taken for the service for as long as the
    connection is kept.

    Args:
        settings: Their cluster/kind.yaml says what addresses Services have.
        container: The node, which runs.
    """
    subnet = yaml.safe_load((settings.cluster / "kind.yaml").read_text())["networking"]["serviceSubnet"]
    # kube-proxy's rules have given another destination to what they know before a packet comes to these chains.
    rules = [f"{chain} --destination {subnet} --jump REJECT" for chain in ("FORWARD", "OUTPUT")]
    commands = [f"iptables --wait --check {rule} || iptables --wait --append {rule}" for rule in rules]
    # With the dash a node whose kernel has no such rule starts all the same.
    starts = [f'ExecStartPre=-/bin/sh -euc "{command}"' for command in commands]
    write(container, _KUBELET_DROP_IN, "\n".join(("[Service]", *starts, "")).encode())
    for command in commands:
        container.exec_run(["/bin/sh", "-euc", command])


def publish_registry(kube: Kube, *, registry: str) -> None:
    """Tell tools such as Tilt which registry this cluster pulls from, by the convention they share (KEP-1755)."""
    data = f'host: "{registry}"\nhelp: "https://kind.sigs.k8s.io/docs/user/local-registry/"\n'
    kube.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "local-registry-hosting", "namespace": "kube-public"},
                "data": {"localRegistryHosting.v1": data},
            }
        ]
    )


def remove(settings: Settings, engine: Engine, *, clock: Clock | None = None) -> bool:
    """Whether there was a node; it is gone now, with its volumes. Needs nothing inside it to work.

    Raises:
        UsageError: Somebody else's container has its name.
        WaitTimeout: The engine cannot end it; the message carries the engine's reason.
    """
    there = engine.container(settings.node)
    if there is None:
        return False
    _require_ours(settings, engine, there)

    def gone() -> Ready[None] | Pending:
        container = engine.container(settings.node)
        if container is None:
            return Ready(None)
        try:
            with asking(f"container {settings.node}"):
                container.remove(force=True, v=True)
        except EngineError as error:
            freezer.thaw(str(container.id))
            return Pending(str(error))
        return Ready(None)

    wait_for(
        f"the node {settings.node} to end",
        gone,
        timeout=REMOVE_TIMEOUT,
        hint=f"Run `{settings.command('down')}` again; if that does not help, restart the engine.",
        clock=clock,
    )
    return True


def write(container: Any, path: str, content: bytes, *, mode: int = 0o644) -> None:
    """Write one file into a running container, making the folders above it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(path.lstrip("/"))
        info.size, info.mode = len(content), mode
        archive.addfile(info, io.BytesIO(content))
    container.put_archive("/", buffer.getvalue())


def _require_ours(settings: Settings, engine: Engine, container: Any) -> None:
    """Refuse a container that has the node's name alone, such as the node of a cluster that somebody made with kind itself."""
    if not _ours(engine, container):
        raise UsageError(f"container {settings.node} is not Slipway's: choose another --name")


def _ours(engine: Engine, node: Any) -> bool:
    # The image is asked first: that of a half-made node is ours too, and whatever state a node is in, it is known.
    return ours(node.attrs["Config"]["Image"]) or engine.file(node.name, _FACTS) is not None


def _anew(settings: Settings) -> str:
    return f"`{settings.command('down')}` and `{settings.command('up')}`"


def _told_since(pods: Sequence[Object], start: float | None) -> Ready[None] | Pending:
    """Whether all that is said to run was started since the node was.

    After a restart of the node its pods are said to be ready, at addresses that are given to others now, until the kubelet has
    seen that they ended.
    """
    for pod in pods:
        status = pod.get("status") or {}
        for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            began = ((container.get("state") or {}).get("running") or {}).get("startedAt")
            if began and start and datetime.fromisoformat(began).timestamp() < start:
                meta = pod["metadata"]
                return Pending(f"{meta['namespace']}/{meta['name']} is told of as before the node's start")
    return Ready(None)


def _led_right(kube: Kube) -> Ready[None] | Pending:
    """Whether each address that a Service leads to is that of the pod it is said to be of."""
    slices = kube.list("EndpointSlice", api_version="discovery.k8s.io/v1")
    pods = {pod["metadata"]["uid"]: pod for pod in kube.list("Pod")}
    for item in slices:
        for endpoint in item.get("endpoints") or ():
            told = endpoint.get("targetRef") or {}
            if told.get("kind") != "Pod" or not (endpoint.get("conditions") or {}).get("ready"):
                continue
            status = pods.get(told["uid"], {}).get("status") or {}
            if not set(endpoint["addresses"]) <= {address["ip"] for address in status.get("podIPs") or ()}:
                meta = item["metadata"]
                return Pending(f"{meta['namespace']}/{meta['name']} leads to where {told['name']} was")
    return Ready(None)


def _api(settings: Settings, engine: Engine, kube: Kube) -> Ready[None] | Pending | Failed:
    container = engine.container(settings.node)
    if container is None:
        return Failed("its container was removed")
    if container.status != "running":
        return Failed(f"its container is {container.status}")
    return Ready(None) if kube.healthy() else Pending("it does not answer yet")
