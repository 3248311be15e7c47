"""Whether the rules count already: asked with things that nobody approved."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from slipway import names
from slipway.admission.lists import probe, refusal
from slipway.kube import Kube, Object
from slipway.waiting import Pending, Ready, wait_for

# Seconds. The API server reads its policies anew about once a second.
ACTIVE_TIMEOUT = 60.0

# An image that nobody ever approves.
_NOBODYS = f"slipway.invalid/nobodys@sha256:{'0' * 64}"


def wait_until_active(
    kube: Kube, environments: Iterable[str], *, timeout: float = ACTIVE_TIMEOUT, on_change: Callable[[str], None] | None = None
) -> None:
    """Return when these environments refuse what nobody approved: the API server takes a moment to know new policies.

    Args:
        kube: The cluster, as its admin, who may do all that no policy forbids.
        environments: The guarded ones.
        timeout: Seconds.
        on_change: Told what is waited for.

    Raises:
        WaitTimeout: Something is admitted that must not be.
    """
    for environment in environments:
        for item, policy in _forbidden(environment):
            wait_for(
                f"{environment} to refuse a {item['kind']} that nobody approved",
                lambda item=item, policy=policy: _refused(kube, item, policy),
                timeout=timeout,
                on_change=on_change,
                hint="Look at `kubectl get validatingadmissionpolicies --output yaml`; `./invoke up` makes what is missing.",
            )


def _refused(kube: Kube, item: Object, policy: str) -> Ready[None] | Pending:
    said = refusal(kube, item)
    return Ready(None) if f"ValidatingAdmissionPolicy 'slipway-{policy}'" in said else Pending(said or "it is admitted")


def _forbidden(environment: str) -> list[tuple[Object, str]]:
    """An object for each policy about workloads and lists, which that policy must refuse."""
    security = {
        "runAsNonRoot": True,
        "runAsUser": 1,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": _NOBODYS, "securityContext": security}]}
    here = {"name": "slipway-probe", "namespace": environment}
    listed = {"name": probe(environment), "namespace": names.ADMISSION}
    return [
        ({"apiVersion": "v1", "kind": "Pod", "metadata": here, "spec": pod}, "controllers"),
        ({"apiVersion": "batch/v1", "kind": "Job", "metadata": here, "spec": {"template": {"spec": pod}}}, "approved-digests"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": listed, "data": {"images": _NOBODYS}}, "observed"),
    ]
