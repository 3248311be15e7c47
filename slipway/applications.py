"""Argo CD's applications as frozen facts, and the judgement whether one runs what a commit says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from slipway import names
from slipway.kube import Kube, UnknownKind
from slipway.waiting import Failed, Pending, Ready

API_VERSION = "argoproj.io/v1alpha1"

SERVICE_LABEL = "slipway.dev/service"


@dataclass(frozen=True)
class Application:
    """One service (or store) of one environment, as Argo CD sees it.

    Attributes:
        sync: "Synced", "OutOfSync" or "Unknown".
        health: "Healthy", "Progressing", "Degraded", "Missing", "Suspended" or "Unknown".
        revision: The commit that `sync` and `health` speak of.
        message: What is wrong, in Argo CD's words; empty when nothing is.
        operation: The state of the last sync: "Running", "Succeeded", "Failed", "Error", "Terminating" or empty.
        applied: The commit that the last sync applied.
        requested: Whether a sync or a refresh was asked for that has not begun.
        left_out: What of that commit Argo CD does not even look at, in its words; empty when that is nothing.
        retired: Whether nothing is to be left of the service but the word that it was retired.
    """

    name: str
    environment: str
    service: str
    sync: str
    health: str
    revision: str
    message: str
    operation: str
    applied: str
    requested: bool
    left_out: str = ""
    retired: bool = False


def applications(kube: Kube) -> list[Application]:
    """Every application that belongs to an environment; none when Argo CD is not there yet."""
    try:
        found = kube.list("Application", namespace=names.ARGOCD, api_version=API_VERSION, labels=names.ENVIRONMENT_LABEL)
    except UnknownKind:
        return []
    return [parse(item) for item in found]


def parse(item: Mapping[str, Any]) -> Application:
    """An Application object as facts."""
    meta, status = item["metadata"], item.get("status") or {}
    sync, state = status.get("sync") or {}, status.get("operationState") or {}
    labels: Mapping[str, str] = meta.get("labels") or {}
    annotations: Mapping[str, str] = meta.get("annotations") or {}
    health = status.get("health") or {}
    asked = (state.get("operation") or {}).get("sync") or {}
    told = [(entry["type"], entry["message"]) for entry in status.get("conditions") or []]
    conditions = [message for kind, message in told if kind.endswith("Error")]
    failed = state.get("phase") in ("Failed", "Error") or (state.get("phase") == "Running" and state.get("retryCount"))
    said = [*conditions, state.get("message") if failed else "", health.get("message")]
    service = labels.get(SERVICE_LABEL, "")
    objects = status.get("resources") or []
    return Application(
        name=meta["name"],
        environment=labels.get(names.ENVIRONMENT_LABEL, ""),
        service=service,
        sync=sync.get("status") or "Unknown",
        health=health.get("status") or "Unknown",
        revision=sync.get("revision") or "",
        message=next((text for text in said if text), ""),
        operation=state.get("phase") or "",
        applied=(state.get("syncResult") or {}).get("revision") or asked.get("revision") or "",
        requested=bool(item.get("operation")) or "argocd.argoproj.io/refresh" in annotations,
        left_out="; ".join(message for kind, message in told if kind == "ExcludedResourceWarning"),
        retired=any(
            (one.get("kind"), one.get("name")) == ("ConfigMap", f"{service}-retired") and not one.get("requiresPruning")
            for one in objects
        ),
    )


def delivered(app: Application | None, commit: str, *, later: Collection[str] = ()) -> Ready[Application] | Pending | Failed:
    """Whether the application's objects in the cluster are what the commit says, and healthy as such.

    "Healthy" alone may be an older commit's; so nothing counts that does not speak of this commit. A commit that
    changes the record but no object needs no sync: then being in sync with it is enough.

    Args:
        app: The application, or None when there is none.
        commit: The full commit that is waited for. It must touch the application's own folder.
        later: Commits that contain it, which are as good.
    """
    if app is None:
        return Pending("Argo CD has not made the application yet")
    good = {commit, *later}
    if app.operation in ("Failed", "Error") and app.applied in good and not app.requested:
        return Failed(f"Argo CD could not apply {app.applied[:9]}: {app.message or app.operation}")
    # The rest of it would be called in sync and healthy.
    if app.left_out and app.revision in good and not app.requested:
        return Failed(f"Argo CD leaves out a part of {app.revision[:9]}: {app.left_out}")
    lacking = _lacking(app, good, commit[:9])
    return Pending(f"{lacking}: {app.message}" if app.message else lacking) if lacking else Ready(app)


def _lacking(app: Application, good: Collection[str], short: str) -> str:
    checks = (
        (app.revision in good, f"Argo CD looks at {app.revision[:9] or 'no commit'}, not at {short} yet"),
        (app.operation not in ("Running", "Terminating"), f"Argo CD is applying {app.applied[:9]}"),
        (app.sync == "Synced", f"{app.sync} with {short}"),
        (not app.requested, "Argo CD is about to look again"),
        (app.operation == "Succeeded", f"no sync has succeeded yet (last: {app.operation or 'none'})"),
        (app.health == "Healthy", f"{app.health} with {short}"),
    )
    return next((why for holds, why in checks if not holds), "")
