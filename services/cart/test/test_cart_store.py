"""What callers and probes are told while Valkey is away, or there and of no use."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from baskets import CONNECTIONS, Baskets, StoreAway

Serve = Callable[[str], TestClient]


@contextlib.contextmanager
def refusing() -> Generator[str]:
    """Nobody listens at this address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


@contextlib.contextmanager
def silent() -> Generator[str]:
    """Connections are made at this address, and nobody ever answers, as when the server stands still."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"redis://:secret@127.0.0.1:{listener.getsockname()[1]}/0"


@pytest.fixture(params=[refusing, silent])
def useless(request: pytest.FixtureRequest, serve: Serve) -> Generator[TestClient]:
    """A client of a cart service whose store is away."""
    with request.param() as url:
        yield serve(url)


def requests(client: TestClient, cart: str) -> list[Any]:
    return [
        client.get(f"/carts/{cart}"),
        client.put(f"/carts/{cart}/lines/mug", json={"quantity": 1}),
        client.post(f"/carts/{cart}/lines/mug", json={"quantity": 1}, headers={"Idempotency-Key": cart}),
        client.post(f"/carts/{cart}/ordered", json={"lines": []}, headers={"Idempotency-Key": cart}),
        client.delete(f"/carts/{cart}/lines/mug"),
        client.delete(f"/carts/{cart}"),
    ]


def test_without_its_store_it_asks_callers_to_come_back(useless: TestClient, cart: str) -> None:
    for answer in requests(useless, cart):
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert int(answer.headers["retry-after"]) >= 1
        assert "secret" not in answer.text


def test_without_its_store_it_is_alive_and_not_ready(useless: TestClient) -> None:
    assert useless.get("/healthz").status_code == 200
    answer = useless.get("/readyz")
    assert (answer.status_code, answer.json()["detail"].startswith("valkey: StoreAway: ")) == (503, True)
    assert "secret" not in answer.text


def test_what_the_store_did_not_do_is_counted(useless: TestClient, cart: str) -> None:
    requests(useless, cart)
    text = useless.get("/metrics").text
    for operation in ("get", "put", "add", "take", "remove", "clear"):
        assert f'cart_store_failures_total{{operation="{operation}"}} 1.0' in text
        assert f'cart_store_duration_seconds_count{{operation="{operation}"}} 1.0' in text
    assert 'cart_writes_total{operation="put"} 0.0' in text


def test_callers_do_not_queue_up_behind_a_store_that_stands_still(ttl: int, cart: str) -> None:
    async def ask_all(url: str) -> list[str]:
        baskets = Baskets(url, ttl=ttl, registry=CollectorRegistry())
        try:
            answers = await asyncio.gather(*(baskets.get(cart) for _ in range(CONNECTIONS + 30)), return_exceptions=True)
            assert {type(answer) for answer in answers} == {StoreAway}
            return [str(answer) for answer in answers]
        finally:
            await baskets.aclose()

    with silent() as url:
        reasons = asyncio.run(ask_all(url))
    assert len([reason for reason in reasons if "No connection available" in reason]) == 30


def test_a_crowd_that_holds_every_connection_leaves_it_ready(
    url: str, store: Any, cart: str, ttl: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("baskets.ANSWER", 60.0)

    async def crowd() -> None:
        baskets = Baskets(url, ttl=ttl, registry=CollectorRegistry())
        store.client_pause(60_000, all=False)  # whoever writes waits; the server answers all else
        try:
            puts = [asyncio.create_task(baskets.put(cart, "mug", 1)) for _ in range(CONNECTIONS + 1)]
            done, held = await asyncio.wait(puts, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            assert [type(put.exception()) for put in done] == [StoreAway]  # there was no connection for it
            await baskets.ping()
            store.client_unpause()
            assert len(await asyncio.gather(*held)) == CONNECTIONS
        finally:
            store.client_unpause()
            await baskets.aclose()

    asyncio.run(crowd())


def test_a_password_that_is_refused_is_told_to_whoever_runs_the_service(serve: Serve, url: str) -> None:
    parts = urlsplit(url)
    client = serve(f"redis://:another-secret@{parts.hostname}:{parts.port}/0")
    answer = client.get("/readyz")
    assert (answer.status_code, "it refuses the password" in answer.text) == (503, True)
    assert "another-secret" not in answer.text


def test_a_store_that_is_full_still_shows_what_it_holds(client: TestClient, store: Any, cart: str) -> None:
    client.put(f"/carts/{cart}/lines/mug", json={"quantity": 2})
    limit = store.config_get("maxmemory")["maxmemory"]
    store.config_set("maxmemory", 1)
    try:
        assert client.put(f"/carts/{cart}/lines/rope", json={"quantity": 1}).status_code == 503
        assert client.get(f"/carts/{cart}").json()["lines"] == [{"product_id": "mug", "quantity": 2}]
        assert client.delete(f"/carts/{cart}/lines/mug").status_code == 204
    finally:
        store.config_set("maxmemory", limit)


def test_a_key_that_is_no_cart_is_a_bug_and_no_outage(client: TestClient, store: Any, cart: str) -> None:
    store.set(f"cart:{cart}", "not a hash", ex=60)
    assert client.get(f"/carts/{cart}").status_code == 500
