"""The pipeline's checks of a branch's code, in the real container: they judge it, and it reaches nothing."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slipway import engine, pull, recipes, settings, testing
from slipway.progress import Phase, Progress
from slipway.records import Source
from slipway.settings import ROOT, Settings
from slipway.steps import needed, run_steps
from slipway.testing import ChecksFailed

# What a malicious test would try first. It passes when none of it succeeds.
SPY = '''
"""Looks around."""

import os
import socket
from pathlib import Path

import pytest

HOST_PORT = {port}


def test_there_is_no_credential_in_the_environment() -> None:
    known = {{"PATH", "HOME", "HOSTNAME", "LANG", "PWD", "SHLVL", "OLDPWD", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "_"}}
    known |= {{"PYTHONUNBUFFERED", "GPG_KEY", "PYTHON_VERSION", "PYTHON_SHA256"}}  # upstream's Python image says where it is from
    assert {{name for name in os.environ if not name.startswith("PYTEST_")}} <= known


def test_there_is_no_socket_of_an_engine_and_no_file_of_the_host() -> None:
    for name in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/etc/slipway"):
        assert not Path(name).exists()
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = {{line.split()[4] for line in lines}}
    ours = ("/", "/src", "/tmp", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts")
    assert [place for place in places if place not in ours and not place.startswith(("/proc", "/dev", "/sys"))] == []


def test_the_only_network_is_its_own_loopback() -> None:
    # Some kernels give every network the idle ends of their tunnels.
    tunnels = {{"tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6gre0"}}
    assert {{name for _, name in socket.if_nameindex()}} - tunnels == {{"lo"}}
    assert len(Path("/proc/net/route").read_text().splitlines()) == 1
    for host in ("127.0.0.1", "192.0.2.1", "172.17.0.1"):
        with pytest.raises(OSError), socket.create_connection((host, HOST_PORT), timeout=0.5):
            pass
    with pytest.raises(OSError):
        socket.getaddrinfo("host.docker.internal", 80)


def test_it_is_nobody_and_may_become_nobody_else() -> None:
    said = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\\t" in line)
    assert (os.getuid(), os.getgid()) == (10001, 10001)
    assert {{said[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}} == {{""}}
    assert said["NoNewPrivs"] == "1"
    with pytest.raises(OSError):
        os.setuid(0)


@pytest.mark.parametrize("name", ["/x", "/src/x", "/src/services/spy/main.py", "/usr/x", "/venv/x", "/etc/passwd", "/root/x"])
def test_it_writes_nowhere_but_in_its_own_memory(name: str) -> None:
    with pytest.raises(OSError):
        Path(name).open("a")
    Path("/tmp/mine").write_text("mine")
'''


@pytest.fixture
def access(tmp_path: Path) -> Any:
    """An engine with the image that checks are made of, and a state folder of the test's own."""
    real = settings.load()
    found = engine.connect(real)
    plan = recipes.plan(real, found, pull.choose("auto", real).source)
    run_steps(needed(plan.steps, ["image python-build"]), Progress())
    return SimpleNamespace(settings=Settings(ROOT, tmp_path / "home", "test-checks"), engine=found, plan=plan)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """The checkout's services with one more."""
    services = tmp_path / "source" / "services"
    shutil.copytree(ROOT / "services" / "chassis", services / "chassis", ignore=shutil.ignore_patterns("test", "__pycache__"))
    spy = services / "spy"
    (spy / "test").mkdir(parents=True)
    (spy / "main.py").write_text('"""A service."""\n')
    for name in ("pytest.ini", "test-requirements.txt"):
        shutil.copyfile(ROOT / "services" / name, services / name)
    shutil.copyfile(ROOT / "services" / "chassis" / "requirements.txt", spy / "requirements.txt")
    return Source(tmp_path / "source", "c0ffee")


def write_test(source: Source, text: str) -> None:
    (source.folder / "services" / "spy" / "test" / "test_spy.py").write_text(text)


def test_code_of_a_branch_finds_no_credential_no_socket_and_no_network(access: Any, source: Source) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        write_test(source, SPY.format(port=listening.getsockname()[1]))
        phase = Phase("spy")
        testing.check(access, source, "spy", phase, parts=[testing.TEST])
    assert phase.detail == "11 passed"
    assert access.engine.labelled(testing.LABEL, "test-checks") == []


def test_a_test_that_fails_and_a_style_that_is_wrong_are_both_told(access: Any, source: Source) -> None:
    write_test(source, '"""A test."""\n\n\ndef test_it() -> None:\n    assert 1 == 2\n')
    with pytest.raises(ChecksFailed, match=r"(?s)tests of spy failed.*test_it.*1 failed"):
        testing.check(access, source, "spy", Phase("spy"))
    write_test(source, '"""A test."""\nimport os\n\n\ndef test_it() -> None:\n    assert True\n')
    with pytest.raises(ChecksFailed, match=r"(?s)style of spy is not right.*test_spy\.py.*F401"):
        testing.check(access, source, "spy", Phase("spy"))
