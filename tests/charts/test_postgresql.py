from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from slipway.helm import ChartError
from tests.charts.rendering import Object, only, render_shape


def postgresql(**changes: Any) -> list[Object]:
    return render_shape("postgresql", "default", **changes)


def pod(**changes: Any) -> Object:
    return only(postgresql(**changes), "StatefulSet")["spec"]["template"]


def files(**changes: Any) -> dict[str, str]:
    return only(postgresql(**changes), "ConfigMap")["data"]


def settings(**changes: Any) -> dict[str, str]:
    """The settings as the server takes them: of two of the same name, the last."""
    lines = [line for line in files(**changes)["postgresql.conf"].splitlines() if not line.startswith("#")]
    pairs = [line.split(" = ", 1) for line in lines]
    return {name: value.strip("'") for name, value in pairs}


def test_a_commit_is_on_the_disk_before_its_client_hears_of_it() -> None:
    assert {settings()[name] for name in ("fsync", "full_page_writes", "synchronous_commit")} == {"on"}


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
def test_durability_cannot_be_switched_off(name: str) -> None:
    with pytest.raises(ChartError, match=f"settings.{name} cannot be set: it stays on, so that an accepted order is never lost"):
        postgresql(settings={name: "off"})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"databases": ["postgres"]}, 'databases has "postgres", which is PostgreSQL\'s own: choose another name'),
        ({"databases": ["pg_orders"]}, 'databases has "pg_orders", which is PostgreSQL\'s own'),
        ({"databases": ["a'; DROP"]}, "at '/databases/0'"),
        ({"databases": ["orders", "orders"]}, "at '/databases': items at 0 and 1 are equal"),
        ({"settings": {"port": 5433}}, "settings.port cannot be set: where the server listens and where its files lie"),
        ({"settings": {"include": "/tmp/x"}}, "settings.include cannot be set"),
        ({"settings": {"log_line_prefix": "x\nfsync = off"}}, "at '/settings/log_line_prefix'"),
        ({"settings": {"FSYNC": "off"}}, "'FSYNC'"),
        ({"settings": {"work_mem": ["1MB"]}}, "at '/settings/work_mem'"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ChartError) as error:
        postgresql(**changes)
    assert sentence in str(error.value)


def test_settings_are_added_one_by_one() -> None:
    assert settings(settings={"max_connections": 100})["max_connections"] == "100"
    assert settings(settings={"max_connections": 100})["shared_buffers"] == settings()["shared_buffers"]
    assert settings(settings={"log_connections": True})["log_connections"] == "true"
    assert settings(settings={"max_wal_size": 1048576})["max_wal_size"] == "1048576"


def test_a_setting_may_hold_quotes() -> None:
    assert "search_path = '''$user'', public'" in files(settings={"search_path": "'$user', public"})["postgresql.conf"]


def test_over_the_network_everybody_needs_a_password() -> None:
    rules = [line.split() for line in files()["pg_hba.conf"].splitlines() if not line.startswith("#")]
    assert rules == [["local", "all", "postgres", "peer"], ["host", "all", "all", "all", "scram-sha-256"]]


def test_only_the_preparation_sees_the_passwords() -> None:
    spec = pod()["spec"]
    (prepare,), (server,) = spec["initContainers"], spec["containers"]
    assert "passwords" in {mount["name"] for mount in prepare["volumeMounts"]}
    assert "passwords" not in {mount["name"] for mount in server["volumeMounts"]}


def test_each_database_has_an_owner_with_a_password_of_its_own_and_no_rights_beyond() -> None:
    (volume,) = [volume["secret"] for volume in pod(databases=["orders", "returns"])["spec"]["volumes"] if "secret" in volume]
    assert [item["key"] for item in volume["items"]] == ["postgres", "orders", "returns"]
    sql = files(databases=["orders", "returns"])["prepare.sql"]
    for name in ("orders", "returns"):
        assert f'CREATE DATABASE "{name}" OWNER "{name}"' in sql
        assert f'ALTER ROLE "{name}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD' in sql
        assert f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC;' in sql


def test_one_more_database_replaces_the_pod_which_makes_it() -> None:
    key = "slipway.dev/config-sha256"
    assert pod(databases=["orders", "returns"])["metadata"]["annotations"][key] != pod()["metadata"]["annotations"][key]


def test_the_data_folder_lies_inside_the_volume_and_is_the_same_for_both_containers() -> None:
    spec = pod()["spec"]
    for each in [*spec["initContainers"], *spec["containers"]]:
        (folder,) = [variable["value"] for variable in each["env"] if variable["name"] == "PGDATA"]
        (volume,) = [mount["mountPath"] for mount in each["volumeMounts"] if mount["name"] == "data"]
        assert Path(folder).parent == Path(volume)


def test_it_has_time_to_write_what_is_in_memory() -> None:
    assert pod()["spec"]["terminationGracePeriodSeconds"] >= 60


# The preparation itself, with programs that only write down how they were called


def prepare(folder: Path, *, failing: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script on a data folder; the program `failing` fails once it has begun."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    passwords = folder / "passwords"
    passwords.mkdir(exist_ok=True)
    if not list(passwords.iterdir()):
        (passwords / "postgres").write_text("secret")
    made = (
        'for word; do case $word in --pgdata=*) mkdir "${word#--pgdata=}" || exit; touch "${word#--pgdata=}/half";; esac; done; '
    )
    for name, does in {"initdb": made, "pg_ctl": "", "psql": ""}.items():
        end = "exit 1" if name == failing else ""
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"$CALLS"\n{does}{end}\n')
        (programs / name).chmod(0o755)
    (folder / "data").mkdir(exist_ok=True)
    script = files()["prepare.sh"].replace("/etc/postgresql-passwords", str(passwords))
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PGDATA": str(folder / "data" / "pgdata"),
        "CALLS": str(folder / "calls"),
    }
    return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=30, check=False)


def calls(folder: Path) -> list[str]:
    """What was called: the program and its first argument."""
    found = [" ".join(line.split()[:2]) for line in (folder / "calls").read_text().splitlines()]
    (folder / "calls").unlink()
    return found


def test_an_empty_volume_becomes_a_cluster_and_the_next_start_leaves_it_alone(tmp_path: Path) -> None:
    assert prepare(tmp_path).returncode == 0
    folder = f"--pgdata={tmp_path}/data/pgdata"
    assert calls(tmp_path) == [f"initdb {folder}.new", "pg_ctl start", "psql --no-psqlrc", "pg_ctl stop"]
    assert prepare(tmp_path).returncode == 0
    assert calls(tmp_path) == ["pg_ctl start", "psql --no-psqlrc", "pg_ctl stop"]
    assert (tmp_path / "data" / "pgdata").stat().st_mode & 0o777 == 0o700


def test_an_interrupted_first_start_is_begun_again(tmp_path: Path) -> None:
    assert prepare(tmp_path, failing="initdb").returncode != 0
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["pgdata.new"]
    assert prepare(tmp_path).returncode == 0
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["pgdata"]


def test_a_statement_that_fails_stops_the_start_and_the_server(tmp_path: Path) -> None:
    assert prepare(tmp_path, failing="psql").returncode == 1
    assert calls(tmp_path)[-1] == "pg_ctl stop"


def test_a_server_that_does_not_start_stops_the_start(tmp_path: Path) -> None:
    assert prepare(tmp_path, failing="pg_ctl").returncode == 1
    assert "psql --no-psqlrc" not in calls(tmp_path)


def test_an_empty_password_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "passwords").mkdir()
    (tmp_path / "passwords" / "orders").touch()
    ended = prepare(tmp_path)
    assert ended.returncode == 1
    assert ended.stderr == "The Secret's key orders is empty: put a password there.\n"
    assert not list((tmp_path / "data").iterdir())
