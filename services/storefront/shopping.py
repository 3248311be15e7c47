"""What a customer does: fill a cart, see what it comes to, order it exactly once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from prometheus_client import CollectorRegistry, Counter
from pydantic import BaseModel, Field

from chassis import Problem
from chassis.client import Unavailable
from chassis.context import time_limit
from together import together
from upstreams import MOST, Cart, Carts, Catalog, Order, OrderLine, Orders, Product

log = logging.getLogger("chassis")

# Seconds that placing an order leaves for emptying the cart afterwards.
FOR_EMPTYING = 0.5


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
        product, cart = await together(self.catalog.product(product_id), self.carts.get(cart_id))
        if product is None:
            raise Problem(404, "there is no product with this id")
        there = sum(line.quantity for line in cart.lines if line.product_id == product_id)
        await self.carts.put(cart_id, product_id, min(there + quantity, MOST))

    async def place(self, cart_id: str | None, key: str, customer: str) -> Placed:
        """The order for what is in the cart: one order for one key, however often it is asked for.

        An order that was accepted under the key is the answer, even when its cart is gone or holds other things by now. The
        cart is emptied once the order is accepted; whether that works is no concern of the order.

        Raises:
            Problem: There is nothing to order (409), or the key belongs to another customer's order (422).
            Unavailable: Nobody knows whether the order was accepted; asking again with the same key is safe.
        """
        try:
            with time_limit(self._seconds - FOR_EMPTYING):
                placed, emptied = await self._accepted(cart_id, key, customer)
        except Problem as problem:
            self._checkouts.labels("failed" if problem.status_code >= 500 else "refused").inc()
            raise
        self._checkouts.labels("accepted" if placed.new else "replayed").inc()
        if cart_id and emptied:
            await self._empty(cart_id)
        return placed

    async def _accepted(self, cart_id: str | None, key: str, customer: str) -> tuple[Placed, bool]:
        """The order, and whether the cart still holds what was ordered."""
        before, cart = await together(self.orders.placed(key), self._cart(cart_id))
        if before:
            return self._again(before, customer), _same(cart, before)
        basket = await self._priced(cart)
        if not basket.lines:
            # Another attempt may have been accepted, and have emptied the cart, between the two questions.
            if before := await self.orders.placed(key):
                return self._again(before, customer), False
            raise Problem(409, "the cart is empty; put something into it first")
        if basket.gone:
            raise Problem(409, f"no longer sold: {', '.join(basket.gone[:10])}; remove it from the cart and order the rest")
        answer = await self.orders.place(key, customer, _lines(basket))
        if answer:
            return Placed(*answer), True
        # The same key with other content: two attempts at once, and a price that changed between them.
        if before := await self.orders.placed(key):
            return self._again(before, customer), _same(cart, before)
        raise Unavailable("orders", 502, "orders did not take the order")

    def _again(self, order: Order, customer: str) -> Placed:
        if order.customer.name != customer:
            raise Problem(422, "this idempotency key belongs to another order; make a new key for each order")
        return Placed(order, new=False)

    async def _cart(self, cart_id: str | None) -> Cart:
        return await self.carts.get(cart_id) if cart_id else Cart(id="", lines=())

    async def _empty(self, cart_id: str) -> None:
        try:
            with time_limit(FOR_EMPTYING):
                await self.carts.empty(cart_id)
        except Problem as problem:
            log.warning("the cart of an accepted order could not be emptied: %s", problem.detail)

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


def _lines(basket: Basket) -> list[OrderLine]:
    return [
        OrderLine(
            product_id=line.product_id, name=line.name or "", unit_price_cents=line.unit_price_cents or 0, quantity=line.quantity
        )
        for line in basket.lines
    ]


def _same(cart: Cart, order: Order) -> bool:
    """Whether the cart holds exactly what was ordered, so that it was left behind."""
    return {line.product_id: line.quantity for line in cart.lines} == {line.product_id: line.quantity for line in order.lines}
