"""The image registry beside the clusters: one container in the engine, with one name on the host and in every node.

What is known of it is asked from the engine each time; nothing about it is kept in a file. It outlives clusters.
"""

from __future__ import annotations

import io
import secrets
import tarfile
from dataclasses import dataclass
from typing import Any

import yaml

from slipway import cache, names, oci, ports
from slipway.engine import Container, Engine, EngineError, asking
from slipway.errors import UsageError
from slipway.oci import digest, manifest, tags
from slipway.progress import Phase
from slipway.settings import Settings
from slipway.waiting import Pending, Ready, wait_for

CONTAINER = "slipway-registry"
VOLUME = "slipway-registry"
NETWORK = "kind"

START_TIMEOUT = 120.0  # after an engine that was killed, what is left of its network takes a while to go

_INNER_PORT = 5000
_CONFIG = "/etc/slipway/registry.yml"
_DATA = "/var/lib/registry"
_ALWAYS: Any = {"Name": "unless-stopped"}
_OURS = {names.OWNER_LABEL: names.OWNER}
# What the engine itself says of a container's image differs between its image stores.
_IMAGE_LABEL = "slipway.dev/image"


@dataclass(frozen=True)
class Registry:
    """The registry.

    Attributes:
        port: Its port on 127.0.0.1.
        container: The name of its container.
        state: The container's state in Docker's words.
        image: The image it runs.
    """

    port: int
    container: str
    state: str
    image: str

    @property
    def name(self) -> str:
        """Its name in image references, the same on the host and in the nodes."""
        return f"localhost:{self.port}"

    @property
    def inner_url(self) -> str:
        """Its address for containers of the clusters' network."""
        return f"http://{self.container}:{_INNER_PORT}"


def ensure(settings: Settings, engine: Engine, image: str, *, phase: Phase) -> Registry:
    """The registry, answering; made, started or renewed as far as that is needed. Its content stays.

    Args:
        settings: Of any instance: all share it, so only one makes it at a time.
        engine: Where it runs.
        image: The image it is to run; it must be in the engine.
        phase: Told what is waited for.

    Raises:
        UsageError: Somebody else's container has its name.
        EngineError: Its container cannot be made or started.
        WaitTimeout: It does not answer.
    """
    with cache.locked(settings.cache, "registry", phase=phase):
        return _ensure(settings, engine, image)


def _ensure(settings: Settings, engine: Engine, image: str) -> Registry:
    container = engine.container(CONTAINER)
    if container is not None and not _ours(container):
        raise UsageError(
            f"container {CONTAINER} is not Slipway's, and has the registry's name. "
            f"Give it another one (`docker rename {CONTAINER} NAME`), or remove it."
        )
    port = 0
    if container is not None:
        port = _port(container)
        # One that never ran is what an interrupted run left: its configuration may be missing.
        if not port or container.status == "created" or container.labels.get(_IMAGE_LABEL) != engine.image_id(image):
            with asking("the registry's container"):
                container.remove(force=True)
            container = None
    with asking("the registry's container"):
        if container is None:
            network(engine)
            container = _make(
                settings, engine, image, port or ports.free_port(names.PREFERRED_REGISTRY_PORT, reserved=engine.mapped())
            )
        if container.status != "running":
            _start(settings, engine, container)
    found = find(engine)
    if found is None:
        raise EngineError(f"container {CONTAINER} went away. Run the command again.")
    wait_for(
        f"the registry {found.name}",
        lambda: Ready(None) if oci.answers(found.name) else Pending("no answer"),
        timeout=START_TIMEOUT,
        hint=f"Look at `docker logs {CONTAINER}`.",
    )
    return found


def find(engine: Engine) -> Registry | None:
    """The registry as it is now, running or not; None when there is none."""
    container = engine.container(CONTAINER)
    if container is None or not _ours(container):
        return None
    return Registry(_port(container), CONTAINER, container.status, container.attrs["Config"]["Image"])


def remove(engine: Engine) -> bool:
    """Whether there was a registry; it is gone now, with everything in it, and the network when nobody else is on it."""
    container, mine = engine.container(CONTAINER), f"{names.OWNER_LABEL}={names.OWNER}"
    there = container is not None and _ours(container)
    with asking("the registry"):
        if container is not None and there:
            container.remove(force=True, v=True)
        for volume in engine.client.volumes.list(filters={"name": f"^{VOLUME}$", "label": mine}):
            volume.remove(force=True)
        for found in engine.client.networks.list(names=[f"^{NETWORK}$"], filters={"label": mine}):
            if not _used(engine, NETWORK):
                found.remove()
    return there


def _used(engine: Engine, network: str) -> bool:
    # The network itself tells only of containers that run; others come back to it when they are started.
    return any(network in (one.attrs["NetworkSettings"].get("Networks") or {}) for one in engine.every_container())


def _ours(container: Container) -> bool:
    return container.labels.get(names.OWNER_LABEL) == names.OWNER


def network(engine: Engine) -> None:
    """See to it that the network of the clusters exists, made the way kind makes it.

    Raises:
        EngineError: The engine cannot make it.
    """
    networks = engine.client.networks
    with asking(f"network {NETWORK}"):
        if networks.list(names=[f"^{NETWORK}$"]):
            return
        options = {"com.docker.network.bridge.enable_ip_masquerade": "true"}
        mtu = (networks.get("bridge").attrs.get("Options") or {}).get("com.docker.network.driver.mtu")
        if mtu:
            options["com.docker.network.driver.mtu"] = mtu
        make: dict[str, Any] = {"driver": "bridge", "options": options, "labels": _OURS}
    # Clusters of other tools share this network, so it has IPv6 where the machine has it.
    six = f"fd{secrets.token_hex(1)}:{secrets.token_hex(2)}:{secrets.token_hex(2)}::/64"
    pool: Any = {"Driver": "default", "Config": [{"Subnet": six}]}
    try:
        with asking(f"network {NETWORK}"):
            networks.create(NETWORK, enable_ipv6=True, ipam=pool, **make)
    except EngineError:
        with asking(f"network {NETWORK}"):
            networks.create(NETWORK, **make)


def _make(settings: Settings, engine: Engine, image: str, port: int) -> Container:
    config = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": _DATA}, "delete": {"enabled": True}},
        "http": {"addr": f":{_INNER_PORT}"},
    }
    engine.client.volumes.create(VOLUME, labels=_OURS)
    identity = engine.image_id(image)
    if identity is None:
        raise EngineError(f"the engine does not hold {image}. Run `{settings.command('up')}`.")
    made = engine.client.containers.create(
        image,
        command=["serve", _CONFIG],
        entrypoint=["registry"],
        name=CONTAINER,
        # It would otherwise look for a collector of traces, and complain for ever that there is none.
        environment={"OTEL_TRACES_EXPORTER": "none"},
        labels={**_OURS, _IMAGE_LABEL: identity},
        network=NETWORK,
        ports={f"{_INNER_PORT}/tcp": (ports.LOOPBACK, port)},
        restart_policy=_ALWAYS,
        volumes={VOLUME: {"bind": _DATA, "mode": "rw"}},
    )
    content = yaml.safe_dump(config, sort_keys=False).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(_CONFIG.lstrip("/"))
        info.size, info.mode = len(content), 0o644
        archive.addfile(info, io.BytesIO(content))
    made.put_archive("/", buffer.getvalue())
    return made


def _start(settings: Settings, engine: Engine, container: Container) -> None:
    try:
        engine.start(container)
    except EngineError as error:
        if "port is already allocated" not in str(error) and "address already in use" not in str(error):
            raise
        port = _port(container)
        raise EngineError(
            f"the registry's port {port} is taken by another program now, and image references name it. "
            f"Free it (`ss -ltnp 'sport = :{port}'` shows who has it), or run "
            f"`{settings.command('down --purge')}` and `{settings.command('up')}`."
        ) from error


def _port(container: Container) -> int:
    bindings = container.attrs["HostConfig"].get("PortBindings") or {}
    mapped = bindings.get(f"{_INNER_PORT}/tcp") or []
    return int(mapped[0]["HostPort"]) if mapped else 0


__all__ = ["CONTAINER", "NETWORK", "VOLUME", "Registry", "digest", "ensure", "find", "manifest", "network", "remove", "tags"]
