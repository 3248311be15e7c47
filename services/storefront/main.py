"""The storefront: the edge of the shop. Pages and JSON for customers, made of what catalog, cart and orders say."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Literal

from fastapi import FastAPI
from pydantic import Field

from chassis import Config, Identity, Service, run
from chassis.client import Upstream
from chassis.wire import Transport
from pages import add_pages
from rendering import HERE, SECURITY_HEADERS, Renderer, Static, tell_errors
from shopping import Shopping
from upstreams import Carts, Catalog, Orders
from web_api import add_web_api

Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#]+/?$", max_length=200)]


class StorefrontConfig(Config):
    """What the storefront is told, beside what every service is told."""

    catalog_url: Url = Field(default="http://catalog", description="Where the catalog answers.")
    cart_url: Url = Field(default="http://cart", description="Where the cart answers.")
    orders_url: Url = Field(default="http://orders", description="Where orders answers.")
    answer_seconds: float = Field(
        default=3, ge=1, le=30, description="How long a request may wait for the other services, all together."
    )
    page_size: int = Field(default=12, ge=1, le=100, description="Products on a page.")
    notice: str = Field(default="", max_length=200, description="A sentence shown on every page of this environment.")
    theme: Literal["plain", "sky", "violet", "amber", "green", "rose"] = Field(
        default="plain", description="The colour of the environment's badge and of the notice."
    )
    secure_cookies: bool = Field(default=False, description="Whether customers come by https only.")


def create(config: StorefrontConfig, identity: Identity, *, transport: Transport | None = None) -> Service[StorefrontConfig]:
    """The storefront, ready to serve; none of the others need be there.

    Args:
        config: What it is told.
        identity: Who and where it is.
        transport: What carries calls to the others; for tests.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for upstream in (catalog, cart, orders):
                await stack.enter_async_context(upstream)
            yield

    service = Service(
        config,
        identity,
        description=__doc__ or "",
        lifespan=lifespan,
        headers=SECURITY_HEADERS,
        patience=config.answer_seconds,
    )
    catalog = Upstream("catalog", config.catalog_url, service.metrics, environment=identity.environment, transport=transport)
    cart = Upstream("cart", config.cart_url, service.metrics, environment=identity.environment, transport=transport)
    orders = Upstream("orders", config.orders_url, service.metrics, environment=identity.environment, transport=transport)
    shopping = Shopping(Catalog(catalog), Carts(cart), Orders(orders), service.metrics.registry, seconds=config.answer_seconds)
    static = Static(HERE / "static")
    renderer = Renderer(identity, static, notice=config.notice, theme=config.theme)
    tell_errors(service.app, renderer)

    # Added to the app itself: each router between would match and be resolved twice for every request.
    add_web_api(service.app, shopping, page_size=config.page_size)
    for route in ("/api/orders", "/checkout"):  # an alert counts them
        service.metrics.show_failures("POST", route)
    add_pages(service.app, shopping, renderer, static, page_size=config.page_size, secure_cookies=config.secure_cookies)
    return service


if __name__ == "__main__":
    run("storefront", create, StorefrontConfig)
