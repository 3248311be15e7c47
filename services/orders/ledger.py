"""Where accepted orders are kept. What it has taken is committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from database import Database, Unavailable
from order import Customer, Draft, Line, Order, new_id

# One statement, so one transaction and one round trip. The key's unique constraint decides who is first: of two at the same
# moment the second waits here for the first, and then inserts nothing.
ACCEPT = """
WITH accepted AS (
    INSERT INTO orders (id, idempotency_key, content_sha256, customer_name, total_cents, request_id)
    VALUES (%(id)s, %(key)s, %(sha256)s, %(customer)s, %(total)s, %(request)s)
    ON CONFLICT (idempotency_key) DO NOTHING
    RETURNING id, created_at
), lines AS (
    INSERT INTO order_lines (order_id, position, product_id, name, unit_price_cents, quantity)
    SELECT accepted.id, line.position, line.product_id, line.name, line.unit_price_cents, line.quantity
    FROM accepted, unnest(%(products)s::text[], %(names)s::text[], %(prices)s::bigint[], %(quantities)s::bigint[])
        WITH ORDINALITY AS line (product_id, name, unit_price_cents, quantity, position)
)
SELECT id, created_at FROM accepted
"""

_FIND = """
SELECT orders.id, orders.content_sha256, orders.customer_name, orders.total_cents, orders.created_at,
    line.product_id, line.name, line.unit_price_cents, line.quantity
FROM orders JOIN order_lines AS line ON line.order_id = orders.id
"""
FIND_BY_ID = f"{_FIND} WHERE orders.id = %(value)s ORDER BY line.position"
FIND_BY_KEY = f"{_FIND} WHERE orders.idempotency_key = %(value)s ORDER BY line.position"

# Reads nothing, and fails when the schema lacks what the statements above name.
CHECK = """
SELECT orders.idempotency_key, orders.content_sha256, orders.request_id, line.position
FROM orders JOIN order_lines AS line ON line.order_id = orders.id
LIMIT 0
"""


class KeyReused(Exception):
    """The idempotency key belongs to an order with other content."""


@dataclass(frozen=True)
class Taken:
    """An order in the ledger.

    Attributes:
        order: As it was accepted.
        new: Whether this call brought it there; else an earlier one with the same key did.
    """

    order: Order
    new: bool


@dataclass(frozen=True)
class _Found:
    order: Order
    sha256: bytes


class Ledger:
    """All accepted orders, in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, draft: Draft, *, key: str, request_id: str) -> Taken:
        """The order of this key, in the ledger for good.

        Args:
            draft: What is ordered.
            key: The same for each attempt to place the same order.
            request_id: Kept with a new order, so that the log can tell how it came about.

        Raises:
            KeyReused: There is an order with this key and other content.
            Unavailable: Whether it is in the ledger is unknown; another attempt with the same key will tell.
        """
        digest = draft.digest()
        values = {
            "id": new_id(),
            "key": key,
            "sha256": digest,
            "customer": draft.customer.name,
            "total": draft.total_cents,
            "request": request_id,
            "products": [line.product_id for line in draft.lines],
            "names": [line.name for line in draft.lines],
            "prices": [line.unit_price_cents for line in draft.lines],
            "quantities": [line.quantity for line in draft.lines],
        }

        async def work(connection: AsyncConnection) -> Taken:
            cursor = await connection.execute(ACCEPT, values)
            if row := await cursor.fetchone():
                identifier, moment = row
                order = Order(
                    id=identifier,
                    customer=draft.customer,
                    lines=draft.lines,
                    total_cents=draft.total_cents,
                    created_at=moment,
                )
                return Taken(order, new=True)
            found = await _find(connection, FIND_BY_KEY, key)
            if found is None:  # only when somebody deleted it in between, by hand
                raise Unavailable("the order of this key is gone")
            if found.sha256 != digest:
                raise KeyReused
            return Taken(found.order, new=False)

        return await self._database.run(work)

    async def by_id(self, identifier: str) -> Order | None:
        """The order with this id, as `order.read_id` gives it.

        Raises:
            Unavailable: The database does not answer.
        """
        return await self._one(FIND_BY_ID, identifier)

    async def by_key(self, key: str) -> Order | None:
        """The order that was placed with this idempotency key.

        Raises:
            Unavailable: The database does not answer.
        """
        return await self._one(FIND_BY_KEY, key)

    async def check(self) -> None:
        """Return when orders can be read, by tables of this version; whether one can be written only an order can tell.

        Raises:
            Unavailable: The database does not answer, or lacks what this version needs.
        """

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(CHECK)

        await self._database.run_apart(work)

    async def _one(self, statement: LiteralString, value: str) -> Order | None:
        found = await self._database.run(lambda connection: _find(connection, statement, value))
        return found and found.order


async def _find(connection: AsyncConnection, statement: LiteralString, value: str) -> _Found | None:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, {"value": value})
        rows: list[dict[str, Any]] = await cursor.fetchall()
    if not rows:
        return None
    first = rows[0]
    # What is stored was checked when it came, by rules that may have changed since.
    order = Order(
        id=first["id"],
        customer=Customer.model_construct(name=first["customer_name"]),
        lines=[
            Line.model_construct(
                product_id=row["product_id"],
                name=row["name"],
                unit_price_cents=row["unit_price_cents"],
                quantity=row["quantity"],
            )
            for row in rows
        ],
        total_cents=first["total_cents"],
        created_at=first["created_at"],
    )
    return _Found(order, first["content_sha256"])
