"""Where a load comes from: the cluster under test, this host, or the cluster of another instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from slipway import access, names, registry
from slipway.access import Access
from slipway.errors import UsageError
from slipway.kube import Kube
from slipway.load.changing import Environmental
from slipway.load.model import Asked
from slipway.settings import Settings

_HOST = (
    "The generator runs on this host: every request goes through the one mapped port and the gateway, which the services' own "
    "customers in the cluster do not use, and the host's Python sends beside everything else. A look, and no proof: no release "
    "passes by it."
)
_OTHER = (
    "The generator runs in the cluster of {sender}: every request goes through the gateway of {instance}, whose time is in all "
    "figures, and who makes the connections to the services, a new one for each request."
)


@dataclass(frozen=True)
class Origin:
    """Where the load comes from.

    Attributes:
        addresses: Where each service answers, from there.
        hosts: What each is called in a request, where that is not its address.
        kube: The cluster in which the generator runs, as its administrator: it is nobody's delivery. None on the host.
        note: What has to be known to read the figures; empty for nothing.
    """

    addresses: Mapping[str, str]
    hosts: Mapping[str, str]
    kube: Kube | None
    note: str = ""


def find(there: Access, asked: Asked, kube: Kube) -> Origin:
    """Where a load comes from that somebody asked for.

    Args:
        there: The instance under test.
        asked: What somebody asked for.
        kube: Its cluster, as its administrator.

    Raises:
        UsageError: It would come from two places, or cannot tell what is asked.
        Environmental: The other instance does not run, or no way leads from there to the services.
    """
    settings, services = there.settings, there.settings.services
    hosts = {service: names.host_name(service, asked.environment) for service in services}
    if asked.local and asked.sender:
        raise UsageError("--local sends from this host, and --from-instance from another cluster: leave one of them out.")
    if asked.during and (asked.local or asked.sender):
        raise UsageError(
            f"--during {asked.during} asks how customers' connections to the services fare, and through the gateway none of them "
            "reaches a pod: leave out --local and --from-instance."
        )
    if asked.local:
        return Origin(dict.fromkeys(services, f"http://127.0.0.1:{there.port}"), hosts, None, _HOST)
    if not asked.sender:
        inside = {service: f"http://{service}.{asked.environment}.svc.cluster.local" for service in services}
        return Origin(inside, {}, kube)
    if asked.sender == settings.instance:
        raise UsageError(f"{asked.sender} is the instance under test, and sends by itself: leave out --from-instance.")
    sender = replace(settings, instance=asked.sender)
    try:
        access.open(sender)
    except UsageError as error:
        raise Environmental(f"nothing can be sent from {asked.sender!r}. `{sender.command('up')}` sees to it.") from error
    gateway = f"http://{_address(there)}:{names.GATEWAY_NODE_PORT}"
    note = _OTHER.format(sender=asked.sender, instance=settings.instance)
    return Origin(dict.fromkeys(services, gateway), hosts, admin(sender), note)


def admin(settings: Settings) -> Kube:
    """The cluster of an instance, as its administrator."""
    return Kube(settings.kubeconfig, settings.context)


def _address(there: Access) -> str:
    """The address of an instance's node, for the nodes beside it."""
    container = there.engine.container(there.settings.node)
    networks = container.attrs["NetworkSettings"]["Networks"] if container else {}
    address = str((networks.get(registry.NETWORK) or {}).get("IPAddress") or "")
    if not address:
        raise Environmental(
            f"the node of {there.settings.instance} has no address in the network {registry.NETWORK!r}, so no other cluster "
            f"reaches it. `{there.settings.command('status')}` says how it does."
        )
    return address
