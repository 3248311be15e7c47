"""What Alembic runs: the migrations, each in a transaction of its own, on the connection that migrate.py opened."""

from __future__ import annotations

from alembic import context

if context.is_offline_mode():  # writes the statements instead, for who wants to read them
    context.configure(dialect_name="postgresql")
else:
    context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
