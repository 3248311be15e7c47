"""orders and their lines."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.execute("""
        CREATE TABLE orders (
            id text PRIMARY KEY,
            idempotency_key text NOT NULL CONSTRAINT orders_idempotency_key UNIQUE,
            content_sha256 bytea NOT NULL,
            customer_name text NOT NULL,
            total_cents bigint NOT NULL CHECK (total_cents >= 0),
            created_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("""
        CREATE TABLE order_lines (
            order_id text NOT NULL REFERENCES orders (id),
            position bigint NOT NULL,
            product_id text NOT NULL,
            name text NOT NULL,
            unit_price_cents bigint NOT NULL CHECK (unit_price_cents >= 0),
            quantity bigint NOT NULL CHECK (quantity > 0),
            PRIMARY KEY (order_id, position)
        )
    """)
