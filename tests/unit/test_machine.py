from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from slipway import machine

FULL = "Name:\tx\nCapBnd:\t000001ffffffffff\n"
REDUCED = "Name:\tx\nCapBnd:\t000001fffeffffff\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_a_full_bounding_set_lacks_nothing() -> None:
    assert machine.missing_capabilities(FULL, "40") == ()


def test_a_reduced_bounding_set_names_what_it_lacks() -> None:
    assert machine.missing_capabilities(REDUCED, "40") == ("CAP_SYS_RESOURCE",)


def test_capabilities_that_the_kernel_does_not_know_are_not_missing() -> None:
    assert machine.missing_capabilities("CapBnd:\t0000003fffffffff\n", "37\n") == ()


def test_a_system_without_that_file_lacks_nothing() -> None:
    assert machine.missing_capabilities("") == ()


def test_the_files_of_the_system_are_read(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "etc/os-release": 'PRETTY_NAME="Ubuntu 24.04"\nID=ubuntu\nID_LIKE=debian\n',
            "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable:    5000000 kB\n",
            "proc/self/status": REDUCED,
            "proc/sys/kernel/cap_last_cap": "40\n",
            "proc/sys/fs/inotify/max_user_instances": "128\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
            "proc/net/route": "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
            "eth0 00000000 010200C0 3 0 0 0 00000000 0 0 0\ntun0 0000000A 0 1 0 0 0 000000FF 0 0 0\n",
        },
    )
    seen = machine.look(tmp_path)
    assert seen.debian and seen.name == "Ubuntu 24.04"
    assert (seen.memory, seen.memory_available) == (8000000 * 1024, 5000000 * 1024)
    assert seen.missing_capabilities == ("CAP_SYS_RESOURCE",)
    assert (seen.cgroup, seen.inotify_instances, seen.inotify_watches) == (2, 128, 0)
    assert seen.routes == (ipaddress.IPv4Network("10.0.0.0/8"),)
    assert not seen.systemd


def test_the_memory_of_a_container_is_its_limit(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\n", "sys/fs/cgroup/memory.max": "1000000\n"})
    seen = machine.look(tmp_path)
    assert (seen.memory, seen.memory_available) == (1000000, 1000000)


def test_no_limit_is_no_limit_in_either_spelling(tmp_path: Path) -> None:
    files = {"proc/meminfo": "MemTotal: 1000 kB\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
    assert machine.look(write(tmp_path, files)).memory == 1024000
    assert machine.look(write(tmp_path, {"sys/fs/cgroup/memory.max": "max\n"})).memory == 1024000


def test_control_groups_of_version_1_are_told_from_none(tmp_path: Path) -> None:
    assert machine.look(tmp_path).cgroup == 0
    (tmp_path / "sys/fs/cgroup/memory").mkdir(parents=True)
    assert machine.look(tmp_path).cgroup == 1


def test_a_process_that_has_ended_but_was_not_waited_for_does_not_run(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/7/comm": "dockerd\n",
            "proc/7/stat": "7 (dockerd) S 1",
            "proc/8/comm": "dockerd\n",
            "proc/8/stat": "8 (dockerd) Z 1",
            "proc/9/comm": "other\n",
            "proc/9/stat": "9 (other) S 1",
        },
    )
    assert machine.processes("dockerd", root=tmp_path) == [7]
    assert [machine.runs(pid, root=tmp_path) for pid in (7, 8, 9, 10)] == [True, False, True, False]


def test_room_is_asked_of_the_folder_that_exists(tmp_path: Path) -> None:
    assert machine.free_bytes(tmp_path / "not" / "yet") > 0


def test_memory_is_where_files_may_lie_when_there_is_room_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"proc/meminfo": "MemAvailable: 1024 kB\n"})
    assert machine.in_memory(1, root=tmp_path) is None
    shared = tmp_path / "dev" / "shm"
    shared.mkdir(parents=True)
    assert machine.in_memory(1 << 20, root=tmp_path) == shared
    assert machine.in_memory((1 << 20) + 1, root=tmp_path) is None
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_NOEXEC))
    assert machine.in_memory(1, root=tmp_path) is None
