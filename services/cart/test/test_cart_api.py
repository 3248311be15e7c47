from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest
from starlette.testclient import TestClient

import main
from baskets import DONE, MAX_LINES, MAX_QUANTITY, ORDERED_WITHIN, PREFIX, REPEATED_WITHIN


def put(client: TestClient, cart: str, product: str, quantity: object) -> Any:
    return client.put(f"/carts/{cart}/lines/{product}", json={"quantity": quantity})


def add(client: TestClient, cart: str, product: str, quantity: object, *, key: str | None = None) -> Any:
    headers = {"Idempotency-Key": key or secrets.token_hex(8)}
    return client.post(f"/carts/{cart}/lines/{product}", json={"quantity": quantity}, headers=headers)


def take(client: TestClient, cart: str, key: str, **lines: int) -> Any:
    ordered = [{"product_id": product, "quantity": quantity} for product, quantity in lines.items()]
    return client.post(f"/carts/{cart}/ordered", json={"lines": ordered}, headers={"Idempotency-Key": key})


def held(client: TestClient, cart: str) -> dict[str, int]:
    return {line["product_id"]: line["quantity"] for line in client.get(f"/carts/{cart}").json()["lines"]}


def test_a_cart_that_nobody_has_used_is_empty(client: TestClient, cart: str) -> None:
    answer = client.get(f"/carts/{cart}")
    assert (answer.status_code, answer.json()) == (200, {"id": cart, "lines": [], "expires_in_seconds": 0})


def test_what_is_put_is_there_in_the_order_of_the_products(client: TestClient, cart: str, ttl: int) -> None:
    put(client, cart, "rope-8mm", 3)
    answer = put(client, cart, "mug-enamel", 1)
    wanted = [{"product_id": "mug-enamel", "quantity": 1}, {"product_id": "rope-8mm", "quantity": 3}]
    assert answer.json() == {"id": cart, "lines": wanted, "expires_in_seconds": ttl}
    assert client.get(f"/carts/{cart}").json()["lines"] == wanted


def test_what_is_added_is_added_to_what_is_there_up_to_what_a_line_may_have(client: TestClient, cart: str, ttl: int) -> None:
    put(client, cart, "rope", 2)
    answers = [add(client, cart, "mug", 3), add(client, cart, "mug", 4)]
    assert [answer.status_code for answer in answers] == [200, 200]
    wanted = [{"product_id": "mug", "quantity": 7}, {"product_id": "rope", "quantity": 2}]
    assert answers[1].json() == {"id": cart, "lines": wanted, "expires_in_seconds": ttl}
    assert answers[1].headers["cache-control"] == "no-store"
    add(client, cart, "mug", 99)
    assert held(client, cart) == {"mug": MAX_QUANTITY, "rope": 2}


def test_an_addition_that_is_sent_again_is_made_once(client: TestClient, store: Any, cart: str) -> None:
    key = secrets.token_hex(8)
    answers = [add(client, cart, "mug", 3, key=key) for _ in range(3)]
    assert [answer.json()["lines"] for answer in answers] == [[{"product_id": "mug", "quantity": 3}]] * 3
    assert 0 < store.ttl(f"{DONE}add:{key}") <= REPEATED_WITHIN


def test_what_was_ordered_leaves_the_cart_and_all_else_stays(client: TestClient, cart: str) -> None:
    for product, quantity in (("mug", 5), ("rope", 1), ("stove", 2)):
        put(client, cart, product, quantity)
    assert take(client, cart, "key-of-ada-1", mug=2, rope=3, gone=1).status_code == 204
    assert held(client, cart) == {"mug": 3, "stove": 2}


def test_one_order_is_taken_out_once(client: TestClient, store: Any, cart: str) -> None:
    put(client, cart, "mug", 5)
    key = secrets.token_hex(8)
    assert [take(client, cart, key, mug=2).status_code for _ in range(3)] == [204] * 3
    assert held(client, cart) == {"mug": 3}
    assert ORDERED_WITHIN - 60 < store.ttl(f"{DONE}take:{key}") <= ORDERED_WITHIN
    take(client, cart, secrets.token_hex(8), mug=3)
    assert not store.exists(PREFIX + cart)


@pytest.mark.parametrize("keys", [[], ["short"], ["key-of-ada-1", "key-of-ada-2"]])
def test_what_may_not_be_done_twice_needs_one_good_key(client: TestClient, cart: str, keys: list[str]) -> None:
    headers = [("Idempotency-Key", key) for key in keys]
    answers = [
        client.post(f"/carts/{cart}/lines/mug", json={"quantity": 1}, headers=headers),  # type: ignore[arg-type]
        client.post(f"/carts/{cart}/ordered", json={"lines": []}, headers=headers),  # type: ignore[arg-type]
    ]
    assert [(answer.status_code, "Idempotency-Key" in answer.json()["detail"]) for answer in answers] == [(400, True)] * 2
    assert held(client, cart) == {}


def test_no_cart_is_kept_by_anybody_in_between(client: TestClient, cart: str) -> None:
    assert client.get(f"/carts/{cart}").headers["cache-control"] == "no-store"
    assert put(client, cart, "mug", 1).headers["cache-control"] == "no-store"


def test_a_product_that_is_taken_out_is_gone_and_may_be_taken_out_again(client: TestClient, cart: str) -> None:
    put(client, cart, "mug", 1)
    answers = [client.delete(f"/carts/{cart}/lines/mug") for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2
    assert client.get(f"/carts/{cart}").json()["lines"] == []


def test_an_emptied_cart_leaves_nothing_in_the_store(client: TestClient, store: Any, cart: str) -> None:
    put(client, cart, "mug", 1)
    assert store.exists(PREFIX + cart)
    assert [client.delete(f"/carts/{cart}").status_code for _ in range(2)] == [204, 204]
    assert not store.exists(PREFIX + cart)


def test_a_full_cart_takes_no_product_more_and_all_else(client: TestClient, cart: str) -> None:
    for number in range(MAX_LINES):
        assert put(client, cart, f"p{number}", 1).status_code == 200
    refused = put(client, cart, "one-more", 1)
    assert (refused.status_code, str(MAX_LINES) in refused.json()["detail"]) == (409, True)
    assert add(client, cart, "one-more", 1).json() == {**refused.json(), "request_id": ANY}
    assert add(client, cart, "p8", 1).status_code == 200
    assert put(client, cart, "p7", 9).status_code == 200
    client.delete(f"/carts/{cart}/lines/p7")
    assert put(client, cart, "one-more", 1).status_code == 200


@pytest.mark.parametrize("quantity", [0, -1, 100, 10**30, 1.0, 1.5, "1", True, None, [1], {}])
def test_a_quantity_that_makes_no_sense_is_refused(client: TestClient, cart: str, quantity: object) -> None:
    for change in (put, add):
        answer = change(client, cart, "mug", quantity)
        assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "body.quantity")
    assert client.get(f"/carts/{cart}").json()["lines"] == []


def test_what_is_not_asked_for_is_refused(client: TestClient, cart: str) -> None:
    answer = client.put(f"/carts/{cart}/lines/mug", json={"quantity": 1, "price_cents": 1})
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "body.price_cents")


@pytest.mark.parametrize(
    "identifier", ["short", "x" * 15, "x" * 65, "x" * 16 + "%0A", "x" * 16 + ".", "x" * 16 + "%C3%A9", "*" * 16]
)
def test_an_id_that_is_none_is_refused(client: TestClient, identifier: str) -> None:
    answers = [
        client.get(f"/carts/{identifier}"),
        client.delete(f"/carts/{identifier}"),
        put(client, identifier, "mug", 1),
        add(client, identifier, "mug", 1),
        take(client, identifier, "key-of-ada-1"),
        client.delete(f"/carts/{identifier}/lines/mug"),
    ]
    assert [answer.status_code for answer in answers] == [422] * 6
    assert {answer.json()["errors"][0]["where"] for answer in answers} == {"path.cart_id"}


@pytest.mark.parametrize("product", ["Mug", "mug-", "-mug", "mug_enamel", "m%20ug", "x" * 61, "caf%C3%A9"])
def test_a_product_that_the_catalog_could_not_have_is_refused(client: TestClient, cart: str, product: str) -> None:
    for change in (put, add):
        assert change(client, cart, product, 1).json()["errors"][0]["where"] == "path.product_id"


def test_a_cart_is_forgotten_when_its_time_is_over(client: TestClient, store: Any, cart: str) -> None:
    put(client, cart, "mug", 1)
    store.pexpire(PREFIX + cart, 200)
    assert client.get(f"/carts/{cart}").json()["expires_in_seconds"] <= 1
    deadline = time.monotonic() + 10
    while client.get(f"/carts/{cart}").json()["lines"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert client.get(f"/carts/{cart}").json() == {"id": cart, "lines": [], "expires_in_seconds": 0}


def test_each_change_starts_the_time_anew_and_reading_does_not(client: TestClient, store: Any, cart: str, ttl: int) -> None:
    for product in ("mug", "rope"):
        put(client, cart, product, 1)

    def aged(act: Callable[[], object]) -> int:
        store.expire(PREFIX + cart, 60)
        act()
        return store.ttl(PREFIX + cart)

    assert aged(lambda: client.get(f"/carts/{cart}")) <= 60
    assert aged(lambda: put(client, cart, "mug", 2)) > ttl - 60
    assert aged(lambda: add(client, cart, "mug", 2)) > ttl - 60
    assert aged(lambda: take(client, cart, secrets.token_hex(8), mug=1)) > ttl - 60
    assert aged(lambda: client.delete(f"/carts/{cart}/lines/rope")) > ttl - 60
    assert aged(lambda: client.delete(f"/carts/{cart}/lines/never-there")) > ttl - 60


def test_changes_are_counted_by_kind(client: TestClient, cart: str) -> None:
    def counts() -> dict[str, float]:
        found = re.findall(r'^cart_writes_total\{operation="(\w+)"\} (\S+)$', client.get("/metrics").text, re.MULTILINE)
        return {operation: float(count) for operation, count in found}

    assert counts() == {"put": 0, "add": 0, "take": 0, "remove": 0, "clear": 0}
    put(client, cart, "mug", 1)
    put(client, cart, "mug", 0)  # refused
    add(client, cart, "mug", 1)
    take(client, cart, secrets.token_hex(8), mug=1)
    client.delete(f"/carts/{cart}/lines/mug")
    client.delete(f"/carts/{cart}")
    assert counts() == {"put": 1, "add": 1, "take": 1, "remove": 1, "clear": 1}


@pytest.mark.parametrize("url", ["", "valkey:6379", "http://:secret@valkey:6379/0", "redis://:secret@valkey:none/0"])
def test_without_a_url_it_does_not_start_and_says_what_to_set(url: str) -> None:
    with pytest.raises(main.ConfigError, match="VALKEY_URL") as caught:
        main.create(main.CartConfig(), main.Identity("cart", "dev"), environ={"VALKEY_URL": url})
    assert "secret" not in str(caught.value)
