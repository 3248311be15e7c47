"""The pages of the shop: plain forms, answered with a redirection, so that they work without a script and survive a reload."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response

from cart_pages import add_cart_pages
from order_pages import add_order_pages
from rendering import Renderer, Static
from shop_pages import add_shop_pages
from shopping import Shopping


def add_pages(
    app: FastAPI, shopping: Shopping, renderer: Renderer, static: Static, *, page_size: int, secure_cookies: bool
) -> None:
    """Add all pages to the app."""
    add_shop_pages(app, shopping, renderer, page_size=page_size)
    add_cart_pages(app, shopping, renderer, secure_cookies=secure_cookies)
    add_order_pages(app, shopping, renderer)

    @app.get("/static/{name}", include_in_schema=False)
    async def get_static(request: Request, name: str, v: str = "") -> Response:
        return static.answer(request, name, v)
