"""What `local` stands on before Tilt fills it: its Secrets; and how it is emptied again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slipway import access, instance, names, roles, stores
from slipway.access import Access
from slipway.dev.told import ROLE
from slipway.kube import NOT_YET, Kube, Object
from slipway.progress import Phase, Progress
from slipway.settings import Settings
from slipway.waiting import Pending, Ready, wait_for

if TYPE_CHECKING:
    from rich.console import Console

# Seconds: the longest that a pod in `local` gets to end is 30, and a volume goes after its pod.
GONE_TIMEOUT = 120.0

_MARK = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Emptied:
    """What `dev --down` removed: the workloads that were in `local`, by name."""

    workloads: tuple[str, ...]


def prepare(found: Access, phase: Phase) -> None:
    """See to it that `local` is there, with the Secrets of its stores and of their clients. Tilt is never told what is in them.

    Raises:
        Away: The API server does not answer.
        WaitTimeout: A removal that was interrupted does not end.
    """
    # As its admin: a `dev --down` that was cut off has left no namespace, and whose it is comes with it.
    kube = _admin(found.settings)
    if ((kube.get("Namespace", names.LOCAL) or {}).get("metadata") or {}).get("deletionTimestamp"):
        _wait_gone(kube, phase)
    kube.apply([*_owned(found.settings), *stores.manifests(found.settings, [names.LOCAL], found.secrets)])


def down(settings: Settings, *, progress: Progress) -> Emptied:
    """End the Tilt of this instance and remove everything that is in `local`, data included; the empty namespace stays.

    Raises:
        UsageError: The instance does not run.
        Away: The API server does not answer.
        WaitTimeout: Something in `local` does not end.
    """
    access.open(settings, ROLE)  # or say what to do
    kube = _admin(settings)
    with progress.phase("local") as phase:
        if instance.end_tilt(settings):
            phase.say("Tilt has ended")
        held = workloads(kube)
        kube.delete("Namespace", names.LOCAL)
        _wait_gone(kube, phase)
        kube.apply(_owned(settings))
        phase.say(", ".join(held) or "there was nothing in it")
    return Emptied(held)


def workloads(kube: Kube) -> tuple[str, ...]:
    """The workloads that are in `local`, by name."""
    found = [
        item["metadata"]["name"]
        for kind in ("Deployment", "StatefulSet")
        for item in kube.list(kind, namespace=names.LOCAL, api_version="apps/v1")
    ]
    return tuple(sorted(found))


def _admin(settings: Settings) -> Kube:
    return Kube(settings.kubeconfig, settings.context)


def _owned(settings: Settings) -> list[Object]:
    """The namespace, and whose it is, as `up` makes them."""
    return [item for item in roles.manifests(settings, ()) if _of_local(item)]


def _wait_gone(kube: Kube, phase: Phase) -> None:
    wait_for(
        "the namespace local to be empty",
        lambda: _gone(kube),
        timeout=GONE_TIMEOUT,
        tolerate=NOT_YET,
        on_change=phase.say,
        hint="`kubectl get all --namespace local` shows what is left; `./invoke env` points kubectl at the instance.",
    )


def _gone(kube: Kube) -> Ready[None] | Pending:
    there = kube.get("Namespace", names.LOCAL)
    if there is None:
        return Ready(None)
    said = [item.get("message", "") for item in (there.get("status") or {}).get("conditions") or [] if item["status"] == "True"]
    return Pending(next(iter(filter(None, said)), "its objects are ending"))


def _of_local(item: Object) -> bool:
    meta: Mapping[str, str] = item["metadata"]
    return meta.get("namespace") == names.LOCAL or (item["kind"], meta["name"]) == ("Namespace", names.LOCAL)


def show_down(emptied: Emptied, console: Console) -> None:
    """Print it for a person."""
    console.print("Next: ./invoke dev" if emptied.workloads else "There was nothing in local.")
