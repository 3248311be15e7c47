"""The pages of the shop: plain forms, answered with a redirection, so that they work without a script and survive a reload."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import Depends, FastAPI, Form, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import StringConstraints, TypeAdapter, ValidationError

from chassis import Problem
from chassis.client import Unavailable
from chassis.context import time_limit
from rendering import PAGES, Renderer, Static, prefers_html, see
from shopping import Shopping
from together import together
from upstreams import MOST, Product

COOKIE = "cart"
COOKIE_SECONDS = 30 * 24 * 3600
_CART_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")

KEY = r"[A-Za-z0-9._:-]{8,128}"

# Seconds a page waits for what it can do without.
PATIENCE = 0.3

# Products shown beside the one that is looked at.
RELATED = 4

MAX_NAME = 100
NAME: TypeAdapter[str] = TypeAdapter(
    Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME, pattern=r"^\P{Cc}+$")]
)

TagName = Annotated[str, Query(max_length=40, description="Only products with this tag.")]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="Products to skip.")]
Words = Annotated[str, Query(max_length=100, description="Words to look for; all must be found.")]
Quantity = Annotated[int, Form(ge=1, le=MOST)]

T = TypeVar("T")


async def from_our_pages(request: Request) -> None:
    """Refuses forms that another site sends, for browsers that let its cookies come along.

    Raises:
        Problem: The browser says that the form is not ours (403).
    """
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise Problem(403, "this form was not sent from a page of this shop")


def add_pages(
    app: FastAPI, shopping: Shopping, renderer: Renderer, static: Static, *, page_size: int, secure_cookies: bool
) -> None:
    """Add all pages to the app."""
    get: dict[str, Any] = {"tags": [PAGES], "response_class": HTMLResponse}
    post: dict[str, Any] = {
        "tags": [PAGES],
        "status_code": 303,
        "response_class": HTMLResponse,
        "responses": {303: {"description": "Go on to the page in Location."}},
        "dependencies": [Depends(from_our_pages)],
    }

    async def cart_items(request: Request) -> int | None:
        """How many things lie in the visitor's cart; None when the answer is not there in time, which is no reason to fail."""
        cart_id = cart_of(request)
        if not cart_id:
            return 0
        cart = await optional(shopping.carts.get(cart_id))
        return sum(line.quantity for line in cart.lines) if cart else None

    @app.get("/", **get)
    async def browse(request: Request, tag: TagName = "", offset: Offset = 0) -> Response:
        """Shows what the shop sells, a page at a time."""
        products, tags, items = await together(
            shopping.catalog.page(tag=tag or None, limit=page_size, offset=offset),
            optional(shopping.catalog.tags()),
            cart_items(request),
        )
        return renderer.page("browse", products=products, tags=tags or (), tag=tag, cart_items=items)

    @app.get("/search", **get)
    async def search(request: Request, q: Words = "", offset: Offset = 0) -> Response:
        """Shows what is found by words."""
        words = " ".join(q.split())
        if not words:
            return see("/")
        products, items = await together(
            shopping.catalog.search(words, tag=None, limit=page_size, offset=offset), cart_items(request)
        )
        return renderer.page("search", products=products, words=words, cart_items=items)

    @app.get("/products/{product_id}", **get)
    async def product(request: Request, product_id: str) -> Response:
        """Shows one product."""
        found, items = await together(shopping.catalog.product(product_id), cart_items(request))
        if found is None:
            raise Problem(404, "we sell no such product, or no longer")
        return renderer.page("product", product=found, related=await related(found), cart_items=items)

    async def related(product: Product) -> Sequence[Product]:
        if not product.tags:
            return ()
        found = await optional(shopping.catalog.page(tag=product.tags[0], limit=RELATED + 1, offset=0))
        return [other for other in found.items if other.id != product.id][:RELATED] if found else ()

    @app.get("/cart", **get)
    async def cart(request: Request) -> Response:
        """Shows what is in the visitor's cart."""
        cart_id = cart_of(request)
        basket = await shopping.basket(cart_id) if cart_id else None
        return renderer.page("cart", private=True, basket=basket, cart_items=basket.items if basket else 0)

    @app.post("/cart/lines", **post)
    async def add(request: Request, product_id: Annotated[str, Form(max_length=100)], quantity: Quantity = 1) -> Response:
        """Puts a product into the cart, and makes a cart for who has none."""
        cart_id = cart_of(request) or secrets.token_urlsafe(24)
        await shopping.add(cart_id, product_id, quantity)
        answer = see("/cart")
        answer.set_cookie(COOKIE, cart_id, max_age=COOKIE_SECONDS, path="/", httponly=True, samesite="lax", secure=secure_cookies)
        return answer

    @app.post("/cart/lines/{product_id}", **post)
    async def change(request: Request, product_id: str, quantity: Annotated[int, Form(ge=0, le=MOST)]) -> Response:
        """Changes how many of a product are in the cart; none of it removes it."""
        if not (cart_id := cart_of(request)):
            return see("/cart")
        if quantity == 0:
            await shopping.carts.remove(cart_id, product_id)
        else:
            await shopping.put(cart_id, product_id, quantity)
        return see("/cart")

    @app.post("/cart/lines/{product_id}/remove", **post)
    async def remove(request: Request, product_id: str) -> Response:
        """Takes a product out of the cart."""
        if cart_id := cart_of(request):
            await shopping.carts.remove(cart_id, product_id)
        return see("/cart")

    async def checkout_form(request: Request, *, key: str, name: str = "", wrong: str = "", status: int = 200) -> Response:
        cart_id = cart_of(request)
        basket = await shopping.basket(cart_id) if cart_id else None
        if basket is None or not basket.lines or basket.gone:
            return see("/cart")
        values: dict[str, Any] = {"basket": basket, "key": key, "name": name, "wrong": wrong, "max_name": MAX_NAME}
        return renderer.page("checkout", status=status, private=True, cart_items=basket.items, **values)

    @app.get("/checkout", **get)
    async def checkout(request: Request) -> Response:
        """Shows the form that orders what is in the cart. Its hidden key makes one order of it, however often it is sent."""
        return await checkout_form(request, key=secrets.token_hex(16))

    @app.post("/checkout", **post)
    async def place(
        request: Request,
        key: Annotated[str, Form(pattern=f"^{KEY}$", description="Made when the form was shown.")],
        name: Annotated[str, Form(max_length=1000)] = "",
    ) -> Response:
        """Orders what is in the cart."""
        try:
            customer = NAME.validate_python(name)
        except ValidationError:
            wrong = f"Please give a name of 1 to {MAX_NAME} letters."
            if not prefers_html(request):
                raise Problem(422, wrong) from None
            return await checkout_form(request, key=key, name=name, wrong=wrong, status=422)
        try:
            placed = await shopping.place(cart_of(request), key, customer)
        except Unavailable as error:
            if not prefers_html(request):
                raise
            # The same form once more, with the same key: sending it again cannot make a second order.
            values: dict[str, Any] = {"key": key, "name": customer}
            return renderer.page("retry", status=error.status_code, private=True, headers=error.headers, **values)
        return see(f"/orders/{quote(placed.order.id, safe='')}")

    @app.get("/orders", **get)
    async def find_order(
        request: Request, order_id: Annotated[str, Query(max_length=100, description="As it stands on the confirmation.")] = ""
    ) -> Response:
        """Shows the form that finds an order, or the order that was asked for."""
        if wanted := "".join(order_id.split()):
            return see(f"/orders/{quote(wanted, safe='')}")
        return renderer.page("find_order", private=True, cart_items=await cart_items(request))

    @app.get("/orders/{order_id}", **get)
    async def order(request: Request, order_id: str) -> Response:
        """Shows an order that was accepted."""
        found, items = await together(shopping.orders.get(order_id), cart_items(request))
        if found is None:
            raise Problem(404, "there is no order with this number; please compare it with your confirmation")
        return renderer.page("order", private=True, order=found, cart_items=items)

    @app.get("/static/{name}", include_in_schema=False)
    async def get_static(request: Request, name: str, v: str = "") -> Response:
        return static.answer(request, name, v)


def cart_of(request: Request) -> str | None:
    """The id of the visitor's cart, of the cookie; None without one that could be ours."""
    offered = request.cookies.get(COOKIE, "")
    return offered if _CART_ID.fullmatch(offered) else None


async def optional(asked: Awaitable[T]) -> T | None:
    """The answer, or None when it is not there in time: for what a page can do without."""
    try:
        with time_limit(PATIENCE):
            return await asked
    except Unavailable:
        return None
