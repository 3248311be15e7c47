"""The pages of what the shop sells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from chassis import Problem
from rendering import Renderer, see
from shopping import Shopping
from together import together
from upstreams import Product
from visitors import GET, cart_items, optional

# What visitors read first when the catalog does not say it.
GREETING = "Welcome aboard."

# Products shown beside the one that is looked at.
RELATED = 4

TagName = Annotated[str, Query(max_length=40, description="Only products with this tag.")]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="Products to skip.")]
Words = Annotated[str, Query(max_length=100, description="Words to look for; all must be found.")]


def add_shop_pages(app: FastAPI, shopping: Shopping, renderer: Renderer, *, page_size: int) -> None:
    """Add the pages to the app."""

    @app.get("/", **GET)
    async def browse(request: Request, tag: TagName = "", offset: Offset = 0) -> Response:
        """Shows what the shop sells, a page at a time."""
        first = not tag and not offset
        products, tags, items, words = await together(
            shopping.catalog.page(tag=tag or None, limit=page_size, offset=offset),
            optional(shopping.catalog.tags()),
            cart_items(request, shopping.carts),
            greeting(shown=first),
        )
        return renderer.page("browse", products=products, tags=tags or (), tag=tag, first=first, greeting=words, cart_items=items)

    async def greeting(*, shown: bool) -> str:
        """The catalog's greeting; words of our own when it does not come in time."""
        front = await optional(shopping.catalog.front()) if shown else None
        return front.greeting if front else GREETING

    @app.get("/search", **GET)
    async def search(request: Request, q: Words = "", offset: Offset = 0) -> Response:
        """Shows what is found by words."""
        words = " ".join(q.split())
        if not words:
            return see("/")
        products, items = await together(
            shopping.catalog.search(words, tag=None, limit=page_size, offset=offset), cart_items(request, shopping.carts)
        )
        return renderer.page("search", products=products, words=words, cart_items=items)

    @app.get("/products/{product_id}", **GET)
    async def product(request: Request, product_id: str) -> Response:
        """Shows one product."""
        found, items = await together(shopping.catalog.product(product_id), cart_items(request, shopping.carts))
        if found is None:
            raise Problem(404, "we sell no such product, or no longer")
        return renderer.page("product", product=found, related=await related(found), cart_items=items)

    async def related(product: Product) -> Sequence[Product]:
        if not product.tags:
            return ()
        found = await optional(shopping.catalog.page(tag=product.tags[0], limit=RELATED + 1, offset=0))
        return [other for other in found.items if other.id != product.id][:RELATED] if found else ()
