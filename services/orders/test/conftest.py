"""Orders through ASGI, on a real PostgreSQL: each test has a schema of its own in the database that DATABASE_URL names."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from starlette.testclient import TestClient

import main
import migrate
from chassis import Identity
from database import VARIABLE, conninfo
from orders.test.relay import Relay

# A machine with much else to do is slow, not wrong. A test's schema is meant to outlive its examples.
QUIET = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
settings.register_profile("patient", deadline=None, derandomize=True, max_examples=60, suppress_health_check=QUIET)
settings.load_profile("patient")

MUG = {"product_id": "mug-enamel", "name": "Enamel mug", "unit_price_cents": 1290, "quantity": 2}

LEFT_OPEN = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'orders test'
"""

Start = Callable[..., TestClient]
Place = Callable[..., Any]


@pytest.fixture(scope="session")
def database_url() -> str:
    """Where the database of the tests is."""
    if url := os.environ.get(VARIABLE):
        return url
    pytest.fail(
        f"{VARIABLE} is not set: these tests need an empty database of a real PostgreSQL, owned by the role they log in as"
    )


@pytest.fixture
def empty(database_url: str) -> Generator[str]:
    """How to connect to a schema with nothing in it."""
    schema = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
        yield make_conninfo(database_url, options=f"-c search_path={schema}")
        # What a test left open would block the end of it.
        connection.execute(LEFT_OPEN)
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


@pytest.fixture
def url(empty: str) -> str:
    """How to connect to a schema that this version's migrations made."""
    migrate.migrate(migrate.target_of({VARIABLE: empty}), wait_seconds=30)
    return empty


@pytest.fixture
def sql(empty: str) -> Generator[psycopg.Connection]:
    """A connection of the test's own, each statement a transaction."""
    target = conninfo({VARIABLE: empty}, application="orders test", options={})
    with psycopg.connect(target, autocommit=True) as connection:
        yield connection


@pytest.fixture
def start() -> Generator[Start]:
    """Starts a replica on a database; takes keys of its configuration too."""
    with ExitStack() as running:

        def start(target: str, **config: Any) -> TestClient:
            told = main.OrdersConfig.model_validate({"database_seconds": 30, **config})
            service = main.create(told, Identity("orders", "dev", "test"), environ={VARIABLE: target})
            return running.enter_context(TestClient(service.asgi, raise_server_exceptions=False))

        yield start


@pytest.fixture
def shop(start: Start, url: str) -> TestClient:
    """A client of one replica."""
    return start(url)


@pytest.fixture
def place() -> Place:
    """Places an order; takes the replica, the key, and what differs from two enamel mugs for Ada."""

    def place(client: TestClient, key: str | None = None, **other: object) -> Any:
        body = {"customer": {"name": "Ada"}, "lines": [MUG], **other}
        return client.post("/orders", json=body, headers={"Idempotency-Key": key or secrets.token_hex(16)})

    return place


@pytest.fixture
def relay(url: str) -> Generator[Relay]:
    """A way to the database that can be cut."""
    told = conninfo_to_dict(url)
    made = Relay(str(told["host"]), int(told.get("port") or 5432))
    yield made
    made.close()


@pytest.fixture
def by_relay(url: str, relay: Relay) -> str:
    """How to connect through the relay."""
    return make_conninfo(url, host="127.0.0.1", port=relay.port)


def metric(client: TestClient, name: str) -> float:
    """What a metric of the replica says."""
    lines: Mapping[str, str] = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    return float(lines[name])
