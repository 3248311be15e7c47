"""What is kept when a phase fails: the evidence in a folder, and its cause in five lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from slipway.kube import Kube, describe
from slipway.settings import Settings

_KINDS = (
    ("Pod", "v1"),
    ("Event", "v1"),
    ("PersistentVolumeClaim", "v1"),
    ("Deployment", "apps/v1"),
    ("StatefulSet", "apps/v1"),
    ("Application", "argoproj.io/v1alpha1"),
    ("ApplicationSet", "argoproj.io/v1alpha1"),
)

CAUSE_LINES = 5

_MERELY_WAITING = ("running, not ready", "phase Pending")
LOG_LINES = 400


def collect(
    folder: Path, kube: Kube | None, *, waited_for: str, node_logs: Callable[[Path], None] | None = None
) -> tuple[str, ...]:
    """The likeliest causes, worst first, at most five; everything that could be had is in `folder` then.

    It never fails itself: what cannot be read is named in `missing.txt`.

    Args:
        folder: Made, and filled.
        kube: The cluster; None when there is none to ask.
        waited_for: The condition that did not come true, or the error.
        node_logs: Writes the node's own logs below a folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "waited-for.txt").write_text(waited_for + "\n")
    missing: list[str] = []
    seen: dict[str, list[Mapping[str, Any]]] = {}
    for kind, version in _KINDS if kube else ():
        try:
            items = list(kube.list(kind, api_version=version)) if kube else []
        except Exception as error:  # whatever it is, the other kinds may still be readable
            missing.append(f"{kind}: {error}")
            continue
        seen[kind] = [_trim(item) for item in items]
        (folder / f"{kind.lower()}s.yaml").write_text(yaml.safe_dump_all(seen[kind], sort_keys=False))
    for pod in seen.get("Pod", []):
        try:
            _logs(folder / "logs", kube, pod)
        except Exception as error:  # an API server that goes away while it is asked must not hide what failed
            missing.append(f"logs of {describe(pod)}: {error}")
    if node_logs:
        try:
            node_logs(folder / "node")
        except Exception as error:
            missing.append(f"node: {error}")
    if missing:
        (folder / "missing.txt").write_text("\n".join(missing) + "\n")
    causes = tuple(_causes(seen))[:CAUSE_LINES]
    (folder / "causes.txt").write_text("\n".join(causes) + "\n")
    return causes


def new_folder(settings: Settings) -> Path:
    """The path of a new evidence folder, named after the instance and the time; `down` leaves it."""
    return settings.home / "evidence" / f"{settings.instance}-{time.strftime('%Y%m%d-%H%M%S')}"


def pod_trouble(pod: Mapping[str, Any]) -> str | None:
    """What is wrong with a pod, in plain words; None when nothing is."""
    meta, status = pod["metadata"], pod.get("status") or {}
    if meta.get("deletionTimestamp") or status.get("phase") == "Succeeded":
        return None
    states = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for container in states:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            message = waiting.get("message") or ""
            last = ((container.get("lastState") or {}).get("terminated") or {}).get("exitCode")
            exit_code = f", last exit code {last}" if last is not None else ""
            return f"container {container['name']}: {waiting['reason']}{exit_code} {message}".rstrip()
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"cannot be scheduled: {condition.get('message') or condition.get('reason')}"
    for container in states:
        terminated = (container.get("state") or {}).get("terminated") or {}
        if terminated.get("exitCode"):
            return f"container {container['name']} ended with exit code {terminated['exitCode']}"
    return _unready(status)


def _unready(status: Mapping[str, Any]) -> str | None:
    if status.get("phase") in ("Pending", "Failed"):
        said = [text for text in (status.get("reason"), status.get("message")) if text]
        return ": ".join([f"phase {status['phase']}", *said])
    containers = status.get("containerStatuses") or []
    if all(container.get("ready") for container in containers):
        return None
    restarts = max(container.get("restartCount", 0) for container in containers)
    return "running, not ready" + (f" ({restarts} restarts)" if restarts else "")


def _causes(seen: Mapping[str, list[Mapping[str, Any]]]) -> Iterable[str]:
    pods = [(describe(pod), trouble) for pod in seen.get("Pod", []) if (trouble := pod_trouble(pod))]
    # A pod that merely waits often waits for one that crashes.
    for name, trouble in sorted(pods, key=lambda pod: pod[1].startswith(_MERELY_WAITING)):
        yield f"{name}: {trouble}"
    for app in seen.get("Application", []):
        status = app.get("status") or {}
        health, sync = (status.get("health") or {}).get("status"), (status.get("sync") or {}).get("status")
        conditions = "; ".join(item.get("message", "") for item in status.get("conditions") or [])
        if (health, sync) != ("Healthy", "Synced"):
            yield f"{describe(app)}: {health}, {sync} {conditions}".rstrip()
    warnings = [event for event in seen.get("Event", []) if event.get("type") == "Warning"]
    warnings.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "", reverse=True)
    for event in warnings:
        about = event.get("involvedObject") or {}
        yield f"{about.get('kind')} {about.get('namespace')}/{about.get('name')}: {event.get('reason')}: {event.get('message')}"


def _logs(folder: Path, kube: Kube | None, pod: Mapping[str, Any]) -> None:
    meta = pod["metadata"]
    if kube is None or (meta["namespace"] == "kube-system" and not pod_trouble(pod)):
        return
    folder.mkdir(exist_ok=True)
    for container in (*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]):
        for previous in (False, True):
            text = kube.logs(
                meta["name"], namespace=meta["namespace"], container=container["name"], tail=LOG_LINES, previous=previous
            )
            if text:
                suffix = ".previous" if previous else ""
                (folder / f"{meta['namespace']}.{meta['name']}.{container['name']}{suffix}.log").write_text(text)


def _trim(item: Mapping[str, Any]) -> Mapping[str, Any]:
    # What the field managers own doubles the files and tells nobody anything; a secret must not get in by an annotation.
    plain = json.loads(json.dumps(item, default=str))
    plain["metadata"].pop("managedFields", None)
    (plain["metadata"].get("annotations") or {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return plain
