"""The stores of these tests: real, as in an instance, and gone afterwards."""

from __future__ import annotations

import signal
import sys
from urllib.parse import urlsplit

import pytest

from slipway import settings, shell
from slipway.engine import Engine
from slipway.settings import ROOT
from tests.services.stores import RUN_LABEL, Stores, sweep

# A run that is killed once its store runs.
KILLED = """
import os, signal
from slipway import settings
from tests.services.stores import real_stores
with real_stores(settings.load()) as stores:
    print(stores.run, stores.valkey.kind, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def containers_of(engine: Engine, run: str) -> int:
    return len(engine.client.containers.list(all=True, filters={"label": f"{RUN_LABEL}={run}"}))


def asked(stores: Stores, query: str) -> str:
    return stores.postgresql.run("psql", "--username=postgres", "--tuples-only", "--no-align", "--command", query).strip()


def test_a_role_owns_its_database_and_nothing_more(stores: Stores) -> None:
    url = urlsplit(stores.variables("probe-postgresql")["DATABASE_URL"])
    owner = f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{url.path[1:]}'"
    assert (url.username, asked(stores, owner)) == ("probe", "probe")
    assert asked(stores, "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = 'probe'") == "f|f|f"


def test_nobody_gets_the_database_of_another(stores: Stores) -> None:
    secrets = ["probe-postgresql", "probe-valkey"] * 3
    urls = {url for secret in secrets for url in stores.variables(secret).values()}
    assert len(urls) == len(secrets)


def test_a_store_that_comes_back_has_its_port_and_its_data(stores: Stores) -> None:
    url = urlsplit(stores.variables("probe-valkey")["VALKEY_URL"])
    number = url.path[1:]
    stores.valkey.run("valkey-cli", "-n", number, "set", "kept", "1")
    stores.valkey.stop()
    stores.valkey.start()
    assert stores.valkey.run("valkey-cli", "-n", number, "get", "kept").strip() == "1"
    assert (stores.valkey.container.ports or {})["6379/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(url.port)}]


def test_a_secret_about_no_known_store_is_an_error(stores: Stores) -> None:
    with pytest.raises(KeyError, match="mongodb"):
        stores.variables("reviews-mongodb")


def test_what_a_killed_run_left_is_removed_and_what_runs_stays(stores: Stores) -> None:
    killed = shell.run([sys.executable, "-c", KILLED], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=False)
    run = killed.stdout.split()[0]
    assert (killed.code, containers_of(stores.engine, run)) == (-signal.SIGKILL, 1)
    here = stores.valkey.container
    sweep(settings.load(), stores.engine)
    assert containers_of(stores.engine, run) == 0
    here.reload()
    assert here.status == "running"
