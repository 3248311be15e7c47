"""The page of a visitor's cart, and the forms that change it."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import FastAPI, Form, Request, Response

from rendering import Renderer, see
from shopping import Shopping
from upstreams import MOST
from visitors import COOKIE, COOKIE_SECONDS, GET, POST, cart_of

Quantity = Annotated[int, Form(ge=1, le=MOST)]


def add_cart_pages(app: FastAPI, shopping: Shopping, renderer: Renderer, *, secure_cookies: bool) -> None:
    """Add the pages to the app."""

    @app.get("/cart", **GET)
    async def cart(request: Request) -> Response:
        """Shows what is in the visitor's cart."""
        cart_id = cart_of(request)
        basket = await shopping.basket(cart_id) if cart_id else None
        return renderer.page("cart", private=True, basket=basket, cart_items=basket.items if basket else 0)

    @app.post("/cart/lines", **POST)
    async def add(request: Request, product_id: Annotated[str, Form(max_length=100)], quantity: Quantity = 1) -> Response:
        """Puts a product into the cart, and makes a cart for who has none."""
        cart_id = cart_of(request) or secrets.token_urlsafe(24)
        await shopping.add(cart_id, product_id, quantity)
        answer = see("/cart")
        answer.set_cookie(COOKIE, cart_id, max_age=COOKIE_SECONDS, path="/", httponly=True, samesite="lax", secure=secure_cookies)
        return answer

    @app.post("/cart/lines/{product_id}", **POST)
    async def change(request: Request, product_id: str, quantity: Annotated[int, Form(ge=0, le=MOST)]) -> Response:
        """Changes how many of a product are in the cart; none of it removes it."""
        if not (cart_id := cart_of(request)):
            return see("/cart")
        if quantity == 0:
            await shopping.carts.remove(cart_id, product_id)
        else:
            await shopping.put(cart_id, product_id, quantity)
        return see("/cart")

    @app.post("/cart/lines/{product_id}/remove", **POST)
    async def remove(request: Request, product_id: str) -> Response:
        """Takes a product out of the cart."""
        if cart_id := cart_of(request):
            await shopping.carts.remove(cart_id, product_id)
        return see("/cart")
