"""Whatever callers do, in whatever order, a cart is what a plain dictionary would be."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from baskets import MAX_LINES, MAX_QUANTITY, PREFIX, Baskets, CartFull

CARTS = st.sampled_from(["model-cart-number-1", "model-cart-number-2"])
PRODUCTS = st.integers(1, MAX_LINES + 10).map(lambda number: f"product-{number}")

# Seconds; what is left of a cart that was not written to for long.
AGED = 60


def test_a_cart_is_what_was_put_into_it_and_not_taken_out(client: TestClient, store: Any, ttl: int) -> None:
    class Shopping(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.carts: dict[str, dict[str, int]] = {}
            self.aged = set[str]()
            for key in store.scan_iter(f"{PREFIX}model-*"):
                store.delete(key)

        @initialize(count=st.sampled_from([0, 1, MAX_LINES - 1, MAX_LINES]))
        def begin_with_some_lines(self, count: int) -> None:
            for number in range(count):
                self.put("model-cart-number-1", f"product-{number}", 1)

        @rule(cart=CARTS, product=PRODUCTS, quantity=st.integers(1, 99))
        def put(self, cart: str, product: str, quantity: int) -> None:
            lines = self.carts.setdefault(cart, {})
            fits = product in lines or len(lines) < MAX_LINES
            answer = client.put(f"/carts/{cart}/lines/{product}", json={"quantity": quantity})
            assert answer.status_code == (200 if fits else 409)
            if fits:
                lines[product] = quantity
                self.aged.discard(cart)
                assert {line["product_id"]: line["quantity"] for line in answer.json()["lines"]} == lines

        @rule(cart=CARTS, product=PRODUCTS, quantity=st.integers(1, 99), again=st.booleans())
        def add(self, cart: str, product: str, quantity: int, again: bool) -> None:
            lines = self.carts.setdefault(cart, {})
            fits = product in lines or len(lines) < MAX_LINES
            headers = {"Idempotency-Key": secrets.token_hex(8)}
            for _ in range(2 if again else 1):
                answer = client.post(f"/carts/{cart}/lines/{product}", json={"quantity": quantity}, headers=headers)
                assert answer.status_code == (200 if fits else 409)
            if fits:
                lines[product] = min(lines.get(product, 0) + quantity, MAX_QUANTITY)
                self.aged.discard(cart)

        @rule(cart=CARTS, product=PRODUCTS, quantity=st.integers(1, 99), again=st.booleans())
        def take(self, cart: str, product: str, quantity: int, again: bool) -> None:
            lines = self.carts.setdefault(cart, {})
            # Something that is there, as a rule.
            ordered = {product: quantity, **dict.fromkeys(list(lines)[:2], quantity)}
            body = {"lines": [{"product_id": name, "quantity": quantity} for name in ordered]}
            headers = {"Idempotency-Key": secrets.token_hex(8)}
            for _ in range(2 if again else 1):
                assert client.post(f"/carts/{cart}/ordered", json=body, headers=headers).status_code == 204
            self.carts[cart] = {name: left for name, there in lines.items() if (left := there - ordered.get(name, 0)) > 0}
            self.aged.discard(cart)

        @rule(cart=CARTS, product=PRODUCTS)
        def remove(self, cart: str, product: str) -> None:
            assert client.delete(f"/carts/{cart}/lines/{product}").status_code == 204
            self.carts.get(cart, {}).pop(product, None)
            self.aged.discard(cart)

        @rule(cart=CARTS)
        def clear(self, cart: str) -> None:
            assert client.delete(f"/carts/{cart}").status_code == 204
            self.carts.pop(cart, None)
            self.aged.discard(cart)

        @rule(cart=CARTS)
        def let_time_pass(self, cart: str) -> None:
            if store.expire(PREFIX + cart, AGED):
                self.aged.add(cart)

        @rule()
        def forget_the_scripts(self) -> None:
            store.script_flush()

        @rule()
        def break_the_connections(self) -> None:
            store.client_kill_filter(_type="normal", skipme=True)

        @invariant()
        def every_cart_is_as_it_should_be(self) -> None:
            for cart in ("model-cart-number-1", "model-cart-number-2"):
                shown = client.get(f"/carts/{cart}").json()
                lines = self.carts.get(cart, {})
                assert {line["product_id"]: line["quantity"] for line in shown["lines"]} == lines
                assert [line["product_id"] for line in shown["lines"]] == sorted(lines)
                low, high = (0, AGED) if cart in self.aged else (AGED, ttl)
                assert low < shown["expires_in_seconds"] <= high if lines else shown["expires_in_seconds"] == 0

    run_state_machine_as_test(Shopping, settings=settings(max_examples=20, stateful_step_count=25))  # pyright: ignore[reportUnknownMemberType]


def test_callers_that_add_at_the_same_time_do_not_overfill_a_cart(url: str, cart: str, ttl: int) -> None:
    async def add_all() -> list[object]:
        baskets = Baskets(url, ttl=ttl, registry=CollectorRegistry())
        try:
            puts = (baskets.put(cart, f"p{number}", 1) for number in range(MAX_LINES + 30))
            answers = await asyncio.gather(*puts, return_exceptions=True)
            assert len((await baskets.get(cart)).lines) == MAX_LINES
            return list(answers)
        finally:
            await baskets.aclose()

    answers = asyncio.run(add_all())
    assert [type(answer) for answer in answers if isinstance(answer, BaseException)] == [CartFull] * 30


def test_callers_that_add_the_same_at_the_same_time_are_all_counted(url: str, cart: str, ttl: int) -> None:
    async def add_all() -> None:
        baskets = Baskets(url, ttl=ttl, registry=CollectorRegistry())
        try:
            await asyncio.gather(*(baskets.add(cart, "mug", 2, key=f"{cart}-{number}") for number in range(30)))
            assert (await baskets.get(cart)).lines == {"mug": 60}
        finally:
            await baskets.aclose()

    asyncio.run(add_all())


@pytest.mark.parametrize("path", ["/carts/{cart}", "/readyz"])
def test_reading_makes_nothing(client: TestClient, store: Any, cart: str, path: str) -> None:
    assert client.get(path.format(cart=cart)).status_code == 200
    assert not store.exists(PREFIX + cart)
