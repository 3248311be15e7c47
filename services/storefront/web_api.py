"""The shop as JSON, under /api: the same rules as the pages, for programs."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from chassis import Problem, cacheable
from chassis.idempotency import KEY_PARAMETER, idempotency_key
from shopping import Basket, CustomerName, Shopping
from upstreams import MOST, Order, Product, ProductPage

CART_ID = r"^[A-Za-z0-9_-]{16,64}$"

CartId = Annotated[str, Path(pattern=CART_ID, description="Made by the caller; who knows it has the cart.")]
TagName = Annotated[str | None, Query(min_length=1, max_length=40, description="Only products with this tag.")]
Limit = Annotated[int | None, Query(ge=1, le=100, description="Products on a page.")]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="Products to skip.")]
Words = Annotated[str, Query(min_length=1, max_length=100, description="Words to look for; all must be found.")]


class Body(BaseModel):
    """What a caller sends; a key that nobody here knows is refused, since its sender believes that it counts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Wanted(Body):
    """How many of a product are to be in the cart."""

    quantity: int = Field(ge=1, le=MOST)


class Buyer(Body):
    """Who orders."""

    name: CustomerName


class Checkout(Body):
    """What makes a cart an order. Prices are the catalog's, and no part of it."""

    cart_id: Annotated[str, StringConstraints(pattern=CART_ID)]
    customer: Buyer


def add_web_api(app: FastAPI, shopping: Shopping, *, page_size: int) -> None:
    """Add the JSON routes to the app."""

    @app.get("/api/products", response_model=ProductPage)
    async def list_products(request: Request, tag: TagName = None, limit: Limit = None, offset: Offset = 0) -> Response:
        """Lists products by id, a page at a time."""
        return shared(request, await shopping.catalog.page(tag=tag, limit=limit or page_size, offset=offset))

    @app.get("/api/products/{product_id}", response_model=Product)
    async def get_product(request: Request, product_id: str) -> Response:
        """Gets one product."""
        product = await shopping.catalog.product(product_id)
        if product is None:
            raise Problem(404, "there is no product with this id; GET /api/products lists them")
        return shared(request, product)

    @app.get("/api/search", response_model=ProductPage)
    async def search_products(
        request: Request, q: Words, tag: TagName = None, limit: Limit = None, offset: Offset = 0
    ) -> Response:
        """Finds products by words, best match first; case and accents make no difference."""
        return shared(request, await shopping.catalog.search(q, tag=tag, limit=limit or page_size, offset=offset))

    @app.get("/api/carts/{cart_id}", response_model=Basket)
    async def get_cart(cart_id: CartId) -> Response:
        """Gets a cart with the names and prices of what is in it; an unknown or expired one is empty."""
        return own(await shopping.basket(cart_id))

    @app.put("/api/carts/{cart_id}/lines/{product_id}", response_model=Basket)
    async def put_line(cart_id: CartId, product_id: str, wanted: Wanted) -> Response:
        """Sets how many of a product are in the cart."""
        return own(await shopping.put(cart_id, product_id, wanted.quantity))

    @app.delete("/api/carts/{cart_id}/lines/{product_id}", status_code=204)
    async def delete_line(cart_id: CartId, product_id: str) -> Response:
        """Takes a product out of the cart; one that is not in it is no mistake."""
        await shopping.carts.remove(cart_id, product_id)
        return Response(status_code=204)

    @app.post(
        "/api/orders",
        status_code=201,
        response_model=Order,
        responses={200: {"model": Order, "description": "The order that an earlier request with this key placed."}},
        openapi_extra={"parameters": [KEY_PARAMETER]},
    )
    async def place_order(key: Annotated[str, Depends(idempotency_key)], checkout: Checkout) -> Response:
        """Orders what is in a cart, and takes it out; a repeated request gets the first one's order, even if the cart is gone."""
        placed = await shopping.place(checkout.cart_id, key, checkout.customer.name)
        headers = {"Location": f"/api/orders/{quote(placed.order.id, safe='')}"}
        if not placed.new:
            headers["Idempotency-Replayed"] = "true"
        return own(placed.order, status=201 if placed.new else 200, headers=headers)

    @app.get("/api/orders/{order_id}", response_model=Order)
    async def get_order(order_id: Annotated[str, Path(examples=["7QK4-9XWB-2MHD-TV3C"])]) -> Response:
        """Gets one order."""
        order = await shopping.orders.get(order_id)
        if order is None:
            raise Problem(404, "there is no order with this id")
        return own(order)


def shared(request: Request, content: BaseModel) -> Response:
    """What is the same for everybody: callers may keep it, and ask whether it is still true."""
    return cacheable(request, content.model_dump_json().encode(), max_age=0)


def own(content: BaseModel, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """What is one customer's: nobody on the way keeps it."""
    told = {**(headers or {}), "Cache-Control": "no-store"}
    return Response(content.model_dump_json(), status, headers=told, media_type="application/json")
