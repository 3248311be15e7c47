from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from slipway.helm import ChartError
from tests.charts.rendering import Object, only, render_shape


def valkey(**changes: Any) -> list[Object]:
    return render_shape("valkey", "default", **changes)


def files(**changes: Any) -> dict[str, str]:
    return only(valkey(**changes), "ConfigMap")["data"]


def settings(**changes: Any) -> dict[str, str]:
    lines = [line for line in files(**changes)["valkey.conf"].splitlines() if not line.startswith("#")]
    return dict(line.split(" ", 1) for line in lines)


def test_a_restart_keeps_what_was_written() -> None:
    assert settings()["appendonly"] == "yes"
    assert settings()["appendfsync"] == "everysec"
    (container,) = only(valkey(), "StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert settings()["dir"] in {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "data"}


def test_a_full_server_forgets_what_expires_first_instead_of_refusing_everybody() -> None:
    assert settings()["maxmemory-policy"] == "volatile-ttl"
    assert settings(maxmemoryPolicy="noeviction")["maxmemory-policy"] == "noeviction"


def test_there_is_memory_left_to_rewrite_the_log() -> None:
    (container,) = only(valkey(), "StatefulSet")["spec"]["template"]["spec"]["containers"]
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert 2 * int(settings()["maxmemory"].removesuffix("mb")) < limit


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"maxmemory": "0"}, "at '/maxmemory': '0' does not match pattern"),
        ({"maxmemory": "48mb\nappendonly no"}, "at '/maxmemory'"),
        ({"maxmemory": "65mb"}, "resources.limits.memory is 128Mi and maxmemory 65mb: the limit must be at least twice that"),
        ({"resources": {"limits": {"memory": "95Mi"}}}, "resources.limits.memory is 95Mi and maxmemory 48mb"),
        ({"resources": {"limits": {"memory": "100M"}}}, "resources.limits.memory is 100M and maxmemory 48mb"),
        ({"resources": {"limits": {"memory": 100663295}}}, "and maxmemory 48mb"),
        ({"maxmemory": "1gb"}, "resources.limits.memory is 128Mi and maxmemory 1gb"),
        # Keys without an expiry would be lost too, and nobody would hear of it.
        ({"maxmemoryPolicy": "allkeys-lru"}, "at '/maxmemoryPolicy': value must be one of 'noeviction', 'volatile-lfu'"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ChartError) as error:
        valkey(**changes)
    assert complaint in str(error.value)


# The start itself, with a server that only shows what it is told


def start(folder: Path, password: str) -> subprocess.CompletedProcess[str]:
    server = folder / "valkey-server"
    server.write_text('#!/bin/sh\necho "arguments: $*"\nenv\ncat\n')
    server.chmod(0o755)
    (folder / "password").write_text(password)
    (folder / "valkey.conf").write_text(files()["valkey.conf"])
    script = files()["start.sh"].replace("/etc/valkey-password", str(folder)).replace("/etc/valkey/", f"{folder}/")
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("password", ["simple", "with 'quotes\" $(and) \\more %s #", "with its newline\n"])
def test_the_server_is_told_a_hash_of_any_password_and_never_the_password(tmp_path: Path, password: str) -> None:
    told = start(tmp_path, password)
    expected = hashlib.sha256(password.removesuffix("\n").encode()).hexdigest()
    assert told.stdout.splitlines()[0] == "arguments: -"
    assert re.findall("^user default on .*#([0-9a-f]{64}) ", told.stdout, re.MULTILINE) == [expected]
    assert password.strip() not in told.stdout
    assert settings()["maxmemory-policy"] in told.stdout


def test_a_client_cannot_change_the_server(tmp_path: Path) -> None:
    (user,) = [line for line in start(tmp_path, "x").stdout.splitlines() if line.startswith("user ")]
    assert "+@all -@admin -@dangerous +info" in user


def test_an_empty_password_stops_the_start(tmp_path: Path) -> None:
    told = start(tmp_path, "")
    assert told.returncode == 1
    assert told.stderr == "The Secret's key password is empty: put a password there.\n"
    assert "arguments" not in told.stdout


@pytest.mark.parametrize("memory", ["96Mi", "101M", 100663296, "0.1Gi", "1Ti", None])
def test_a_limit_that_holds_twice_the_data_is_taken_and_so_is_none(memory: object) -> None:
    (container,) = only(valkey(resources={"limits": {"memory": memory}}), "StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"].get("memory") == memory
