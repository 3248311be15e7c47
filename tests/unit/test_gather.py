"""What the Python image takes out of a Debian: cluster/images/python/gather.py runs in a container, its lists are read here."""

from __future__ import annotations

import importlib.util
from fnmatch import fnmatch
from types import ModuleType

import pytest

from slipway.settings import ROOT


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gather", ROOT / "cluster" / "images" / "python" / "gather.py")
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


gather = _load()


def left_out(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in gather.LEFT_OUT)


@pytest.mark.parametrize("package", ["libc6", "libstdc++6", "python3", "python3.13-minimal", "libpython3.13-stdlib", "tzdata"])
def test_python_and_what_wheels_take_for_granted_is_taken(package: str) -> None:
    assert gather.PACKAGES.fullmatch(package)


@pytest.mark.parametrize(
    "package", ["apt", "dpkg", "bash", "dash", "perl-base", "python3-pip", "python3.13-venv", "openssl", "gcc-14-base"]
)
def test_what_installs_builds_or_interprets_is_not(package: str) -> None:
    assert not gather.PACKAGES.fullmatch(package)


@pytest.mark.parametrize(
    "path",
    [
        "/usr/local/bin/pip3.13",
        "/usr/local/bin/idle3",
        "/usr/local/bin/pydoc3.13",
        "/usr/local/bin/python3.13-config",
        "/usr/local/lib/python3.13/site-packages/pip/__init__.py",
        "/usr/local/lib/python3.13/ensurepip/_bundled/pip-25.0-py3-none-any.whl",
        "/usr/local/lib/python3.13/config-3.13-x86_64-linux-gnu/libpython3.13.a",
        "/usr/local/lib/python3.13/test/test_os.py",
        "/usr/bin/py3compile",
        "/usr/bin/pygettext3",
        "/usr/sbin/update-ca-certificates",
        "/usr/lib/python3.13/__pycache__/os.cpython-313.pyc",
    ],
)
def test_tools_of_programmers_stay_behind_in_debians_layout_and_in_upstreams(path: str) -> None:
    assert left_out(path)


@pytest.mark.parametrize(
    "path",
    [
        "/usr/bin/python3",
        "/usr/local/bin/python3.13",
        "/usr/local/lib/libpython3.13.so.1.0",
        "/usr/local/lib/python3.13/unittest/case.py",
        "/usr/local/lib/python3.13/site-packages",
        "/usr/local/lib/python3.13/lib-dynload/_ssl.cpython-313-x86_64-linux-gnu.so",
        "/usr/lib/x86_64-linux-gnu/libssl.so.3",
        "/usr/share/zoneinfo/Europe/Berlin",
        "/usr/lib/ssl/certs",
        "/tmp",
    ],
)
def test_python_itself_comes_along_in_both_layouts(path: str) -> None:
    assert not left_out(path)
