"""The cart: what a visitor means to buy. Each cart lives in Valkey until it is emptied, or nobody has changed it for long."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from baskets import MAX_LINES, MAX_QUANTITY, Basket, Baskets, CartFull, StoreAway
from chassis import Config, ConfigError, Identity, Problem, Service, run
from chassis.idempotency import KEY_PARAMETER, idempotency_key
from chassis.problems import document

log = logging.getLogger("chassis")

VALKEY_URL = "VALKEY_URL"

# Seconds after which a caller is told to come back while Valkey is away.
COME_BACK = 1


class CartConfig(Config):
    """What the cart is told, beside what every service is told."""

    cart_ttl_seconds: int = Field(
        default=604_800, ge=1, le=31_536_000, description="How long after its last change a cart is kept."
    )


class Wanted(BaseModel):
    """How many of a product are wanted."""

    model_config = ConfigDict(extra="forbid")

    quantity: int = Field(strict=True, ge=1, le=MAX_QUANTITY)


class Line(BaseModel):
    """A product in a cart."""

    product_id: str
    quantity: int


class Cart(BaseModel):
    """What a visitor means to buy."""

    id: str
    lines: Sequence[Line] = Field(description="In the order of the product ids.")
    expires_in_seconds: int = Field(description="Until the cart is forgotten, unless it is changed; 0 when it is empty.")


PRODUCT_ID = r"^[a-z0-9]+(-[a-z0-9]+)*$"

CartId = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9_-]{16,64}$",
        description="Made up by the caller, and known to nobody else: whoever knows it may read and change the cart.",
        examples=["example-cart-0123456789"],
    ),
]
ProductId = Annotated[str, Path(pattern=PRODUCT_ID, max_length=60, description="As in the catalog.", examples=["mug-enamel"])]
Key = Annotated[str, Depends(idempotency_key)]


class OrderedLine(Wanted):
    """So many of a product."""

    product_id: Annotated[str, StringConstraints(pattern=PRODUCT_ID, max_length=60)]


class Ordered(BaseModel):
    """What leaves a cart because it was ordered."""

    model_config = ConfigDict(extra="forbid")

    lines: Sequence[OrderedLine] = Field(max_length=MAX_LINES)


def create(config: CartConfig, identity: Identity, *, environ: Mapping[str, str] = os.environ) -> Service[CartConfig]:
    """The cart, ready to serve; Valkey may come later.

    Raises:
        ConfigError: VALKEY_URL is not set, or is no URL.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        yield
        await baskets.aclose()

    service = Service(config, identity, description=__doc__ or "", lifespan=lifespan)
    baskets = _baskets(environ.get(VALKEY_URL, ""), config, service)
    service.lifecycle.check("valkey", baskets.ping)
    app = service.app

    async def away(request: Request, error: Exception) -> Response:
        log.warning("Valkey did not do what it was asked: %s", error)
        return document(503, "the carts cannot be reached; try again in a moment", headers={"Retry-After": str(COME_BACK)})

    app.add_exception_handler(StoreAway, away)

    @app.get("/carts/{cart_id}")
    async def get_cart(cart_id: CartId, response: Response) -> Cart:
        """Gets a cart; one that nobody has written to, or that has expired, is empty."""
        response.headers["Cache-Control"] = "no-store"
        return _shown(cart_id, await baskets.get(cart_id))

    @app.put("/carts/{cart_id}/lines/{product_id}")
    async def put_line(cart_id: CartId, product_id: ProductId, wanted: Wanted, response: Response) -> Cart:
        """Sets how many of a product are in a cart; 409 when that would be one line too many."""
        response.headers["Cache-Control"] = "no-store"
        with refusing_one_too_many():
            return _shown(cart_id, await baskets.put(cart_id, product_id, wanted.quantity))

    @app.post("/carts/{cart_id}/lines/{product_id}", openapi_extra={"parameters": [KEY_PARAMETER]})
    async def add_to_line(cart_id: CartId, product_id: ProductId, wanted: Wanted, key: Key, response: Response) -> Cart:
        """Puts so many more of a product into a cart, up to what a line may have; 409 when that would be one line too many."""
        response.headers["Cache-Control"] = "no-store"
        with refusing_one_too_many():
            return _shown(cart_id, await baskets.add(cart_id, product_id, wanted.quantity, key=key))

    @app.post("/carts/{cart_id}/ordered", status_code=204, openapi_extra={"parameters": [KEY_PARAMETER]})
    async def take_ordered(cart_id: CartId, ordered: Ordered, key: Key) -> None:
        """Takes what was ordered out of a cart, once for each order's key; what was put into it since stays."""
        await baskets.take(cart_id, [(line.product_id, line.quantity) for line in ordered.lines], key=key)

    @app.delete("/carts/{cart_id}/lines/{product_id}", status_code=204)
    async def delete_line(cart_id: CartId, product_id: ProductId) -> None:
        """Takes a product out of a cart, if it is there."""
        await baskets.remove(cart_id, product_id)

    @app.delete("/carts/{cart_id}", status_code=204)
    async def delete_cart(cart_id: CartId) -> None:
        """Empties a cart."""
        await baskets.clear(cart_id)

    return service


@contextmanager
def refusing_one_too_many() -> Generator[None]:
    """Tells the caller that the cart is full, when it is."""
    try:
        yield
    except CartFull:
        raise Problem(409, f"a cart holds at most {MAX_LINES} products; take one out first") from None


def _baskets(url: str, config: CartConfig, service: Service[CartConfig]) -> Baskets:
    example = "redis://:PASSWORD@valkey:6379/0"
    if not url:
        raise ConfigError(f"{VALKEY_URL} is not set; it says where Valkey is, such as {example}")
    try:
        return Baskets(url, ttl=config.cart_ttl_seconds, registry=service.metrics.registry)
    except ValueError:  # its message would put the password into the log
        raise ConfigError(f"{VALKEY_URL} is not a URL of Valkey, such as {example}") from None


def _shown(cart_id: str, basket: Basket) -> Cart:
    lines = [Line(product_id=product, quantity=quantity) for product, quantity in basket.lines.items()]
    return Cart(id=cart_id, lines=lines, expires_in_seconds=basket.expires_in_seconds)


if __name__ == "__main__":
    run("cart", create, CartConfig)
