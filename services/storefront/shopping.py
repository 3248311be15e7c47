"""What a customer does: fill a cart, see what it comes to, order it exactly once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from prometheus_client import CollectorRegistry, Counter
from pydantic import BaseModel, Field, StringConstraints

from chassis import Problem
from chassis.client import Unavailable
from chassis.context import time_limit
from together import together
from upstreams import Cart, Carts, Catalog, Order, OrderLine, Orders, Product

log = logging.getLogger("chassis")

# Seconds that placing an order leaves for taking it out of the cart afterwards.
FOR_TAKING_OUT = 0.5

MAX_NAME = 100
CustomerName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_NAME, pattern=r"^\P{Cc}+$")]


class BasketLine(BaseModel):
    """A product in a cart, at today's price."""

    product_id: str
    quantity: int
    name: str | None = Field(description="Null when the product is no longer sold: it must be removed before ordering.")
    unit_price_cents: int | None
    total_cents: int


class Basket(BaseModel):
    """A cart, with what the catalog says about the products in it."""

    id: str
    lines: Sequence[BasketLine]
    items: int = Field(description="How many things are in it, all together.")
    total_cents: int
    currency: str = "EUR"
    expires_in_seconds: int | None = None

    @property
    def gone(self) -> Sequence[str]:
        """Ids of products in it that are no longer sold."""
        return [line.product_id for line in self.lines if line.unit_price_cents is None]

    @property
    def mark(self) -> str:
        """The same for the same quantities of the same products at the same prices, and for nothing else."""
        told = [(line.product_id, line.quantity, line.unit_price_cents) for line in self.lines]
        return hashlib.blake2b(json.dumps(told).encode(), digest_size=16).hexdigest()


class Changed(Problem):
    """The cart, or a price, is no longer what the customer agreed to."""

    def __init__(self) -> None:
        super().__init__(409, "the cart has changed; look at it, and order what is in it now")


@dataclass(frozen=True)
class Placed:
    """An accepted order, and whether this request is the one that placed it."""

    order: Order
    new: bool


class Shopping:
    """The shop's own rules, over the three services behind it."""

    def __init__(self, catalog: Catalog, carts: Carts, orders: Orders, registry: CollectorRegistry, *, seconds: float) -> None:
        self.catalog, self.carts, self.orders = catalog, carts, orders
        self._seconds = seconds
        self._checkouts = Counter(
            "checkouts",
            "Orders asked for, by what came of it: accepted, replayed (accepted before), refused or failed.",
            ("result",),
            registry=registry,
        )
        # A counter that is not there yet hides its first step.
        for result in ("accepted", "replayed", "refused", "failed"):
            self._checkouts.labels(result)

    async def basket(self, cart_id: str) -> Basket:
        """The cart, priced."""
        return await self._priced(await self.carts.get(cart_id))

    async def put(self, cart_id: str, product_id: str, quantity: int) -> Basket:
        """The cart with that many of the product in it, priced.

        Raises:
            Problem: There is no such product (404), or the cart is full (409).
        """
        product = await self.catalog.product(product_id)
        if product is None:
            raise Problem(404, "there is no product with this id")
        return await self._priced(await self.carts.put(cart_id, product_id, quantity), {product_id: product})

    async def add(self, cart_id: str, product_id: str, quantity: int) -> None:
        """Put so many more of the product into the cart, up to what a cart takes.

        Raises:
            Problem: There is no such product (404), or the cart is full (409).
        """
        if await self.catalog.product(product_id) is None:
            raise Problem(404, "there is no product with this id")
        await self.carts.add(cart_id, product_id, quantity)

    async def place(self, cart_id: str | None, key: str, customer: str, *, seen: str | None = None) -> Placed:
        """The order for what is in the cart: one order for one key, however often it is asked for.

        An order that was accepted under the key is the answer, even when its cart is gone, holds other things by now or cannot be
        reached. What was ordered is taken out of the cart afterwards; whether that works is no concern of the order.

        Args:
            cart_id: The customer's cart.
            key: The same for each attempt to place this order.
            customer: Who orders.
            seen: The mark of the basket that the customer agreed to, for who was shown one.

        Raises:
            Changed: The basket is another one by now (409).
            Problem: There is nothing to order (409), or the key belongs to another customer's order (422).
            Unavailable: Nobody knows whether the order was accepted; asking again with the same key is safe.
        """
        try:
            with time_limit(self._seconds - FOR_TAKING_OUT):
                placed = await self._accepted(cart_id, key, customer, seen)
        except Problem as problem:
            self._checkouts.labels("failed" if problem.status_code >= 500 else "refused").inc()
            raise
        self._checkouts.labels("accepted" if placed.new else "replayed").inc()
        if cart_id:
            await self._take_out(cart_id, key, placed.order)
        return placed

    async def _accepted(self, cart_id: str | None, key: str, customer: str, seen: str | None) -> Placed:
        before, cart = await together(self.orders.placed(key), self._cart(cart_id))
        if before:
            return self._again(before, customer)
        if isinstance(cart, Unavailable):
            raise cart
        basket = await self._priced(cart)
        if refusal := _refusal(basket, seen):
            # Another attempt may have been accepted, and taken out of the cart, between the two questions.
            if before := await self.orders.placed(key):
                return self._again(before, customer)
            raise refusal
        answer = await self.orders.place(key, customer, _lines(basket))
        if answer:
            return Placed(*answer)
        # The same key with other content: two attempts at once, and a price that changed between them.
        if before := await self.orders.placed(key):
            return self._again(before, customer)
        raise Unavailable("orders", 502, "orders did not take the order")

    def _again(self, order: Order, customer: str) -> Placed:
        if order.customer.name != customer:
            raise Problem(422, "this idempotency key belongs to another order; make a new key for each order")
        return Placed(order, new=False)

    async def _cart(self, cart_id: str | None) -> Cart | Unavailable:
        """The cart, or why it cannot be had: an order that was accepted before does not need it."""
        try:
            return await self.carts.get(cart_id) if cart_id else Cart(id="", lines=())
        except Unavailable as error:
            return error

    async def _take_out(self, cart_id: str, key: str, order: Order) -> None:
        try:
            with time_limit(FOR_TAKING_OUT):
                await self.carts.ordered(cart_id, key, order.lines)
        except Problem as problem:
            log.warning("what was ordered could not be taken out of the cart: %s", problem.detail)

    async def _priced(self, cart: Cart, known: Mapping[str, Product] = MappingProxyType({})) -> Basket:
        """The cart at today's prices; what is known already is not asked for again."""
        asked = await self.catalog.products(line.product_id for line in cart.lines if line.product_id not in known)
        return priced(cart, {**asked, **known})


def priced(cart: Cart, products: Mapping[str, Product | None]) -> Basket:
    """The cart at these products' prices; what is no longer sold costs nothing."""
    lines: list[BasketLine] = []
    for line in cart.lines:
        product = products[line.product_id]
        lines.append(
            BasketLine(
                product_id=line.product_id,
                quantity=line.quantity,
                name=product.name if product else None,
                unit_price_cents=product.price_cents if product else None,
                total_cents=line.quantity * product.price_cents if product else 0,
            )
        )
    return Basket(
        id=cart.id,
        lines=lines,
        items=sum(line.quantity for line in lines),
        total_cents=sum(line.total_cents for line in lines),
        expires_in_seconds=cart.expires_in_seconds,
    )


def _refusal(basket: Basket, seen: str | None) -> Problem | None:
    if not basket.lines:
        return Problem(409, "the cart is empty; put something into it first")
    if basket.gone:
        return Problem(409, f"no longer sold: {', '.join(basket.gone[:10])}; remove it from the cart and order the rest")
    return Changed() if seen not in (None, basket.mark) else None


def _lines(basket: Basket) -> list[OrderLine]:
    return [
        OrderLine(
            product_id=line.product_id, name=line.name or "", unit_price_cents=line.unit_price_cents or 0, quantity=line.quantity
        )
        for line in basket.lines
    ]
