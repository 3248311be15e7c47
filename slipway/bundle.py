"""What is kept when a phase fails: the evidence in a folder, and its cause in five lines."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from slipway.kube import Kube, describe
from slipway.settings import Settings

_KINDS = (
    ("Pod", "v1"),
    ("Event", "v1"),
    ("PersistentVolumeClaim", "v1"),
    ("Job", "batch/v1"),
    ("Deployment", "apps/v1"),
    ("StatefulSet", "apps/v1"),
    ("Application", "argoproj.io/v1alpha1"),
    ("ApplicationSet", "argoproj.io/v1alpha1"),
)

CAUSE_LINES = 5

_UNREADY = "running, not ready"
_MERELY_WAITING = (_UNREADY, "phase Pending")

# Seconds. The kubelet lets up to 300 pass before it starts a container again that keeps failing.
_LOOPING = 330.0

LOG_LINES = 400

# Seconds for all questions to the cluster together: one that hangs has little to tell.
SECONDS = 120.0

# What stands before the host in a URL; an image's tag stands before its digest like that.
_CREDENTIALS = re.compile(rb"""//([^\s/:@"']*:[^\s/"']*)@(?!sha256:)""")
# Bytes in which a binary file is known by one that no text has.
_HEAD = 8192

_JOB_LABEL = "batch.kubernetes.io/job-name"
_LONGEST = 300  # letters of what a container said last


def collect(
    folder: Path, kube: Kube | None, *, waited_for: str, node_logs: Callable[[Path], None] | None = None
) -> tuple[str, ...]:
    """The likeliest causes, worst first, at most five; everything that could be had is in `folder` then.

    It never fails itself: what cannot be read is named in `missing.txt`. Passwords in URLs, as a proxy has them, are not kept.

    Args:
        folder: Made, and filled; for its owner's eyes only.
        kube: The cluster; None when there is none to ask.
        waited_for: The condition that did not come true, or the error.
        node_logs: Writes the node's own logs below a folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / "waited-for.txt").write_text(waited_for + "\n")
    missing: list[str] = []
    seen: dict[str, list[Mapping[str, Any]]] = {}
    deadline = time.monotonic() + SECONDS
    for kind, version in _KINDS if kube else ():
        try:
            _in_time(deadline)
            items = list(kube.list(kind, api_version=version)) if kube else []
        except Exception as error:  # whatever it is, the other kinds may still be readable
            missing.append(f"{kind}: {error}")
            continue
        seen[kind] = [_trim(item) for item in items]
        (folder / f"{kind.lower()}s.yaml").write_text(yaml.safe_dump_all(seen[kind], sort_keys=False))
    for pod in seen.get("Pod", []):
        try:
            _in_time(deadline)
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
    for file in sorted(folder.rglob("*")):
        _mask(file)
    return causes


def _mask(file: Path) -> None:
    """Write asterisks over every user and password in the URLs of a text file, in its place: the disk may be full."""
    try:
        if file.is_symlink() or not file.is_file():
            return
        file.chmod(0o600)
        with file.open("rb") as source, file.open("r+b") as sink:
            if b"\0" in source.read(_HEAD):
                return
            source.seek(0)
            at = 0
            for line in source:
                for found in _CREDENTIALS.finditer(line):
                    sink.seek(at + found.start(1))
                    sink.write(b"*" * len(found[1]))
                at += len(line)
    except OSError:  # what cannot be looked through is not kept
        with contextlib.suppress(OSError):
            file.unlink()


def _in_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(f"not asked for: the cluster took more than {SECONDS:g} s to tell the rest")


def new_folder(settings: Settings) -> Path:
    """The path of a new evidence folder, named after the instance and the time; `down` leaves it."""
    return settings.home / "evidence" / f"{settings.instance}-{time.strftime('%Y%m%d-%H%M%S')}"


def pod_trouble(pod: Mapping[str, Any]) -> str | None:
    """What is wrong with a pod, in plain words; None when nothing is."""
    meta, status = pod["metadata"], pod.get("status") or {}
    if meta.get("deletionTimestamp") or status.get("phase") == "Succeeded":
        return None
    states = _containers(status)
    for container in states:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            message = waiting.get("message") or ""
            last = _last_end(container).get("exitCode")
            exit_code = f", last exit code {last}" if last is not None else ""
            return f"container {container['name']}: {waiting['reason']}{exit_code} {message}".rstrip()
    if why := unscheduled(pod):
        return f"cannot be scheduled: {why}"
    for container in states:
        terminated = (container.get("state") or {}).get("terminated") or {}
        if terminated.get("exitCode"):
            return f"container {container['name']} ended with exit code {terminated['exitCode']}{_last_words(terminated)}"
    return _unready(status)


def unscheduled(pod: Mapping[str, Any]) -> str:
    """Why no node takes a pod, in the scheduler's words; empty when one has it, or nobody has said."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message") or condition.get("reason"))
    return ""


def _last_words(terminated: Mapping[str, Any]) -> str:
    """What a container said last, where its pod keeps that: the message of a log line, or the whole line."""
    lines = (terminated.get("message") or "").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    with contextlib.suppress(ValueError, KeyError, TypeError):  # it may not log as our services do
        last = str(json.loads(last)["message"])
    return f": {last[:_LONGEST]}" if last else ""


def job_trouble(job: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> str | None:
    """What is wrong with a Job, in plain words, with what its newest failed pod said; None when nothing is.

    Args:
        job: The Job.
        pods: Its pods, those of others too.
    """
    status = job.get("status") or {}
    true = {item["type"]: item for item in status.get("conditions") or [] if item["status"] == "True"}
    if "Complete" in true or not (status.get("failed") or "Failed" in true):
        return None
    what = f"failed for good ({true['Failed'].get('reason')})" if "Failed" in true else "failed, and is tried again"
    own = [(pod["metadata"].get("creationTimestamp") or "", trouble) for pod in _of(job, pods) if (trouble := pod_trouble(pod))]
    return f"{what}; {max(own)[1]}" if own else what


def _of(job: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    meta = job["metadata"]
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        if (pod["metadata"].get("namespace"), labels.get(_JOB_LABEL)) == (meta.get("namespace"), meta["name"]):
            yield pod


def _unready(status: Mapping[str, Any]) -> str | None:
    if status.get("phase") in ("Pending", "Failed"):
        said = [text for text in (status.get("reason"), status.get("message")) if text]
        return ": ".join([f"phase {status['phase']}", *said])
    unready = [container for container in status.get("containerStatuses") or [] if not container.get("ready")]
    if not unready:
        return None
    worst = max(unready, key=lambda container: container.get("restartCount", 0))
    restarts, last = worst.get("restartCount", 0), _last_end(worst)
    ended = f", last exit code {last['exitCode']}{_last_words(last)}" if last.get("exitCode") else ""
    return _UNREADY + (f" ({restarts} restarts{ended})" if restarts else "")


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _last_end(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the container's former life ended; nothing when it had none."""
    return (container.get("lastState") or {}).get("terminated") or {}


def _relapses(pods: Iterable[Mapping[str, Any]]) -> Iterable[tuple[Mapping[str, Any], str]]:
    """Pods that are well at this moment, but failed so shortly before that they may be about to do it again; newest first."""
    since = f"{datetime.fromtimestamp(time.time() - _LOOPING, UTC):%Y-%m-%dT%H:%M:%SZ}"
    found: list[tuple[str, Mapping[str, Any], str]] = []
    for pod in pods:
        for container in () if pod_trouble(pod) else _containers(pod.get("status") or {}):
            last = _last_end(container)
            if last.get("exitCode") and (last.get("finishedAt") or "") > since:
                again = f"container {container['name']} runs again after exit code {last['exitCode']}{_last_words(last)}"
                found.append((last["finishedAt"], pod, again))
    return [(pod, why) for _, pod, why in sorted(found, key=lambda one: one[0], reverse=True)]


def _causes(seen: Mapping[str, list[Mapping[str, Any]]]) -> Iterable[str]:
    told: set[str] = set()
    for job in seen.get("Job", []):
        # Each attempt is a pod, and all failed alike: one line for them all.
        if trouble := job_trouble(job, seen.get("Pod", [])):
            told |= {describe(pod) for pod in _of(job, seen.get("Pod", []))}
            yield f"{describe(job)} {trouble}"
    ill = [pod for pod in seen.get("Pod", []) if describe(pod) not in told]
    pods = [(describe(pod), trouble) for pod in ill if (trouble := pod_trouble(pod))]
    # A pod that merely waits often waits for one that crashes.
    for name, trouble in sorted(pods, key=lambda pod: pod[1].startswith(_MERELY_WAITING) and "exit code" not in pod[1]):
        yield f"{name}: {trouble}"
    for pod, why in _relapses(ill):
        yield f"{describe(pod)}: {why}"
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
