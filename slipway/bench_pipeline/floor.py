"""The least that a change costs: the same pods in a namespace of their own, where nothing but Kubernetes is in the way."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager

from slipway import names
from slipway.gitops import Entry
from slipway.kube import NOT_YET, Kube, Object, describe, rollout
from slipway.progress import Phase
from slipway.waiting import Pending, Ready, SystemClock, wait_for

NAMESPACE = "bench-floor"

# Seconds. The copy begins with empty stores, and with migrations.
COPY_TIMEOUT, ROLL_TIMEOUT, REMOVE_TIMEOUT = 300.0, 180.0, 120.0

# Seconds between two looks while something is timed: a wait that looks ever more seldom would add what it slept too long.
_LOOK = 0.1


class Quick(SystemClock):
    """A clock whose waiters look often."""

    def sleep(self, seconds: float) -> None:
        """Return soon."""
        super().sleep(min(seconds, _LOOK))


@contextmanager
def copied(kube: Kube, environment: str, entries: Iterable[Entry], *, phase: Phase) -> Generator[Floor]:
    """Everything that an environment runs, once more, with stores of its own; gone when the block ends.

    Args:
        kube: The cluster, as its admin.
        environment: The environment.
        entries: What it runs.
        phase: Told what is waited for.
    """
    _remove(kube, phase)  # what an interrupted benchmark left
    meta = {"name": NAMESPACE, "labels": {names.OWNER_LABEL: names.OWNER}}
    objects = [_moved(item) for entry in entries for item in entry.manifests]
    secrets = [_moved(item) for item in kube.list("Secret", namespace=environment) if item.get("type") == "Opaque"]
    try:
        kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": meta}])
        kube.apply([*secrets, *objects])
        for item in objects:
            if item["kind"] in ("Deployment", "StatefulSet"):
                _wait(kube, item, phase)
        yield Floor(kube)
    finally:
        _remove(kube, phase)


def _moved(item: Object) -> Object:
    """The object as it is made in the other namespace: without what the cluster added to it."""
    meta = {key: value for key, value in item["metadata"].items() if key in ("name", "labels")}
    rest = {key: value for key, value in item.items() if key not in ("status", "metadata")}
    return {**rest, "metadata": {**meta, "namespace": NAMESPACE}}


def _wait(kube: Kube, item: Object, phase: Phase) -> None:
    kind, name = item["kind"], item["metadata"]["name"]
    wait_for(
        describe(item),
        lambda: rollout(kube.get(kind, name, namespace=NAMESPACE, api_version="apps/v1")),
        timeout=COPY_TIMEOUT,
        tolerate=NOT_YET,
        on_change=phase.say,
        hint=f"Look at the pods of namespace {NAMESPACE}; it is removed when the benchmark ends.",
    )


def _remove(kube: Kube, phase: Phase) -> None:
    def gone() -> Ready[None] | Pending:
        return Pending("it is going") if kube.delete("Namespace", NAMESPACE) else Ready(None)

    wait_for(f"namespace {NAMESPACE} to go", gone, timeout=REMOVE_TIMEOUT, tolerate=NOT_YET, on_change=phase.say)


def rolled(kube: Kube, namespace: str, images: Mapping[str, str]) -> Ready[None] | Pending:
    """Whether a namespace runs these images with every pod ready: the same question for the pipeline and for the floor.

    Args:
        kube: The cluster.
        namespace: The namespace.
        images: The digest that each Deployment shall run.
    """
    there = {item["metadata"]["name"]: item for item in kube.list("Deployment", namespace=namespace, api_version="apps/v1")}
    for name, digest in images.items():
        item = there.get(name)
        image = item["spec"]["template"]["spec"]["containers"][0]["image"] if item else ""
        if image.rpartition("@")[2] != digest:
            return Pending(f"{name} runs {image or 'nothing'}")
        judged = rollout(item)
        if not isinstance(judged, Ready):
            return Pending(f"{name}: {judged.why}")
    return Ready(None)


class Floor:
    """The copy, whose images are changed by hand as `kubectl set image` does.

    Args:
        kube: The cluster, as its admin.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    def scale(self, service: str, replicas: int) -> None:
        """Run so many pods of a service."""
        self._kube.patch("Deployment", service, {"spec": {"replicas": replicas}}, namespace=NAMESPACE, api_version="apps/v1")
        item = {"kind": "Deployment", "metadata": {"name": service, "namespace": NAMESPACE}}
        _wait(self._kube, item, Phase("floor"))

    def change(self, images: Mapping[str, str]) -> float:
        """Seconds from the change of these services' images until every new pod is ready.

        Args:
            images: The reference of each service's image, with its digest.
        """
        changes: dict[str, Object] = {}
        for service, image in images.items():
            item = self._kube.get("Deployment", service, namespace=NAMESPACE, api_version="apps/v1") or {}
            first, *others = item["spec"]["template"]["spec"]["containers"]
            changes[service] = {"spec": {"template": {"spec": {"containers": [{**first, "image": image}, *others]}}}}
        began = time.monotonic()
        for service, change in changes.items():
            self._kube.patch("Deployment", service, change, namespace=NAMESPACE, api_version="apps/v1")
        wanted = {service: image.rpartition("@")[2] for service, image in images.items()}
        what = f"{', '.join(images)} to roll in {NAMESPACE}"
        wait_for(what, lambda: rolled(self._kube, NAMESPACE, wanted), timeout=ROLL_TIMEOUT, tolerate=NOT_YET, clock=Quick())
        return time.monotonic() - began
