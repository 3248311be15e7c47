"""The catalog: what the shop sells, to list, to filter and to search. It reads its products once and keeps no state."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from chassis import Config, Identity, Problem, Service, cacheable, run
from products import Catalog, Found, Page, Product, Tag

TITLE = "Slipway Chandlery"
GREETING = "Everything for the boat, from rope to breakfast."

PRODUCTS = Path(__file__).with_name("products.yaml")


class CatalogConfig(Config):
    """What the catalog is told, beside what every service is told."""

    notice: str = Field(default="", max_length=200, description="A sentence shown to every visitor of this environment.")
    cache_seconds: int = Field(default=0, ge=0, le=86_400, description="How long callers may keep an answer.")
    page_size: int = Field(default=20, ge=1, le=100, description="Products on a page when the caller names no limit.")


class Shop(BaseModel):
    """The front door."""

    title: str
    greeting: str
    notice: str
    environment: str
    products: int


Limit = Annotated[int | None, Query(ge=1, le=100, description="Products on a page.")]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="Products to skip.")]
TagName = Annotated[str | None, Query(min_length=1, max_length=40, description="Only products with this tag.")]
Words = Annotated[str, Query(min_length=1, max_length=100, description="Words to look for; all must be found.")]


def create(config: CatalogConfig, identity: Identity) -> Service[CatalogConfig]:
    """The catalog, ready to serve."""
    service = Service(config, identity, description=__doc__ or "")
    app, catalog = service.app, Catalog.read(PRODUCTS)

    def answer(request: Request, content: BaseModel) -> Response:
        return cacheable(request, content.model_dump_json().encode(), max_age=config.cache_seconds)

    @app.get("/")
    async def shop(request: Request) -> Shop:
        """Says what this shop is."""
        return Shop(
            title=TITLE,
            greeting=GREETING,
            notice=config.notice,
            environment=identity.environment,
            products=len(catalog.products),
        )

    @app.get("/products", response_model=Page)
    async def list_products(request: Request, tag: TagName = None, limit: Limit = None, offset: Offset = 0) -> Response:
        """Lists products by id, a page at a time."""
        return answer(request, catalog.page(tag=tag, limit=limit or config.page_size, offset=offset))

    @app.get("/products/{product_id}", response_model=Product)
    async def get_product(request: Request, product_id: str) -> Response:
        """Gets one product."""
        product = catalog.products.get(product_id)
        if product is None:
            raise Problem(404, "there is no product with this id; GET /products lists them")
        return answer(request, product)

    @app.get("/search", response_model=Found)
    async def search(request: Request, q: Words, tag: TagName = None, limit: Limit = None, offset: Offset = 0) -> Response:
        """Finds products by words, best match first; case and accents make no difference."""
        return answer(request, catalog.search(q, tag=tag, limit=limit or config.page_size, offset=offset))

    @app.get("/tags", response_model=list[Tag])
    async def list_tags() -> list[Tag]:
        """Lists the tags with the number of products that carry each."""
        return catalog.tags()

    return service


if __name__ == "__main__":
    run("catalog", create, CatalogConfig)
