"""The pages that order what is in a cart, and show what was ordered."""

from __future__ import annotations

import secrets
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import FastAPI, Form, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from chassis import Problem
from chassis.client import Unavailable
from chassis.idempotency import KEY
from rendering import Renderer, prefers_html, see
from shopping import MAX_NAME, Changed, CustomerName, Shopping
from together import together
from visitors import GET, POST, cart_items, cart_of

NAME: TypeAdapter[str] = TypeAdapter(CustomerName)


def add_order_pages(app: FastAPI, shopping: Shopping, renderer: Renderer) -> None:
    """Add the pages to the app."""

    async def checkout_form(
        request: Request, *, key: str, name: str = "", seen: str = "", wrong: str = "", status: int = 200
    ) -> Response:
        cart_id = cart_of(request)
        basket = await shopping.basket(cart_id) if cart_id else None
        if basket is None or not basket.lines or basket.gone:
            return see("/cart")
        values: dict[str, Any] = {"basket": basket, "key": key, "name": name, "wrong": wrong, "max_name": MAX_NAME}
        changed = seen not in ("", basket.mark)
        return renderer.page("checkout", status=status, private=True, cart_items=basket.items, changed=changed, **values)

    @app.get("/checkout", **GET)
    async def checkout(request: Request) -> Response:
        """Shows the form that orders what is in the cart.

        Its hidden key makes one order of it, however often it is sent; its hidden mark says what the customer agreed to.
        """
        return await checkout_form(request, key=secrets.token_hex(16))

    @app.post("/checkout", **POST)
    async def place(
        request: Request,
        key: Annotated[str, Form(pattern=f"^{KEY}$", description="Made when the form was shown.")],
        seen: Annotated[str, Form(pattern="^[0-9a-f]{32}$", description="What was shown, and what it cost.")],
        name: Annotated[str, Form(max_length=1000)] = "",
    ) -> Response:
        """Orders what is in the cart; when that is no longer what was shown, the form comes again."""
        try:
            customer = NAME.validate_python(name)
        except ValidationError:
            wrong = f"Please give a name of 1 to {MAX_NAME} letters."
            if not prefers_html(request):
                raise Problem(422, wrong) from None
            return await checkout_form(request, key=key, name=name, seen=seen, wrong=wrong, status=422)
        try:
            placed = await shopping.place(cart_of(request), key, customer, seen=seen)
        except Changed as problem:
            if not prefers_html(request):
                raise
            return await checkout_form(request, key=key, name=customer, seen=seen, status=problem.status_code)
        except Unavailable as error:
            if not prefers_html(request):
                raise
            # The same form once more, with the same key: sending it again cannot make a second order.
            values: dict[str, Any] = {"key": key, "seen": seen, "name": customer}
            return renderer.page("retry", status=error.status_code, private=True, headers=error.headers, **values)
        return see(f"/orders/{quote(placed.order.id, safe='')}")

    @app.get("/orders", **GET)
    async def find_order(
        request: Request, order_id: Annotated[str, Query(max_length=100, description="As it stands on the confirmation.")] = ""
    ) -> Response:
        """Shows the form that finds an order, or the order that was asked for."""
        if wanted := "".join(order_id.split()):
            return see(f"/orders/{quote(wanted, safe='')}")
        return renderer.page("find_order", private=True, cart_items=await cart_items(request, shopping.carts))

    @app.get("/orders/{order_id}", **GET)
    async def order(request: Request, order_id: str) -> Response:
        """Shows an order that was accepted."""
        found, items = await together(shopping.orders.get(order_id), cart_items(request, shopping.carts))
        if found is None:
            raise Problem(404, "there is no order with this number; please compare it with your confirmation")
        return renderer.page("order", private=True, order=found, cart_items=items)
