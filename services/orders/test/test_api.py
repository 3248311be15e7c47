from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from order import MAX_CENTS, MAX_QUANTITY
from orders.test.conftest import MUG, Place, Start, metric

Json = dict[str, Any]

NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=100).filter(str.strip)
LINES: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {
        "product_id": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", fullmatch=True),
        "name": NAMES,
        "unit_price_cents": st.integers(0, MAX_CENTS),
        "quantity": st.integers(1, MAX_QUANTITY),
    }
)
DRAFTS: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {"customer": st.fixed_dictionaries({"name": NAMES}), "lines": st.lists(LINES, min_size=1, max_size=50)}
)
KEYS = st.from_regex(r"[A-Za-z0-9._:-]{8,128}", fullmatch=True)

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)


def rows(sql: psycopg.Connection, table: str = "orders") -> int:
    row = sql.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row
    return row[0]


def is_problem(answer: Any, status: int) -> bool:
    return (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json") and bool(
        answer.json()["detail"]
    )


def test_an_order_is_accepted_and_found(shop: TestClient, place: Place) -> None:
    rope = {"product_id": "rope-8mm", "name": "Rope", "unit_price_cents": 99, "quantity": 10}
    answer = place(shop, "key-of-ada", lines=[MUG, rope])
    order = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/orders/{order['id']}")
    assert {name: order[name] for name in ("status", "customer", "lines", "total_cents")} == {
        "status": "accepted",
        "customer": {"name": "Ada"},
        "lines": [MUG, rope],
        "total_cents": 2 * 1290 + 10 * 99,
    }
    assert order["created_at"].endswith("Z")
    assert shop.get(answer.headers["location"]).json() == order
    assert shop.get(f"/orders/{order['id'].lower().replace('-', '')}").json() == order
    assert shop.get("/orders", params={"idempotency_key": "key-of-ada"}).json() == order


def test_failures_are_counted_from_the_first_one(start: Start, url: str) -> None:
    for status in (500, 502, 503, 504):
        assert metric(start(url), f'http_requests_total{{method="POST",route="/orders",status="{status}"}}') == 0


def test_nobody_on_the_way_keeps_an_order(shop: TestClient, place: Place) -> None:
    placed = place(shop, "key-of-ada")
    answers = [
        placed,
        place(shop, "key-of-ada"),
        shop.get(placed.headers["location"]),
        shop.get("/orders?idempotency_key=key-of-ada"),
    ]
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


def test_who_is_told_accepted_finds_it_committed(shop: TestClient, place: Place, sql: psycopg.Connection) -> None:
    for count in range(1, 6):
        assert place(shop).status_code == 201
        assert (rows(sql), rows(sql, "order_lines")) == (count, count)


def test_a_repeated_request_gets_the_first_ones_order(shop: TestClient, place: Place, sql: psycopg.Connection) -> None:
    first, again = place(shop, "key-of-ada"), place(shop, "key-of-ada")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert rows(sql) == 1


def test_a_key_belongs_to_one_content(shop: TestClient, place: Place, sql: psycopg.Connection) -> None:
    first = place(shop, "key-of-ada")
    other = place(shop, "key-of-ada", lines=[{**MUG, "quantity": 3}])
    assert is_problem(other, 422)
    assert "other content" in other.json()["detail"]
    assert place(shop, "key-of-ada").json() == first.json()
    assert rows(sql) == 1


def test_the_same_content_with_another_key_is_another_order(shop: TestClient, place: Place) -> None:
    assert place(shop, "key-of-ada").json()["id"] != place(shop, "key-of-bob").json()["id"]


def test_what_is_meant_the_same_is_the_same(shop: TestClient, place: Place) -> None:
    assert place(shop, "key-of-ada").status_code == 201
    assert place(shop, "key-of-ada", customer={"name": " Ada "}).status_code == 200


def test_many_at_once_with_one_key_make_one_order(start: Start, url: str, place: Place, sql: psycopg.Connection) -> None:
    replicas, at_once = [start(url), start(url)], 8
    for round_ in range(5):
        line_up = threading.Barrier(at_once)

        def push(number: int, key: str = f"round-{round_:04}", line_up: threading.Barrier = line_up) -> Any:
            line_up.wait()
            return place(replicas[number % 2], key)

        with ThreadPoolExecutor(at_once) as pool:
            answers = list(pool.map(push, range(at_once)))
        assert sorted(answer.status_code for answer in answers) == [200] * (at_once - 1) + [201]
        assert len({answer.text for answer in answers}) == 1
    assert (rows(sql), rows(sql, "order_lines")) == (5, 5)
    assert sum(metric(replica, "orders_accepted_total") for replica in replicas) == 5
    assert sum(metric(replica, "orders_replayed_total") for replica in replicas) == 5 * (at_once - 1)


def test_many_at_once_with_other_content_make_one_order(shop: TestClient, place: Place, sql: psycopg.Connection) -> None:
    line_up = threading.Barrier(4)

    def push(number: int) -> int:
        line_up.wait()
        return place(shop, "key-of-ada", customer={"name": f"Ada {number}"}).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(push, range(4))) == [201, 422, 422, 422]
    assert rows(sql) == 1


def test_only_new_orders_count_as_accepted(shop: TestClient, place: Place) -> None:
    for key, content in [
        ("key-of-ada", [MUG]),
        ("key-of-ada", [MUG]),
        ("key-of-bob", [MUG]),
        ("key-of-bob", []),
        ("key-of-ada", [MUG, MUG]),
    ]:
        place(shop, key, lines=content)
    assert (metric(shop, "orders_accepted_total"), metric(shop, "orders_replayed_total")) == (2, 1)


@pytest.mark.parametrize("key", ["", "short", "x" * 129, "with space", "caf\xe9-caf\xe9", "a;b;c;d;e", "key\x7fkey-key"])
def test_a_malformed_key_is_refused(shop: TestClient, sql: psycopg.Connection, key: str) -> None:
    answer = shop.post(
        "/orders", json={"customer": {"name": "Ada"}, "lines": [MUG]}, headers=[(b"Idempotency-Key", key.encode("latin-1"))]
    )
    assert is_problem(answer, 400)
    assert rows(sql) == 0


def test_an_order_without_a_key_is_refused(shop: TestClient) -> None:
    answer = shop.post("/orders", json={"customer": {"name": "Ada"}, "lines": [MUG]})
    assert is_problem(answer, 400)
    assert "Idempotency-Key" in answer.json()["detail"]


def test_an_order_with_two_keys_is_refused(shop: TestClient) -> None:
    headers = [("Idempotency-Key", "key-of-ada"), ("Idempotency-Key", "key-of-bob")]
    assert is_problem(shop.post("/orders", json={"customer": {"name": "Ada"}, "lines": [MUG]}, headers=headers), 400)


@pytest.mark.parametrize("name", ["A\x00da", "\ud800", "A\ud83dda", "\x1b[31mAda", ""])
def test_text_that_no_database_keeps_is_refused(shop: TestClient, sql: psycopg.Connection, name: str) -> None:
    for body in [{"customer": {"name": name}, "lines": [MUG]}, {"customer": {"name": "Ada"}, "lines": [{**MUG, "name": name}]}]:
        headers = {"Idempotency-Key": "key-of-ada", "Content-Type": "application/json"}
        assert is_problem(shop.post("/orders", content=json.dumps(body), headers=headers), 422)
    assert rows(sql) == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 60_000, b"9" * 10_000, b'{"a": NaN}', b"\xff\xfe", b'"\\u0000"', b"null"])
def test_a_body_that_is_no_order_is_refused(shop: TestClient, body: bytes) -> None:
    headers = {"Idempotency-Key": "key-of-ada", "Content-Type": "application/json"}
    answer = shop.post("/orders", content=body, headers=headers)
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("identifier", ["nope", "0000-0000-0000-0000", "%00", "%ff", "..%2f..%2fetc", "x" * 5000, "' OR 1=1 --"])
def test_an_order_that_is_not_there_is_a_problem(shop: TestClient, identifier: str) -> None:
    assert is_problem(shop.get(f"/orders/{identifier}"), 404)


def test_a_key_that_placed_nothing_is_a_problem(shop: TestClient) -> None:
    assert is_problem(shop.get("/orders?idempotency_key=key-of-nobody"), 404)


@pytest.mark.parametrize(
    "query", ["", "?idempotency_key=short", "?idempotency_key=key%00of%00ada", "?idempotency_key=caf%C3%A9-of-ada"]
)
def test_orders_are_not_listed_and_a_key_must_look_like_one(shop: TestClient, query: str) -> None:
    assert is_problem(shop.get(f"/orders{query}"), 422)


def test_any_sensible_order_comes_back_as_it_went_in(shop: TestClient) -> None:
    @given(draft=DRAFTS, key=KEYS)
    def examine(draft: Json, key: str) -> None:
        answer = shop.post(
            "/orders",
            content=json.dumps(draft, ensure_ascii=False),
            headers={"Idempotency-Key": key, "Content-Type": "application/json"},
        )
        if answer.status_code == 422 and "other content" in answer.text:
            return
        assert answer.status_code in (200, 201), answer.text
        order = answer.json()
        assert order["customer"]["name"] == draft["customer"]["name"].strip()
        assert order["lines"] == [{**line, "name": line["name"].strip()} for line in draft["lines"]]
        assert order["total_cents"] == sum(line["unit_price_cents"] * line["quantity"] for line in draft["lines"])
        assert shop.get(answer.headers["location"]).json() == order

    examine()


def test_no_senseless_order_breaks_it(shop: TestClient, sql: psycopg.Connection) -> None:
    parts: st.SearchStrategy[Json] = st.fixed_dictionaries({}, optional=dict.fromkeys(MUG, ANYTHING)).map(
        lambda changes: {**MUG, **changes}
    )
    drafts = st.fixed_dictionaries(
        {"customer": ANYTHING | st.fixed_dictionaries({"name": ANYTHING}), "lines": ANYTHING | st.lists(parts, max_size=2)}
    )

    @given(body=drafts | ANYTHING, key=ANY_TEXT | st.just("key-of-ada"))
    def examine(body: object, key: str) -> None:
        offered = key.encode(errors="surrogatepass")
        headers = [(b"Idempotency-Key", offered), (b"Content-Type", b"application/json")]
        answer = shop.post("/orders", content=json.dumps(body), headers=headers)
        assert answer.status_code < 500, answer.text

    examine()


def test_the_log_tells_which_order_a_request_placed(
    shop: TestClient, place: Place, sql: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="chassis"):
        order = place(shop, "key-of-ada")
        place(shop, "key-of-ada")
    lines = [record for record in caplog.records if record.name == "chassis"]
    told = [(line.getMessage(), getattr(line, "fields", {}).get("order_id")) for line in lines]
    assert told == [("order accepted", order.json()["id"]), ("order replayed", order.json()["id"])]
    assert "key-of-ada" not in caplog.text  # who has the key gets the order
    assert sql.execute("SELECT request_id FROM orders").fetchall() == [(order.headers["x-request-id"],)]
