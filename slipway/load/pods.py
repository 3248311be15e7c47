"""The pods under test, as the cluster has them before a load test and after it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from slipway.load.model import Pod, Rollout
from slipway.prometheus import Series


def look(pods: Iterable[Mapping[str, Any]], services: Collection[str]) -> tuple[Pod, ...]:
    """The pods of services as the cluster has them now: those that serve, or will; not those on their way out."""
    found: list[Pod] = []
    for pod in _alive(pods):
        service = (pod["metadata"].get("labels") or {}).get("app.kubernetes.io/name", "")
        if service not in services:
            continue
        for status in (pod.get("status") or {}).get("containerStatuses") or []:
            if status["name"] == service:
                digest = status.get("imageID", "").rpartition("@")[2]
                began = ((status.get("state") or {}).get("running") or {}).get("startedAt", "")
                found.append(Pod(service, pod["metadata"]["name"], digest, int(status.get("restartCount", 0)), str(began)))
    return tuple(sorted(found, key=lambda one: (one.service, one.name)))


def rollouts(
    before: Sequence[Pod], after: Sequence[Pod], begin: float, end: float, scraped: Iterable[Series] = ()
) -> tuple[Rollout, ...]:
    """What changed of the pods while a test ran: those that started in it, were restarted, went, or came and went.

    Args:
        before: The pods before it.
        after: The pods after it.
        begin: Seconds since 1970 at which it began.
        end: The same for its end.
        scraped: What Prometheus scraped of each pod, which knows when one went, and those that nobody else has seen.
    """
    had, has = {pod.name: pod for pod in before}, {pod.name for pod in after}
    spans: dict[str, tuple[str, float, float]] = {}
    for course in scraped:
        name, service, times = course.labels.get("pod", ""), course.labels.get("service", ""), [at for at, _ in course.points]
        if name and times and max(times) >= begin:
            spans[name] = service, min(times), max(times)
    told: list[Rollout] = []
    for pod in after:
        started, former = _moment(pod.started), had.get(pod.name)
        if former is None:
            told.append(Rollout(started or begin, pod.service, f"{pod.name} started, {pod.digest[:19]}", pod.name))
        elif pod.restarts > former.restarts:
            times = pod.restarts - former.restarts
            told.append(Rollout(started or end, pod.service, f"{pod.name} was restarted ({times})", pod.name))
    for pod in before:
        if pod.name not in has:
            _, _, last = spans.get(pod.name, ("", 0.0, end))
            told.append(Rollout(min(last, end), pod.service, f"{pod.name} is gone", pod.name))
    services = {pod.service for pod in (*before, *after)}
    for name, (service, first, last) in spans.items():
        if service in services and name not in had and name not in has and first <= end:
            told.append(Rollout(first, service, f"{name} came, and was gone after {last - first:.0f} s", name))
    return tuple(sorted(told, key=lambda one: (one.time, one.service, one.what)))


def limits(pods: Iterable[Mapping[str, Any]], services: Collection[str]) -> Mapping[str, float | None]:
    """Cores that a pod of each service may use; None where nothing limits it."""
    found: dict[str, float | None] = dict.fromkeys(services)
    for pod in _alive(pods):
        for container in pod["spec"]["containers"]:
            if container["name"] in found:
                told = ((container.get("resources") or {}).get("limits") or {}).get("cpu")
                found[container["name"]] = cores(str(told)) if told else None
    return found


def cores(quantity: str) -> float:
    """Cores, of an amount of processor time as Kubernetes writes it ("250m", "1.5")."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def _alive(pods: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for pod in pods:
        over = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if not over and not pod["metadata"].get("deletionTimestamp"):
            yield pod


def _moment(text: str) -> float:
    """Seconds since 1970 of a time as Kubernetes writes it; 0 for none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
