"""Who looks at a page: their cart, whether a form is ours, and what their page can do without."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any, TypeVar

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse

from chassis import Problem
from chassis.client import Unavailable
from chassis.context import time_limit
from rendering import PAGES
from upstreams import Carts

COOKIE = "cart"
COOKIE_SECONDS = 30 * 24 * 3600
_CART_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")

# Seconds a page waits for what it can do without.
PATIENCE = 0.3

T = TypeVar("T")


async def from_our_pages(request: Request) -> None:
    """Refuses forms that another site sends, for browsers that let its cookies come along.

    Raises:
        Problem: The browser says that the form is not ours (403).
    """
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise Problem(403, "this form was not sent from a page of this shop")


# How a page, and what a form is sent to, are told to the app.
GET: dict[str, Any] = {"tags": [PAGES], "response_class": HTMLResponse}
POST: dict[str, Any] = {
    "tags": [PAGES],
    "status_code": 303,
    "response_class": HTMLResponse,
    "responses": {303: {"description": "Go on to the page in Location."}},
    "dependencies": [Depends(from_our_pages)],
}


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


async def cart_items(request: Request, carts: Carts) -> int | None:
    """How many things lie in the visitor's cart; None when the answer is not there in time, which is no reason to fail."""
    cart_id = cart_of(request)
    if not cart_id:
        return 0
    cart = await optional(carts.get(cart_id))
    return sum(line.quantity for line in cart.lines) if cart else None
