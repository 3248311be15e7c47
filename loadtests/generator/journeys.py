"""What customers of the shop do. A journey is a generator-free function: it asks, looks at what came, thinks, and asks again."""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from .asking import Answer

# What a page shows, and the most that a customer puts into a cart.
PAGE = 12
MOST = 3

# Orders that can be looked up, at a time.
REMEMBERED = 200


class Wrong(Exception):
    """An answer is not what a customer may expect; the journey ends here."""


class Asker(Protocol):
    """What a journey is given to ask with, and what its customer knows.

    Attributes:
        lines: How many of each product the customer has put into the cart.
    """

    rng: random.Random
    cart: str
    key: str
    name: str
    lines: dict[str, int]

    def ask(
        self,
        service: str,
        endpoint: str,
        path: str,
        *,
        expect: Sequence[int] = (200,),
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        check: Callable[[Answer], str] | None = None,
    ) -> Answer:
        """The answer, which has one of the expected statuses and passes the check ("" is a pass).

        Raises:
            Wrong: It is not, or there was none.
        """
        ...


class Shelf:
    """What the shop sells, and the orders that were placed: what journeys choose from."""

    def __init__(self) -> None:
        self.products: list[str] = ["mug-enamel"]
        self.words: list[str] = ["rope"]
        self.orders: deque[str] = deque(maxlen=REMEMBERED)
        self.placed = 0

    def stock(self, page: Any) -> None:
        """Take in what the catalog's list says."""
        items = page["items"]
        self.products = [item["id"] for item in items] or self.products
        words = {word.lower() for item in items for word in re.findall(r"[^\W\d_]{4,}", item["name"])}
        self.words = sorted(words) or self.words


def browse(asker: Asker, shelf: Shelf) -> None:
    """Look at the front page, at a page of the list, and at one thing on it."""
    asker.ask("storefront", "GET /", "/", check=_shows("<html"))
    offset = asker.rng.choice((0, 0, 0, PAGE))
    listed = asker.ask("storefront", "GET /api/products", f"/api/products?limit={PAGE}&offset={offset}", check=_has("items"))
    _look(asker, asker.rng.choice(listed.content["items"])["id"])


def search(asker: Asker, shelf: Shelf) -> None:
    """Look for a word, and at one of the things found."""
    word = asker.rng.choice(shelf.words)
    found = asker.ask("storefront", "GET /api/search", f"/api/search?q={quote(word)}&limit={PAGE}", check=_has("items"))
    items = found.content["items"]
    _look(asker, asker.rng.choice(items)["id"] if items else asker.rng.choice(shelf.products))


def cart(asker: Asker, shelf: Shelf) -> None:
    """Fill a cart, look at it, and leave it there."""
    for product in asker.rng.sample(shelf.products, k=min(2, len(shelf.products))):
        _put(asker, product)
    _see(asker)


def checkout(asker: Asker, shelf: Shelf) -> None:
    """Fill a cart, order what is in it, and see that the order is there."""
    product = asker.rng.choice(shelf.products)
    _put(asker, product)
    _see(asker)
    placed = asker.ask(
        "storefront",
        "POST /api/orders",
        "/api/orders",
        expect=(200, 201),
        body={"cart_id": asker.cart, "customer": {"name": asker.name}},
        headers={"Idempotency-Key": asker.key},
        check=_ordered(asker.lines),
    )
    order = str(placed.content["id"])
    shelf.orders.append(order)
    _find(asker, order, check=_ordered(asker.lines))


def lookup(asker: Asker, shelf: Shelf) -> None:
    """Look up an order that somebody placed before; the first one of all has to place it."""
    if not shelf.orders:
        shelf.orders.append(order_directly(asker, shelf))
    order = asker.rng.choice(list(shelf.orders))
    _find(asker, order, check=_is(order))


def program(asker: Asker, shelf: Shelf) -> None:
    """Do what a program does that uses the services themselves, without the storefront before them."""
    product = asker.rng.choice(shelf.products)
    asker.ask("catalog", "GET /products", f"/products?limit={PAGE}", check=_has("items"))
    asker.ask("catalog", "GET /products/{product_id}", f"/products/{product}", check=_is(product))
    asker.ask("catalog", "GET /search", f"/search?q={quote(asker.rng.choice(shelf.words))}", check=_has("items"))
    line, asker.lines[product] = f"/carts/{asker.cart}/lines/{product}", 1
    asker.ask("cart", "PUT /carts/{cart_id}/lines/{product_id}", line, body={"quantity": 1}, check=_holds(asker.lines))
    asker.ask("cart", "GET /carts/{cart_id}", f"/carts/{asker.cart}", check=_holds(asker.lines))
    order = order_directly(asker, shelf)
    asker.ask("orders", "GET /orders/{order_id}", f"/orders/{order}", check=_is(order))


JOURNEYS: Mapping[str, Callable[[Asker, Shelf], None]] = {
    "browse": browse,
    "search": search,
    "cart": cart,
    "checkout": checkout,
    "lookup": lookup,
    "program": program,
}


def order_directly(asker: Asker, shelf: Shelf) -> str:
    """The id of an order that the orders service itself was asked for."""
    product = asker.rng.choice(shelf.products)
    line = {"product_id": product, "name": "Load test", "unit_price_cents": 100, "quantity": 1}
    body = {"customer": {"name": asker.name}, "lines": [line]}
    headers = {"Idempotency-Key": asker.key}
    placed = asker.ask(
        "orders", "POST /orders", "/orders", expect=(200, 201), body=body, headers=headers, check=_ordered({product: 1})
    )
    return str(placed.content["id"])


def _look(asker: Asker, product: str) -> None:
    asker.ask("storefront", "GET /api/products/{product_id}", f"/api/products/{product}", check=_is(product))


def _put(asker: Asker, product: str) -> None:
    path, quantity = f"/api/carts/{asker.cart}/lines/{product}", asker.rng.randint(1, MOST)
    name = "PUT /api/carts/{cart_id}/lines/{product_id}"
    asker.lines[product] = quantity
    asker.ask("storefront", name, path, body={"quantity": quantity}, check=_holds(asker.lines))


def _see(asker: Asker) -> None:
    asker.ask("storefront", "GET /api/carts/{cart_id}", f"/api/carts/{asker.cart}", check=_holds(asker.lines))


def _find(asker: Asker, order: str, *, check: Callable[[Answer], str]) -> None:
    asker.ask("storefront", "GET /api/orders/{order_id}", f"/api/orders/{order}", check=check)


# Each of these makes a check, which says what is wrong with an answer, or "".


def _shows(text: str) -> Callable[[Answer], str]:
    return lambda answer: "" if text in answer.body else f"the page does not show {text!r}"


def _has(key: str) -> Callable[[Answer], str]:
    return lambda answer: "" if (_map(answer).get(key)) else f"the answer lacks {key}"


def _is(identifier: str) -> Callable[[Answer], str]:
    return lambda answer: "" if _map(answer).get("id") == identifier else "the answer is about something else"


def _holds(lines: Mapping[str, int]) -> Callable[[Answer], str]:
    return lambda answer: "" if _lines(answer) == lines else "the cart does not hold what was put into it"


def _ordered(lines: Mapping[str, int]) -> Callable[[Answer], str]:
    def check(answer: Answer) -> str:
        if not _map(answer).get("id"):
            return "the order has no id"
        return "" if _lines(answer) == lines else "the order is not for what was in the cart"

    return check


def _map(answer: Answer) -> Mapping[str, Any]:
    content = answer.content
    return content if isinstance(content, dict) else {}


def _lines(answer: Answer) -> Mapping[str, Any]:
    """How many of each product; None for what stands there twice."""
    found: dict[str, Any] = {}
    for line in _map(answer).get("lines") or []:
        product = str(line.get("product_id"))
        found[product] = None if product in found else line.get("quantity")
    return found
