"""Stand-ins for an engine's container and for a cluster, and the objects that a cluster holds."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker.errors

from slipway import agent, names
from slipway.address import Address
from slipway.engine import Engine
from slipway.kube import Kube
from slipway.settings import Settings


class FakeNode:
    """A node's container: it runs once it is started, and is gone once it is removed."""

    def __init__(
        self,
        *,
        status: str = "running",
        profile: str | None = "full",
        port: int | None = 8080,
        starts_as: str = "running",
        started_at: str = "2026-11-23T13:22:37.123456789Z",
        image: str = "slipway/node:1",
    ) -> None:
        self.status, self.starts_as, self.port = status, starts_as, port
        self.started, self.removed = 0, False
        self.id, self.refusals = "f5e1dd50eaa2", 0
        self.name, self.labels = "", dict[str, str]()
        self.executed: list[list[str]] = []
        self.kept = json.dumps({"profile": profile, "source": "build"}).encode() if profile else None
        bindings = {} if port is None else {"30080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
        self.attrs = {
            "HostConfig": {"PortBindings": bindings},
            "Config": {"Image": image},
            "State": {"StartedAt": started_at},
        }

    def start(self) -> None:
        """Run from now on, or do what this one does instead."""
        if self.status == "paused":
            raise docker.errors.APIError("cannot start a paused container, try unpause instead")
        self.started += 1
        self.status = self.starts_as

    def unpause(self) -> None:
        """Go on."""
        assert self.status == "paused"
        self.status = "running"

    def remove(self, *, force: bool, v: bool) -> None:
        """Be gone."""
        assert force
        assert v
        if self.refusals:
            self.refusals -= 1
            raise docker.errors.APIError("could not kill running container")
        self.removed = True

    def exec_run(self, cmd: list[str]) -> None:
        """Take note of what was run in it."""
        self.executed.append(cmd)

    def put_archive(self, path: str, content: bytes) -> None:
        """Keep what it was made as."""
        assert path == "/"
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive.getmembers():
                file = archive.extractfile(member)
                if member.name == "kind/slipway.json" and file:
                    self.kept = file.read()


class FakeEngine(Engine):
    """An engine that has the nodes it is given, by the container's name."""

    def __init__(self, **nodes: FakeNode) -> None:
        self.client, self.address = None, Address("unix:///fake", "", {})  # type: ignore[assignment]
        self.nodes: dict[str, FakeNode] = {}
        self.calls: list[str] = []
        for name, node in nodes.items():
            self.add(name, node)

    def add(self, cluster: str, node: FakeNode) -> FakeNode:
        """The node of a cluster, as kind makes it."""
        node.name, node.labels = f"{cluster}-control-plane", {"io.x-k8s.kind.cluster": cluster}
        self.nodes[node.name] = node
        return node

    def add_runner(self, settings: Settings) -> FakeNode:
        """The runner's container of an instance, which looks for pushes."""
        agent.folder(settings).mkdir(parents=True, exist_ok=True)
        agent.write_beat(agent.folder(settings), agent.Beat(time.time()))
        made = self.nodes[agent.container(settings)] = FakeNode()
        made.labels = {names.INSTANCE_LABEL: settings.instance}
        return made

    def labelled(self, label: str, value: str = "") -> Sequence[Any]:
        """The containers with that label."""
        there = [node for node in self.nodes.values() if not node.removed and label in node.labels]
        return [node for node in there if value in ("", node.labels[label])]

    def mapped(self) -> frozenset[int]:
        """The ports of the nodes that were not removed, running or not."""
        return frozenset(node.port for node in self.nodes.values() if node.port and not node.removed)

    def container(self, name: str) -> Any:
        """The container that was not removed."""
        found = self.nodes.get(name)
        return found if found and not found.removed else None

    def file(self, container: str, path: str) -> bytes | None:
        """What the node was made as."""
        assert path == "/kind/slipway.json"
        return self.nodes[container].kept

    def remove_ours(self, *, registry: str = "") -> int:
        """As many images as were ours."""
        self.calls.append(f"images {registry}".strip())
        return 3

    def stop_if_ours(self, settings: Any) -> bool:
        """Whether it stopped."""
        self.calls.append("engine")
        return False


class FakeKube(Kube):
    """A cluster that holds the objects it is given; it fails where it is told to."""

    def __init__(self, *objects: Mapping[str, Any], answers: bool = True, failing: Mapping[str, Exception] | None = None) -> None:
        super().__init__(Path("/nowhere"), "kind-fake")
        self.objects, self.answers, self.failing = [dict(item) for item in objects], answers, dict(failing or {})
        self.texts: dict[tuple[str, bool], str] = {}

    def healthy(self, *, timeout: float = 2.0) -> bool:
        """Whether it answers."""
        return self.answers

    def get(self, kind: str, name: str, *, namespace: str | None = None, api_version: str = "v1") -> dict[str, Any] | None:
        """The object of that name."""
        return next((item for item in self.list(kind, namespace=namespace) if item["metadata"]["name"] == name), None)

    def list(
        self, kind: str, *, namespace: str | None = None, labels: str = "", api_version: str = "v1"
    ) -> Sequence[dict[str, Any]]:
        """The objects of a kind that carry the label."""
        if kind in self.failing:
            raise self.failing[kind]
        return [
            item
            for item in self.objects
            if item["kind"] == kind
            and namespace in (None, item["metadata"].get("namespace"))
            and (not labels or labels in (item["metadata"].get("labels") or {}))
        ]

    def apply(self, objects: Any) -> None:
        """Hold these too."""
        self.objects += [dict(item) for item in objects]

    def logs(self, pod: str, *, namespace: str, container: str | None = None, tail: int = 200, previous: bool = False) -> str:
        """What the container said."""
        if "logs" in self.failing:
            raise self.failing["logs"]
        return self.texts.get((f"{pod}/{container}", previous), "")


def away(folder: Path) -> Kube:
    """A cluster whose API server does not run; its kubeconfig is in the folder."""
    content = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "kind-away", "context": {"cluster": "c", "user": "u"}}],
    }
    file = folder / "kubeconfig-away"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **content}))
    return Kube(file, "kind-away")


def workload(
    name: str, namespace: str, *, kind: str = "Deployment", replicas: int = 1, ready: int | None = None
) -> dict[str, Any]:
    """A workload whose replicas are ready, but for those that lack."""
    have = replicas if ready is None else ready
    counts = {"replicas": replicas, "updatedReplicas": replicas, "readyReplicas": have, "availableReplicas": have}
    if kind == "DaemonSet":
        counts = {"numberReady": have, "desiredNumberScheduled": replicas}
    annotations = {"slipway.dev/version": "0.1.0", "slipway.dev/commit": "c0ffee" * 6 + "c0de"}
    image = f"localhost:5001/{name}@sha256:{'d' * 64}"
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "generation": 1, "annotations": annotations},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            "template": {"spec": {"containers": [{"name": name, "image": image}]}},
        },
        "status": {"observedGeneration": 1, **counts},
    }


def pod(name: str, namespace: str, *, app: str = "", **status: Any) -> dict[str, Any]:
    """A pod of a workload, running and ready, with changes to its status."""
    whole = {
        "phase": "Running",
        "containerStatuses": [{"name": "main", "ready": True, "restartCount": 0, "state": {"running": {}}}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "labels": {"app.kubernetes.io/name": app or name},
        },
        "spec": {"containers": [{"name": "main"}]},
        "status": {**whole, **status},
    }


def waiting(reason: str, message: str = "", *, exit_code: int | None = None) -> list[dict[str, Any]]:
    """The states of a container that waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    last = {} if exit_code is None else {"terminated": {"exitCode": exit_code}}
    return [{"name": "main", "ready": False, "restartCount": 4, "state": state, "lastState": last}]


def application(
    service: str, environment: str, *, sync: str = "Synced", health: str = "Healthy", **status: Any
) -> dict[str, Any]:
    """What Argo CD says of one service in one environment."""
    labels = {"slipway.dev/environment": environment, "slipway.dev/service": service}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": f"{service}-{environment}", "namespace": "argocd", "labels": labels},
        "status": {
            "sync": {"status": sync, "revision": "a" * 40},
            "health": {"status": health},
            "operationState": {"phase": "Succeeded", "syncResult": {"revision": "a" * 40}},
            **status,
        },
    }
