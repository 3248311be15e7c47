"""the request that placed an order."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add a column that the version before neither reads nor writes."""
    op.execute("ALTER TABLE orders ADD COLUMN request_id text")
