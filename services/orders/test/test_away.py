"""The database goes and comes back: a restart, a cut connection, a server that stands still. None of it needs a restart here."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool.base import AttemptWithBackoff
from starlette.testclient import TestClient

import database
import main
from chassis import ConfigError, Identity
from database import VARIABLE
from orders.test.conftest import Place, Start, metric
from orders.test.relay import Relay

# Seconds until a request is answered at the latest: what it may wait, and much more than a slow machine needs beside.
AT_MOST = 6.0

END_OTHERS = """
SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'orders test' AND pid <> pg_backend_pid()
"""

Answer = Any


def in_time(client: TestClient, place: Place, key: str | None = None) -> Answer:
    """The answer to an order; one that hangs fails the test, and ends when the relay does."""
    answers = SimpleQueue[Answer]()
    threading.Thread(target=lambda: answers.put(place(client, key)), daemon=True).start()
    try:
        return answers.get(timeout=AT_MOST)
    except Empty:
        pytest.fail(f"no answer within {AT_MOST:g} s")


def turned_away(answer: Answer) -> bool:
    problem = answer.headers["content-type"] == "application/problem+json" and "the database" in answer.json()["detail"]
    return problem and (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def until(client: TestClient, place: Place, key: str | None = None) -> Answer:
    """The first answer other than 503; a replica has a minute to heal."""
    key = key or secrets.token_hex(16)
    deadline = time.monotonic() + 60
    while (answer := place(client, key)).status_code == 503:
        assert time.monotonic() < deadline, answer.text
    return answer


def ready(client: TestClient) -> None:
    """Return once the replica is ready: its question about the database has a connection that heals apart."""
    deadline = time.monotonic() + 60
    while (answer := client.get("/readyz")).status_code == 503:
        assert time.monotonic() < deadline, answer.text
    assert answer.status_code == 200


def test_a_cut_connection_is_a_503_with_a_reason_and_heals(start: Start, by_relay: str, relay: Relay, place: Place) -> None:
    shop = start(by_relay, database_seconds=0.5)
    assert until(shop, place).status_code == 201
    relay.cut()
    for _ in range(3):
        assert turned_away(in_time(shop, place))
        assert shop.get("/orders/0000-0000-0000-0000").status_code == 503
        assert shop.get("/orders?idempotency_key=key-of-ada").status_code == 503
    assert shop.get("/healthz").status_code == 200
    unready = shop.get("/readyz")
    assert (unready.status_code, unready.json()["detail"].startswith("postgresql: ")) == (503, True)
    relay.mend()
    assert until(shop, place).status_code == 201
    ready(shop)


def test_it_is_back_soon_however_long_the_database_was_away(
    start: Start, by_relay: str, relay: Relay, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pool waits longer after each attempt: here as long from the first one as otherwise after a night.
    monkeypatch.setattr(AttemptWithBackoff, "INITIAL_DELAY", 3600.0)
    relay.cut()
    shop = start(by_relay, database_seconds=0.5)
    for _ in range(3):
        assert turned_away(in_time(shop, place))
    assert shop.get("/readyz").status_code == 503
    relay.mend()
    assert until(shop, place).status_code == 201
    ready(shop)


def test_a_server_that_stands_still_is_not_waited_for(start: Start, by_relay: str, relay: Relay, place: Place) -> None:
    shop = start(by_relay, database_seconds=0.5, pool_size=2)
    assert until(shop, place).status_code == 201
    relay.freeze()
    for _ in range(4):  # more than there are connections
        assert turned_away(in_time(shop, place))
    assert shop.get("/readyz").status_code == 503
    assert shop.get("/healthz").status_code == 200
    relay.mend()
    assert until(shop, place).status_code == 201
    # What was given up ends when the server has said so, which may be after an answer to somebody else.
    deadline = time.monotonic() + 60
    while used := metric(shop, "database_connections_in_use"):
        assert time.monotonic() < deadline, f"{used:g} connections never came back"


def test_whoever_was_turned_away_may_ask_again_and_gets_one_order(
    start: Start, by_relay: str, relay: Relay, place: Place, sql: psycopg.Connection
) -> None:
    shop = start(by_relay, database_seconds=0.5)
    keys = [secrets.token_hex(16) for _ in range(40)]
    with ThreadPoolExecutor(4) as pool:
        orders = [pool.submit(until, shop, place, key) for key in keys]
        for breakdown in (relay.cut, relay.freeze):
            sql.execute("SELECT pg_sleep(0.2)")
            breakdown()
            in_time(shop, place, keys[0])
            relay.mend()
        answers = [order.result() for order in orders]
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert sql.execute("SELECT count(*), count(DISTINCT idempotency_key) FROM orders").fetchone() == (len(keys), len(keys))
    found = dict(sql.execute("SELECT idempotency_key, id FROM orders").fetchall())
    assert found == {key: answer.json()["id"] for key, answer in zip(keys, answers, strict=True)}


def test_a_database_that_was_restarted_is_noticed_by_nobody(shop: TestClient, place: Place, sql: psycopg.Connection) -> None:
    assert place(shop).status_code == 201
    ended = sql.execute(END_OTHERS).fetchone()
    assert ended
    assert ended[0] >= 1
    assert place(shop).status_code == 201


def test_a_key_that_somebody_else_is_writing_is_not_waited_for(
    start: Start, url: str, place: Place, sql: psycopg.Connection
) -> None:
    shop = start(url, database_seconds=0.5)
    with sql.transaction():
        sql.execute("LOCK TABLE orders")
        assert turned_away(in_time(shop, place))
    assert until(shop, place).status_code == 201


def test_a_database_without_its_tables_is_not_ready(start: Start, empty: str, place: Place) -> None:
    shop = start(empty)
    assert turned_away(place(shop))
    unready = shop.get("/readyz")
    assert (unready.status_code, 'relation "orders" does not exist' in unready.json()["detail"]) == (503, True)


def test_a_schema_that_is_too_old_is_not_ready(start: Start, url: str, place: Place, sql: psycopg.Connection) -> None:
    shop = start(url)
    assert shop.get("/readyz").status_code == 200
    sql.execute("ALTER TABLE orders DROP COLUMN request_id")
    assert shop.get("/readyz").status_code == 503
    assert turned_away(place(shop))


def test_it_starts_while_there_is_no_database(start: Start, url: str, place: Place) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        shop = start(make_conninfo(url, host="127.0.0.1", port=nobody.getsockname()[1]), database_seconds=0.5)
        assert [shop.get(path).status_code for path in ("/healthz", "/readyz", "/version")] == [200, 503, 200]
        assert turned_away(in_time(shop, place))


def test_a_crowd_is_turned_away_at_once_not_lined_up(
    start: Start, by_relay: str, relay: Relay, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MAX_WAITING", 2)
    shop = start(by_relay, database_seconds=2, pool_size=1)
    assert until(shop, place).status_code == 201
    relay.freeze()
    with ThreadPoolExecutor(6) as pool:
        answers = [asked.result() for asked in [pool.submit(place, shop) for _ in range(6)]]
    assert [turned_away(answer) for answer in answers] == [True] * 6
    assert sum("requests waiting" in answer.json()["detail"] for answer in answers) >= 1
    relay.mend()


def test_a_crowd_that_holds_every_connection_leaves_it_ready(
    start: Start, url: str, place: Place, sql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MAX_WAITING", 2)
    shop = start(url, database_seconds=30, pool_size=1)
    assert until(shop, place).status_code == 201  # from here on, its connection is there
    with ThreadPoolExecutor(3) as pool:
        with sql.transaction():
            sql.execute("LOCK TABLE orders IN SHARE MODE")  # which may be read
            placed = [pool.submit(place, shop) for _ in range(3)]
            deadline = time.monotonic() + 30
            while (metric(shop, "database_connections_in_use"), metric(shop, "database_requests_waiting")) != (1, 2):
                assert time.monotonic() < deadline
            assert turned_away(place(shop))
            assert shop.get("/readyz").status_code == 200
        assert [answer.result().status_code for answer in placed] == [201] * 3


@pytest.mark.parametrize(
    "wrong",
    ["", "  ", "mysql", "postgresql://orders:hunter2@[::1/orders", "postgresql://orders:hunter2@db:x/orders", "postgresql:///"],
)
def test_without_a_usable_address_it_does_not_start_and_keeps_the_password_to_itself(wrong: str) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL") as error:
        main.create(main.OrdersConfig(), Identity("orders", "dev"), environ={VARIABLE: wrong})
    assert "hunter2" not in str(error.value)


def test_the_sessions_settings_join_those_of_the_address(url: str) -> None:
    target = database.conninfo({VARIABLE: url}, application="orders test", options={"statement_timeout": "1234"})
    with psycopg.connect(target) as connection:
        told = [
            connection.execute(f"SHOW {name}".encode()).fetchone() for name in ("search_path", "statement_timeout", "timezone")
        ]
    assert told == [(str(conninfo_to_dict(url)["options"]).removeprefix("-c search_path="),), ("1234ms",), ("UTC",)]


def test_a_database_that_vanished_is_given_up_by_the_kernel_unless_the_address_says_otherwise() -> None:
    plain = conninfo_to_dict(database.conninfo({VARIABLE: database.EXAMPLE}, application="orders test", options={}))
    assert 0 < int(str(plain["tcp_user_timeout"])) < 10_000, "milliseconds; left to itself the kernel takes a quarter of an hour"
    told = {VARIABLE: f"{database.EXAMPLE}?tcp_user_timeout=77"}
    assert conninfo_to_dict(database.conninfo(told, application="orders test", options={}))["tcp_user_timeout"] == "77"


def test_the_gauges_tell_of_the_pool(start: Start, url: str, place: Place, sql: psycopg.Connection) -> None:
    shop = start(url, pool_size=1, database_seconds=30)
    with ThreadPoolExecutor(3) as pool:
        with sql.transaction():
            sql.execute("LOCK TABLE orders")
            placed = [pool.submit(place, shop) for _ in range(3)]
            deadline = time.monotonic() + 30
            while (metric(shop, "database_connections_in_use"), metric(shop, "database_requests_waiting")) != (1, 2):
                assert time.monotonic() < deadline
        assert [answer.result().status_code for answer in placed] == [201] * 3
    assert (metric(shop, "database_connections_in_use"), metric(shop, "database_requests_waiting")) == (0, 0)
    assert metric(shop, "database_connections_limit") == 1
