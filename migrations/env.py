"""Alembic runs this: one transaction, one migrator at a time, no waiting for locks behind live traffic."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

# Any number that no other lock of ours uses: one migrator at a time, others wait and find nothing to do.
MIGRATION_LOCK = 7_216_043


def run(connection: Connection) -> None:
    """Apply what is missing on an open connection."""
    context.configure(connection=connection, version_table="schema_version")
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text("SET LOCAL lock_timeout = '4s'"))
        context.run_migrations()


run(context.config.attributes["connection"])
