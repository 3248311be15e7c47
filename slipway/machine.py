"""What the machine is, read from the files in which its kernel and its distribution say so; no program is run."""

from __future__ import annotations

import ipaddress
import os
import platform
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Capabilities by their number, as in linux/capability.h.
# fmt: off
_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)
# fmt: on

GIB = 1024**3

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Machine:
    """The facts that decide what can run here.

    Attributes:
        system: "linux" or "darwin".
        architecture: "amd64" or "arm64", as Go and image registries name it.
        distribution: The distribution and those it is like, from os-release ("debian", "ubuntu debian"); "" when unknown.
        name: The system's name for people.
        root: Whether this process may administer the machine.
        systemd: Whether systemd runs it.
        cores: How many processors this process may use.
        memory: Bytes of memory, as far as this process may use them.
        memory_available: Bytes of it that could be had now; 0 when unknown.
        missing_capabilities: What the bounding set lacks: nothing started from here can ever have it.
        cgroup: The version of control groups, 0 when there are none.
        inotify_instances: How many inotify instances one user may have; 0 when there is no such limit.
        inotify_watches: How many inotify watches one user may have; 0 when there is no such limit.
        routes: The networks this machine has routes to, without the default route.
    """

    system: str
    architecture: str
    distribution: str
    name: str
    root: bool
    systemd: bool
    cores: int
    memory: int
    memory_available: int
    missing_capabilities: tuple[str, ...]
    cgroup: int
    inotify_instances: int
    inotify_watches: int
    routes: tuple[ipaddress.IPv4Network, ...]

    @property
    def debian(self) -> bool:
        """Whether packages come from apt: Debian, Ubuntu and those like them."""
        return bool({"debian", "ubuntu"} & set(self.distribution.split()))


def look(root: Path = Path("/")) -> Machine:
    """The machine's facts.

    Args:
        root: Where its files are; another folder, for tests.
    """
    release = _pairs(read(root / "etc/os-release"), "=")
    memory = _pairs(read(root / "proc/meminfo"), ":")
    total = _kilobytes(memory.get("MemTotal", "")) or _darwin_memory()
    limit = _memory_limit(root)
    available = _kilobytes(memory.get("MemAvailable", ""))
    inotify = root / "proc/sys/fs/inotify"
    return Machine(
        system=platform.system().lower(),
        architecture=_ARCHITECTURES.get(platform.machine().lower(), platform.machine().lower()),
        distribution=f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".strip(),
        name=release.get("PRETTY_NAME", platform.platform(terse=True)),
        root=os.geteuid() == 0,
        systemd=(root / "run/systemd/system").is_dir(),
        cores=_cores(),
        memory=min(total, limit) if limit else total,
        memory_available=min(available, limit) if limit else available,
        missing_capabilities=missing_capabilities(read(root / "proc/self/status"), read(root / "proc/sys/kernel/cap_last_cap")),
        cgroup=_cgroup(root),
        inotify_instances=_number(read(inotify / "max_user_instances")),
        inotify_watches=_number(read(inotify / "max_user_watches")),
        routes=_routes(read(root / "proc/net/route")),
    )


def free_bytes(path: Path) -> int:
    """Bytes that could be written at a path, which need not exist yet."""
    return shutil.disk_usage(existing(path)).free


def in_memory(room: int, *, root: Path = Path("/")) -> Path | None:
    """A folder whose files lie in memory and may be programs, when this many bytes can be had there; else None."""
    folder = root / "dev" / "shm"
    if not os.access(folder, os.W_OK) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return None
    available = _kilobytes(_pairs(read(root / "proc/meminfo"), ":").get("MemAvailable", ""))
    return folder if min(free_bytes(folder), available) >= room else None


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def missing_capabilities(status: str, last: str = "") -> tuple[str, ...]:
    """The capabilities that a process can never have, by the kernel's own account of it.

    Args:
        status: The text of /proc/PID/status; a system without that file lacks nothing that is known.
        last: The text of /proc/sys/kernel/cap_last_cap.
    """
    for line in status.splitlines():
        if line.startswith("CapBnd:"):
            bits = int(line.split()[1], 16)
            known = min(_number(last) + 1, len(_CAPABILITIES)) if last.strip() else len(_CAPABILITIES)
            return tuple(f"CAP_{name}" for number, name in enumerate(_CAPABILITIES[:known]) if not bits >> number & 1)
    return ()


def processes(name: str, *, root: Path = Path("/")) -> list[int]:
    """The ids of the running processes of that name that can be seen from here."""
    return sorted(
        pid
        for folder in (root / "proc").glob("[0-9]*")
        if read(folder / "comm").strip() == name and runs(pid := int(folder.name), root=root)
    )


def runs(pid: int, *, root: Path = Path("/")) -> bool:
    """Whether that process has not ended yet, whatever its name is."""
    stat = read(root / "proc" / str(pid) / "stat")
    # One that has ended and that nobody has asked for its result (state Z) still stands there, with its name.
    return bool(stat) and ") Z " not in stat


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup(root: Path) -> int:
    if (root / "sys/fs/cgroup/cgroup.controllers").exists():
        return 2
    return 1 if (root / "sys/fs/cgroup/memory").is_dir() else 0


def _memory_limit(root: Path) -> int:
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        text = read(root / "sys/fs/cgroup" / file).strip()
        # Version 1 says "no limit" by a number near 2**63.
        if text.isdigit() and int(text) < 1 << 60:
            return int(text)
    return 0


def _darwin_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


def _routes(table: str) -> tuple[ipaddress.IPv4Network, ...]:
    found: list[ipaddress.IPv4Network] = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[1] == "00000000":
            continue
        address, mask = (struct.pack("=L", int(fields[column], 16)) for column in (1, 7))
        found.append(ipaddress.IPv4Network((address, str(ipaddress.IPv4Address(mask))), strict=False))
    return tuple(dict.fromkeys(found))


def _pairs(text: str, separator: str) -> Mapping[str, str]:
    lines = (line.partition(separator) for line in text.splitlines())
    return {key.strip(): value.strip().strip("\"'") for key, found, value in lines if found}


def _kilobytes(text: str) -> int:
    return _number(text.removesuffix("kB")) * 1024


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else 0


def read(path: Path) -> str:
    """The text of a file; empty when it is not there on this system, or not ours to read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
