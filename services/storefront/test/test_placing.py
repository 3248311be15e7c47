"""One order for one key, whatever gets lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

import main
from chassis.wire import Request, Unsent
from storefront.test.backstage import SILENCE, Backstage, Misfortune
from storefront.test.conftest import IDENTITY, STAGE

CART = "cart-0123456789abcdef"
KEY = "key-00000001"

Numbers = Callable[[str], float]


@pytest.fixture
def filled(backstage: Backstage) -> Backstage:
    backstage.carts[CART] = {"mug-enamel": 2, "rope-hemp": 3}
    return backstage


def place(program: TestClient, *, key: str = KEY, name: str = "Ada", cart: str = CART, **more: Any) -> httpx2.Response:
    body = {"cart_id": cart, "customer": {"name": name}, **more}
    return program.post("/api/orders", json=body, headers={"Idempotency-Key": key})  # type: ignore[return-value]


@pytest.mark.parametrize("route", ["/api/orders", "/checkout"])
def test_failures_are_counted_from_the_first_one(route: str) -> None:
    told = main.create(main.StorefrontConfig(), IDENTITY, transport=STAGE).metrics.text().decode()
    for status in (500, 502, 503, 504):
        assert f'http_requests_total{{method="POST",route="{route}",status="{status}"}} 0.0' in told


def test_what_is_put_into_a_cart_is_asked_for_once(program: TestClient, filled: Backstage) -> None:
    basket = program.put(f"/api/carts/{CART}/lines/mug-enamel", json={"quantity": 5}).json()
    assert [(line["name"], line["quantity"]) for line in basket["lines"]] == [("Enamel mug", 5), ("Hemp & <rope>", 3)]
    assert basket["total_cents"] == 5 * 1290 + 3 * 250
    asked = [request.url.path for request in filled.requests if request.url.host == "catalog"]
    assert asked == ["/products/mug-enamel", "/products/rope-hemp"]


def test_an_order_is_made_of_the_cart_and_of_the_catalogs_prices(
    program: TestClient, filled: Backstage, numbers: Numbers
) -> None:
    answer = place(program, name="  Ada ")
    assert (answer.status_code, answer.headers["location"]) == (201, f"/api/orders/{answer.json()['id']}")
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert (told["customer"], told["total_cents"]) == ({"name": "Ada"}, 2 * 1290 + 3 * 250)
    assert [(line["product_id"], line["name"], line["unit_price_cents"], line["quantity"]) for line in told["lines"]] == [
        ("mug-enamel", "Enamel mug", 1290, 2),
        ("rope-hemp", "Hemp & <rope>", 250, 3),
    ]
    assert filled.carts[CART] == {}
    assert numbers('checkouts_total{result="accepted"}') == 1


@pytest.mark.parametrize("extra", [{"lines": []}, {"total_cents": 1}, {"customer": {"name": "Ada", "unit_price_cents": 1}}])
def test_prices_of_the_caller_are_refused(program: TestClient, filled: Backstage, extra: dict[str, Any]) -> None:
    assert place(program, **extra).status_code == 422
    assert filled.orders == {}


def test_a_repeated_request_gets_the_same_order_though_its_cart_is_gone(
    program: TestClient, filled: Backstage, numbers: Numbers
) -> None:
    first, again = place(program), place(program)
    assert (again.status_code, again.headers["idempotency-replayed"], again.json()) == (200, "true", first.json())
    assert (len(filled.orders), numbers('checkouts_total{result="replayed"}')) == (1, 1)


def test_an_answer_that_gets_lost_costs_neither_the_order_nor_a_second_one(
    program: TestClient, filled: Backstage, numbers: Numbers
) -> None:
    def lose(request: Request) -> None:
        if request.method == "POST":
            filled.losing.add("orders")

    filled.before = lose
    lost = place(program)
    assert (lost.status_code, "orders" in lost.json()["detail"], "retry-after" in lost.headers) == (503, True, True)
    assert (len(filled.orders), numbers('checkouts_total{result="failed"}')) == (1, 1)
    filled.before, filled.losing = lambda request: None, set()
    again = place(program)
    assert (again.status_code, len(filled.orders), filled.carts[CART]) == (200, 1, {})


def test_a_price_that_changed_between_two_attempts_changes_nothing(program: TestClient, filled: Backstage) -> None:
    """The other attempt is accepted while this one asks for prices, and they have changed since."""

    def meanwhile(request: Request) -> None:
        if request.method == "POST" and KEY not in filled.orders:
            lines = [{"product_id": "mug-enamel", "name": "Enamel mug", "unit_price_cents": 1, "quantity": 2}]
            made = {"id": "OTHER", "status": "accepted", "created_at": "2026-11-22T18:58:00Z", "total_cents": 2}
            filled.orders[KEY] = {"customer": {"name": "Ada"}, "lines": lines, **made}

    filled.before = meanwhile
    answer = place(program)
    assert (answer.status_code, answer.json()["id"]) == (200, "OTHER")
    assert filled.carts[CART] == {"rope-hemp": 3}, "what was not ordered stays"


def test_a_cart_that_another_attempt_empties_meanwhile_is_no_empty_cart(program: TestClient, filled: Backstage) -> None:
    def meanwhile(request: Request) -> None:
        if request.url.host == "cart" and KEY not in filled.orders:
            filled.carts[CART] = {}
            made = {"id": "OTHER", "status": "accepted", "created_at": "2026-11-22T18:58:00Z", "total_cents": 2}
            filled.orders[KEY] = {"customer": {"name": "Ada"}, "lines": [], **made}

    # The cart is asked last: by then the question about the key has been answered with no.
    filled.before = meanwhile
    answer = place(program)
    assert (answer.status_code, answer.json()["id"]) == (200, "OTHER")


def test_a_cart_that_cannot_be_emptied_is_no_reason_to_lose_the_order(program: TestClient, filled: Backstage) -> None:
    def fail(request: Request) -> None:
        if request.url.path.endswith("/ordered"):
            filled.failing["cart"] = 503

    filled.before = fail
    assert place(program).status_code == 201
    filled.before, filled.failing = lambda request: None, {}
    assert filled.carts[CART]
    assert (place(program).status_code, filled.carts[CART], len(filled.orders)) == (200, {}, 1)


def test_what_was_put_into_the_cart_while_it_was_ordered_stays_there(program: TestClient, filled: Backstage) -> None:
    def meanwhile(request: Request) -> None:
        if request.url.host == "orders" and request.method == "POST":
            filled.carts[CART] = {"mug-enamel": 5, "rope-hemp": 3, "stove": 1}

    filled.before = meanwhile
    assert place(program).json()["total_cents"] == 2 * 1290 + 3 * 250
    assert filled.carts[CART] == {"mug-enamel": 3, "stove": 1}


def test_a_repeated_request_takes_nothing_out_a_second_time(program: TestClient, filled: Backstage) -> None:
    place(program)
    filled.carts[CART] = {"mug-enamel": 2, "rope-hemp": 3}
    assert place(program).status_code == 200
    assert filled.carts[CART] == {"mug-enamel": 2, "rope-hemp": 3}


@pytest.mark.parametrize("failure", [SILENCE, Unsent, 500, b"<html>"], ids=str)
def test_a_repeated_request_gets_its_order_though_the_cart_is_away(
    program: TestClient, filled: Backstage, failure: Misfortune
) -> None:
    first = place(program)
    filled.failing["cart"] = failure
    again = place(program)
    assert (again.status_code, again.json()) == (200, first.json())


def test_without_its_cart_a_new_order_is_not_placed(program: TestClient, filled: Backstage) -> None:
    filled.failing["cart"] = Unsent
    answer = place(program)
    assert (answer.status_code, answer.json()["detail"].startswith("cart"), filled.orders) == (503, True, {})


def test_what_was_put_into_the_cart_since_stays_there(program: TestClient, filled: Backstage) -> None:
    place(program)
    filled.carts[CART] = {"stove": 1}
    assert place(program).status_code == 200
    assert filled.carts[CART] == {"stove": 1}


def test_another_customers_key_gets_no_order(program: TestClient, filled: Backstage, numbers: Numbers) -> None:
    place(program)
    answer = place(program, name="Eve")
    assert (answer.status_code, "Ada" in answer.text) == (422, False)
    assert numbers('checkouts_total{result="refused"}') == 1


def test_an_empty_cart_makes_no_order(program: TestClient, backstage: Backstage) -> None:
    answer = place(program)
    assert (answer.status_code, "empty" in answer.json()["detail"], backstage.orders) == (409, True, {})


def test_what_is_no_longer_sold_is_named_and_not_ordered(program: TestClient, filled: Backstage) -> None:
    del filled.products["rope-hemp"]
    answer = place(program)
    assert (answer.status_code, "rope-hemp" in answer.json()["detail"], filled.orders) == (409, True, {})
    basket = program.get(f"/api/carts/{CART}").json()
    assert [line["name"] for line in basket["lines"]] == ["Enamel mug", None]
    assert (basket["items"], basket["total_cents"]) == (5, 2 * 1290)


@pytest.mark.parametrize("keys", [[], ["short"], ["x" * 129], ["key 00000001"], [KEY, KEY]])
def test_an_order_without_one_good_key_is_refused(program: TestClient, filled: Backstage, keys: list[str]) -> None:
    headers = [("Idempotency-Key", key) for key in keys]
    answer = program.post("/api/orders", json={"cart_id": CART, "customer": {"name": "Ada"}}, headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, "Idempotency-Key" in answer.json()["detail"], filled.requests) == (400, True, [])


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\nb", "a\x00b", 7, None])
def test_a_name_that_is_none_is_refused_before_anybody_is_asked(program: TestClient, filled: Backstage, name: Any) -> None:
    assert place(program, name=name).status_code == 422
    assert filled.requests == []


@pytest.mark.parametrize("product", ["nope", "MUG-ENAMEL", "..%2f..%2forders", "%00", "x" * 100])
def test_what_is_not_sold_does_not_get_into_a_cart(program: TestClient, backstage: Backstage, product: str) -> None:
    answer = program.put(f"/api/carts/{CART}/lines/{product}", json={"quantity": 1})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert backstage.carts.get(CART, {}) == {}
    assert program.delete(f"/api/carts/{CART}/lines/{product}").status_code in (204, 404)


@pytest.mark.parametrize("quantity", [0, 100, -1, 1.5, "1", True, None])
def test_a_quantity_that_is_none_is_refused(program: TestClient, backstage: Backstage, quantity: Any) -> None:
    assert program.put(f"/api/carts/{CART}/lines/mug-enamel", json={"quantity": quantity}).status_code == 422
    assert backstage.requests == []


def test_a_full_cart_says_so(program: TestClient, filled: Backstage) -> None:
    answer = program.put(f"/api/carts/{CART}/lines/stove", json={"quantity": 1})
    assert (answer.status_code, answer.json()["detail"]) == (409, "the cart is full: it takes two products")


@pytest.mark.parametrize("cart", ["short", "x" * 65, "cart/../0123456789", "cart-0123456789ä"])
def test_a_cart_id_that_is_none_is_refused(program: TestClient, backstage: Backstage, cart: str) -> None:
    assert place(program, cart=cart).status_code == 422
    assert backstage.requests == []
