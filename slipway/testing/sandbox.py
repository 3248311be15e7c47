"""The container that a branch's code runs in: what it is given, how long it may take, and what it said."""

from __future__ import annotations

import contextlib
import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from slipway import engine, names, runs
from slipway.engine import Container, Engine
from slipway.errors import SlipwayError
from slipway.progress import Phase
from slipway.recipes import Plan
from slipway.settings import Settings
from slipway.waiting import Pending, Ready, wait_for

LABEL = "slipway.dev/checks"

# Seconds. A check takes a few; one that hangs must not hold up every push behind it.
DEADLINE = 300.0
_END_TIMEOUT = 30
_MEMORY = "1g"
PIDS = 256
_CORES = 2
_USER = "10001:10001"
_SOURCE = "/src"
_IPV6 = Path("/proc/sys/net/ipv6")
# What ruff goes by.
STYLE = "pyproject.toml"


class Access(Protocol):
    """What checks need of an instance."""

    @property
    def settings(self) -> Settings:
        """Where what passed is kept."""
        ...

    @property
    def engine(self) -> Engine:
        """What runs them."""
        ...

    @property
    def plan(self) -> Plan:
        """The images that they are made of."""
        ...


def sweep(settings: Settings, found: Engine) -> None:
    """Remove the containers of checks that were ended before they could do so themselves."""
    for container in found.labelled(LABEL, settings.instance):
        remove(container)


def options(settings: Settings, found: Engine) -> dict[str, Any]:
    """What the engine is told of a container for code that nobody has looked at yet."""
    return {
        "user": _USER,
        **network_of("none"),
        "read_only": True,
        "tmpfs": {"/tmp": "rw,nosuid,nodev,size=256m,mode=1777"},  # noqa: S108 - its own
        "volumes": [_SOURCE],  # the engine's, without a name, for the source; never a folder of the host
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "mem_limit": _MEMORY,
        "memswap_limit": _MEMORY,
        "pids_limit": PIDS,
        "nano_cpus": min(_CORES, int(found.info.get("NCPU") or _CORES)) * 10**9,
        "ipc_mode": "private",
        "labels": labels(settings),
    }


def network_of(mode: str) -> dict[str, Any]:
    """What the engine is told of a container's network: "none", or "container:ID" for that of another one."""
    # The engine takes IPv6 away from what has no network, and with it the loopback address that tests may listen on.
    six = {"net.ipv6.conf.all.disable_ipv6": "0"} if mode == "none" and _IPV6.is_dir() else {}
    return {"network_mode": mode, "sysctls": six}


def labels(settings: Settings) -> dict[str, str]:
    """What the containers of checks are known by."""
    return {names.OWNER_LABEL: names.OWNER, names.INSTANCE_LABEL: settings.instance, LABEL: settings.instance}


def pack(services: Path, style: bytes) -> bytes:
    """The services of a commit, and what ruff goes by, as an archive for the container: everything readable, nothing writable."""
    buffer = io.BytesIO()

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        # A link or a device of a branch has no place in a container that is not its own.
        if not (info.isreg() or info.isdir()) or info.name.endswith("__pycache__"):
            return None
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
        return info

    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(services, "services", filter=plain)
        info = tarfile.TarInfo(STYLE)
        info.size, info.mode = len(style), 0o644
        archive.addfile(info, io.BytesIO(style))
    return buffer.getvalue()


@dataclass(frozen=True)
class Beside:
    """The stores of one check: what the service is told of them, and the network that it shares with them."""

    told: Mapping[str, str]
    network: str = "none"


def run(access: Access, image: str, script: str, content: bytes, *, beside: Beside, phase: Phase) -> tuple[int, str]:
    """Exit code and output of a script in a container of its own."""
    given: Any = {**options(access.settings, access.engine), **network_of(beside.network)}
    with engine.asking("the container of the checks"):
        container = access.engine.client.containers.create(
            image, entrypoint=["/bin/sh", "-c"], command=[script], environment=dict(beside.told), **given
        )
    try:
        with engine.asking("the container of the checks"):
            container.put_archive(_SOURCE, content)
            container.start()
            said = _follow(container, phase)
            return int(container.wait(timeout=_END_TIMEOUT)["StatusCode"]), said
    finally:
        remove(container)


def _follow(container: Container, phase: Phase) -> str:
    """What a container said until it ended; it is ended when it takes too long, or when everything is called off."""
    ended, troubles, said = threading.Event(), list[SlipwayError](), list[bytes]()

    def watch() -> None:
        try:
            wait_for(
                "the checks to end",
                lambda: Ready(None) if ended.is_set() else Pending("they still run"),
                timeout=DEADLINE,
                hint="A test hangs, or is slower than any test of a service may be.",
            )
        except SlipwayError as error:
            troubles.append(error)
            with contextlib.suppress(SlipwayError), engine.asking("the container of the checks"):
                container.kill()

    threading.Thread(target=watch, daemon=True).start()
    try:
        for chunk in cast("Iterator[bytes]", container.logs(stream=True, follow=True)):
            said.append(chunk)
    finally:
        ended.set()
        text = b"".join(said).decode(errors="replace")
        if text.strip():
            runs.log(phase, text)
    if troubles:
        raise troubles[0]
    return text


def remove(container: Container) -> None:
    """Remove a container, with what it kept; one that resists is left to the next sweep."""
    with contextlib.suppress(SlipwayError), engine.asking("the container of the checks"):
        container.remove(force=True, v=True)
