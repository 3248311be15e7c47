"""The three services behind the shop, as the storefront asks them and as it understands their answers."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from chassis import Problem
from chassis.client import Unavailable, Upstream
from chassis.idempotency import KEY_HEADER
from chassis.wire import Response
from together import together

# A product's id as the catalog makes it; anything else is no product's.
_PRODUCT_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

# Letters and digits that people can read to each other.
_ORDER_ID = re.compile(r"[0-9A-Za-z-]{4,40}")

# Pieces of one product that a cart takes.
MOST = 99

# Products that one request asks the catalog for at the same time.
_AT_ONCE = 8

T = TypeVar("T")


class Answer(BaseModel):
    """What another service says; keys that are new to us are no mistake."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Product(Answer):
    """One thing the shop sells."""

    id: str = Field(pattern=_PRODUCT_ID, max_length=60)
    name: str
    description: str
    price_cents: int = Field(ge=0, description="Price of one, in hundredths of the currency.")
    # Orders are added up in whole cents of one currency.
    currency: Literal["EUR"] = "EUR"
    tags: tuple[str, ...] = ()
    stock: Literal["plenty", "few", "none"] = Field(description="A hint, not a promise.")


class ProductPage(Answer):
    """Some products of a list, and where they lie in it."""

    items: tuple[Product, ...]
    total: int = Field(description="Products in the whole list.")
    limit: int
    offset: int
    next_offset: int | None = Field(description="The offset of the next page; null on the last one.")


class Front(Answer):
    """What the catalog says of the shop."""

    greeting: str = Field(min_length=1, max_length=200)


class Tag(Answer):
    """A tag, and how many products carry it."""

    name: str
    products: int


class CartLine(Answer):
    """A product in a cart; what it is called and costs is the catalog's to say."""

    product_id: str
    quantity: int


class Cart(Answer):
    """What lies in a cart; an unknown or expired one is empty."""

    id: str
    lines: tuple[CartLine, ...]
    expires_in_seconds: int | None = None


class Customer(Answer):
    """Who ordered."""

    name: str


class OrderLine(Answer):
    """One product of an order, at the price of that day."""

    product_id: str
    name: str
    unit_price_cents: Annotated[int, Field(ge=0)]
    quantity: int


class Order(Answer):
    """An order the shop has accepted."""

    id: str
    status: str
    customer: Customer
    lines: tuple[OrderLine, ...]
    total_cents: int
    created_at: datetime


class Refusal(Answer):
    """Why another service did not do something."""

    detail: str = Field(min_length=1, max_length=500)


_PAGE, _TAGS, _PRODUCT = TypeAdapter(ProductPage), TypeAdapter(tuple[Tag, ...]), TypeAdapter(Product)
_FRONT = TypeAdapter(Front)
_CART, _ORDER = TypeAdapter(Cart), TypeAdapter(Order)


class Catalog:
    """What the shop sells."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def page(self, *, tag: str | None, limit: int, offset: int) -> ProductPage:
        """Products by id, a page at a time."""
        params = _given(tag=tag, limit=limit, offset=offset)
        return _read(self._upstream, await self._upstream.request("GET", "/products", params=params), _PAGE)

    async def search(self, words: str, *, tag: str | None, limit: int, offset: int) -> ProductPage:
        """Products in which every word is found, best first."""
        params = _given(q=words, tag=tag, limit=limit, offset=offset)
        return _read(self._upstream, await self._upstream.request("GET", "/search", params=params), _PAGE)

    async def front(self) -> Front:
        """What it says of the shop."""
        return _read(self._upstream, await self._upstream.request("GET", "/"), _FRONT)

    async def tags(self) -> Sequence[Tag]:
        """Every tag, in alphabetical order."""
        return _read(self._upstream, await self._upstream.request("GET", "/tags"), _TAGS)

    async def product(self, product_id: str) -> Product | None:
        """The product of that id; None when there is none."""
        if not _is_product_id(product_id):
            return None
        answer = await self._upstream.request("GET", f"/products/{product_id}")
        return None if answer.status_code == 404 else _read(self._upstream, answer, _PRODUCT)

    async def products(self, product_ids: Iterable[str]) -> Mapping[str, Product | None]:
        """The products of these ids, asked for together; None for each that is not there."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def ask(product_id: str) -> tuple[str, Product | None]:
            async with turns:
                return product_id, await self.product(product_id)

        return dict(await together(*(ask(product_id) for product_id in product_ids)))


class Carts:
    """What customers have chosen so far."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def get(self, cart_id: str) -> Cart:
        """What lies in the cart."""
        return _read(self._upstream, await self._upstream.request("GET", _cart(cart_id)), _CART)

    async def put(self, cart_id: str, product_id: str, quantity: int) -> Cart:
        """The cart with that many of the product in it.

        Raises:
            Problem: The cart does not take it, such as 409 when it is full.
        """
        body = {"quantity": quantity}
        answer = await self._upstream.request("PUT", _line(cart_id, product_id), json=body)
        _taken(self._upstream, answer)
        return _read(self._upstream, answer, _CART)

    async def remove(self, cart_id: str, product_id: str) -> None:
        """Take a product out of the cart; one that is not in it is no mistake."""
        if _is_product_id(product_id):
            _done(self._upstream, await self._upstream.request("DELETE", _line(cart_id, product_id)))

    async def add(self, cart_id: str, product_id: str, quantity: int) -> None:
        """Put so many more of the product into the cart, up to what a cart takes: once, however often it has to be sent.

        Raises:
            Problem: The cart does not take it, such as 409 when it is full.
        """
        headers = {KEY_HEADER: secrets.token_hex(16)}
        answer = await self._upstream.request("POST", _line(cart_id, product_id), json={"quantity": quantity}, headers=headers)
        _taken(self._upstream, answer)

    async def ordered(self, cart_id: str, key: str, lines: Sequence[OrderLine]) -> None:
        """Take what was ordered under this key out of the cart: once, however often it is asked for."""
        body = {"lines": [{"product_id": line.product_id, "quantity": line.quantity} for line in lines]}
        answer = await self._upstream.request("POST", f"{_cart(cart_id)}/ordered", json=body, headers={KEY_HEADER: key})
        _done(self._upstream, answer)


class Orders:
    """What customers have ordered."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def get(self, order_id: str) -> Order | None:
        """The order of that id; None when there is none."""
        if not _ORDER_ID.fullmatch(order_id):
            return None
        answer = await self._upstream.request("GET", f"/orders/{quote(order_id, safe='')}")
        return None if answer.status_code == 404 else _read(self._upstream, answer, _ORDER)

    async def placed(self, key: str) -> Order | None:
        """The order that was accepted under this idempotency key; None when none was."""
        answer = await self._upstream.request("GET", "/orders", params={"idempotency_key": key})
        return None if answer.status_code == 404 else _read(self._upstream, answer, _ORDER)

    async def place(self, key: str, customer: str, lines: Sequence[OrderLine]) -> tuple[Order, bool] | None:
        """The accepted order, and whether it is a new one; None when the key belongs to an order with other content."""
        body = {"customer": {"name": customer}, "lines": [line.model_dump() for line in lines]}
        answer = await self._upstream.request("POST", "/orders", json=body, headers={KEY_HEADER: key})
        return None if answer.status_code == 422 else (_read(self._upstream, answer, _ORDER), answer.status_code == 201)


def _is_product_id(text: str) -> bool:
    return len(text) <= 60 and bool(_PRODUCT_ID.fullmatch(text))


def _given(**values: str | int | None) -> dict[str, str | int]:
    return {name: value for name, value in values.items() if value is not None}


def _cart(cart_id: str) -> str:
    return f"/carts/{quote(cart_id, safe='')}"


def _line(cart_id: str, product_id: str) -> str:
    return f"{_cart(cart_id)}/lines/{quote(product_id, safe='')}"


def _read(upstream: Upstream, answer: Response, model: TypeAdapter[T]) -> T:
    _done(upstream, answer)
    try:
        return model.validate_json(answer.content)
    except ValidationError as error:
        raise Unavailable(upstream.name, 502, f"{upstream.name} gave an answer that makes no sense") from error


def _taken(upstream: Upstream, answer: Response) -> None:
    """Raise when the cart did not take a product."""
    if answer.status_code == 409:
        raise Problem(409, _detail(answer, "the cart takes no more products"))
    _done(upstream, answer)


def _done(upstream: Upstream, answer: Response) -> None:
    """Raise when the other service did not do what was asked: what customers may get wrong was checked before asking."""
    if not answer.is_success:
        raise Unavailable(
            upstream.name, 502, f"{upstream.name} did not take the request: {_detail(answer, str(answer.status_code))}"
        )


def _detail(answer: Response, otherwise: str) -> str:
    try:
        return Refusal.model_validate_json(answer.content).detail
    except ValidationError:
        return otherwise
