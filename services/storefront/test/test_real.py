"""The whole shop: this storefront over the real catalog, cart and orders."""

from __future__ import annotations

import asyncio
import re
import secrets

import httpx2
from starlette.testclient import TestClient

import main
from chassis import Service

Shop = Service[main.StorefrontConfig]


def test_a_visitor_buys_a_mug(real: Shop) -> None:
    with TestClient(real.asgi, headers={"Accept": "text/html"}) as visitor:
        assert "Enamel mug" in visitor.get("/search?q=mug").text
        cart = visitor.post("/cart/lines", data={"product_id": "mug-enamel", "quantity": "2"})
        assert (cart.url.path, "€25.80" in cart.text) == ("/cart", True)
        assert "€38.70" in visitor.post("/cart/lines/mug-enamel", data={"quantity": "3"}).text
        page = visitor.get("/checkout").text
        hidden = {name: re.findall(rf'name="{name}" value="([^"]+)"', page)[0] for name in ("key", "seen")}
        assert "€51.60" in visitor.post("/cart/lines", data={"product_id": "mug-enamel"}).text
        changed = visitor.post("/checkout", data={"name": "Zoë O'Hara", **hidden})
        assert (changed.status_code, "has changed" in changed.text) == (409, True)
        visitor.post("/cart/lines/mug-enamel", data={"quantity": "3"})
        order = visitor.post("/checkout", data={"name": "Zoë O'Hara", **hidden})
        assert (order.status_code, "€38.70" in order.text, "Zoë O&#39;Hara" in order.text) == (200, True, True)
        again = visitor.post("/checkout", data={"name": "Zoë O'Hara", **hidden})
        assert again.url == order.url
        assert "Nothing in it yet." in visitor.get("/cart").text
        identifier = order.url.path.removeprefix("/orders/")
        found = visitor.get("/orders", params={"order_id": identifier.lower().replace("-", " ")})
        assert (found.status_code, found.url.path) == (200, f"/orders/{identifier.lower().replace('-', '')}")
        assert identifier in found.text


def test_a_program_buys_rope(real: Shop) -> None:
    cart, key = secrets.token_urlsafe(24), secrets.token_hex(16)
    with TestClient(real.asgi) as program:
        assert program.get("/api/products?tag=rope").json()["total"] >= 3
        assert program.put(f"/api/carts/{cart}/lines/no-such-rope", json={"quantity": 1}).status_code == 404
        basket = program.put(f"/api/carts/{cart}/lines/rope-dyneema-8mm", json={"quantity": 30}).json()
        assert (basket["items"], basket["total_cents"], basket["lines"][0]["name"]) == (30, 14700, "Dyneema rope 8 mm")
        body, headers = {"cart_id": cart, "customer": {"name": "Grace"}}, {"Idempotency-Key": key}
        first = program.post("/api/orders", json=body, headers=headers)
        again = program.post("/api/orders", json=body, headers=headers)
        assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
        assert program.get(first.headers["location"]).json() == first.json()
        assert program.get(f"/api/carts/{cart}").json()["lines"] == []
        other = {**body, "customer": {"name": "Eve"}}
        assert program.post("/api/orders", json=other, headers=headers).status_code == 422


def test_a_visitor_who_presses_often_gets_it_all_and_keeps_what_came_after_the_order(real: Shop) -> None:
    cart, key = secrets.token_urlsafe(24), secrets.token_hex(16)

    async def press() -> None:
        transport = httpx2.ASGITransport(app=real.asgi)
        async with (
            real.app.router.lifespan_context(real.app),
            httpx2.AsyncClient(transport=transport, base_url="http://shop", cookies={"cart": cart}) as one,
        ):
            await asyncio.gather(*(one.post("/cart/lines", data={"product_id": "mug-enamel"}) for _ in range(8)))
            assert (await one.get(f"/api/carts/{cart}")).json()["items"] == 8
            body, headers = {"cart_id": cart, "customer": {"name": "Ada"}}, {"Idempotency-Key": key}
            first = await one.post("/api/orders", json=body, headers=headers)
            await one.post("/cart/lines", data={"product_id": "mug-enamel"})
            again = await one.post("/api/orders", json=body, headers=headers)
            assert (first.status_code, again.status_code) == (201, 200)
            assert (await one.get(f"/api/carts/{cart}")).json()["items"] == 1

    asyncio.run(press())


def test_a_crowd_with_one_key_gets_one_order(real: Shop) -> None:
    cart, key = secrets.token_urlsafe(24), secrets.token_hex(16)

    async def crowd() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app=real.asgi)
        async with (
            real.app.router.lifespan_context(real.app),
            httpx2.AsyncClient(transport=transport, base_url="http://shop") as one,
        ):
            await one.put(f"/api/carts/{cart}/lines/mug-enamel", json={"quantity": 1})
            body = {"cart_id": cart, "customer": {"name": "Ada"}}
            asked = (one.post("/api/orders", json=body, headers={"Idempotency-Key": key}) for _ in range(8))
            return await asyncio.gather(*asked)

    answers = asyncio.run(crowd())
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_an_order_that_never_was_is_not_found(real: Shop) -> None:
    with TestClient(real.asgi) as program:
        assert program.get("/api/orders/0000-0000-0000-0000").status_code == 404
        assert program.get("/api/orders/not%20one").status_code == 404
