"""Orders: accepts them and tells of them. An order that was accepted is in PostgreSQL, once, whatever happens afterwards."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from prometheus_client import Counter
from pydantic import Field

from chassis import Config, Identity, Problem, Service, request_id, run
from chassis.idempotency import KEY, KEY_HEADER, KEY_PARAMETER, idempotency_key
from chassis.problems import document
from database import Database, Unavailable, conninfo
from ledger import KeyReused, Ledger
from order import Draft, Order, read_id

log = logging.getLogger("chassis")

# Seconds after which a caller that was turned away may come back.
RETRY_AFTER = 1


class OrdersConfig(Config):
    """What orders is told, beside what every service is told."""

    pool_size: int = Field(default=4, ge=1, le=50, description="The most connections to the database for requests.")
    database_seconds: float = Field(
        default=0.8, gt=0, le=30, description="How long a request waits for the database; callers wait longer (1.5 s)."
    )


ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": Order, "description": "The order that an earlier request with this key placed."},
    201: {"headers": {"Location": {"schema": {"type": "string"}}}},
}


def create(config: OrdersConfig, identity: Identity, *, environ: Mapping[str, str] = os.environ) -> Service[OrdersConfig]:
    """Orders, ready to serve; the database need not be there yet.

    Raises:
        ConfigError: DATABASE_URL is missing or malformed, or faults are asked for where none are allowed.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        await database.open()
        try:
            yield
        finally:
            await database.close()

    service = Service(config, identity, description=__doc__ or "", lifespan=lifespan)
    app, registry = service.app, service.metrics.registry
    accepted = Counter("orders_accepted", "Orders accepted; each is committed.", registry=registry)
    replayed = Counter("orders_replayed", "Requests answered with an order that an earlier one placed.", registry=registry)
    # The server gives up as well, so that no statement outlives the one who asked.
    milliseconds = str(max(1, int(config.database_seconds * 1000)))
    options = {"statement_timeout": milliseconds, "lock_timeout": milliseconds, "synchronous_commit": "on"}
    target = conninfo(environ, application=f"{identity.service} {identity.version}", options=options)
    database = Database(target, size=config.pool_size, wait_seconds=config.database_seconds, registry=registry)
    ledger = Ledger(database)
    service.lifecycle.check("postgresql", ledger.check)

    async def away(request: Request, error: Exception) -> Response:
        log.warning("the database is away", extra={"fields": {"reason": str(error)}})
        detail = (
            f"the database does not do its work ({error}); send the request again: an order is accepted once per {KEY_HEADER}"
        )
        return document(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER)})

    app.add_exception_handler(Unavailable, away)

    service.metrics.show_failures("POST", "/orders")  # an alert counts them

    @app.post("/orders", status_code=201, response_model=Order, responses=ANSWERS, openapi_extra={"parameters": [KEY_PARAMETER]})
    async def place_order(key: Annotated[str, Depends(idempotency_key)], draft: Draft) -> Response:
        """Accepts an order; a repeated request gets the order of the first one, and the same key with other content a 422."""
        try:
            taken = await ledger.accept(draft, key=key, request_id=request_id())
        except KeyReused:
            raise Problem(422, f"this {KEY_HEADER} belongs to an order with other content; a new order needs a new one") from None
        (accepted if taken.new else replayed).inc()
        log.info("order accepted" if taken.new else "order replayed", extra={"fields": {"order_id": taken.order.id}})
        headers = {"Location": f"/orders/{taken.order.id}"}
        if taken.new:
            return _told(taken.order, status=201, headers=headers)
        return _told(taken.order, headers={**headers, "Idempotency-Replayed": "true"})

    @app.get("/orders", response_model=Order)
    async def find_order(
        key: Annotated[
            str, Query(alias="idempotency_key", pattern=f"^{KEY}$", description="The key that the order was placed with.")
        ],
    ) -> Response:
        """Finds the order of an idempotency key, for who does not know whether it was placed."""
        order = await ledger.by_key(key)
        if order is None:
            raise Problem(404, "no order was placed with this idempotency key")
        return _told(order)

    @app.get("/orders/{order_id}", response_model=Order)
    async def get_order(order_id: Annotated[str, Path(examples=["7QK4-9XWB-2MHD-TV3C"])]) -> Response:
        """Gets one order."""
        identifier = read_id(order_id)
        order = await ledger.by_id(identifier) if identifier else None
        if order is None:
            raise Problem(404, "there is no order with this id")
        return _told(order)

    return service


def _told(order: Order, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # An order tells of a person: nobody on the way keeps it.
    told = {**(headers or {}), "Cache-Control": "no-store"}
    return Response(order.model_dump_json(), status, headers=told, media_type="application/json")


if __name__ == "__main__":
    run("orders", create, OrdersConfig)
