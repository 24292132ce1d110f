"""What a cluster means for sinks: what their records were sent before, so that a merge can be taken back whole."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0018"
down_revision = "0017"

TABLES = """
-- What a record was sent before its latest ``sent_value``. Values are digests.
CREATE TABLE sent_before (
    workspace_id uuid NOT NULL,
    record_id uuid NOT NULL,
    atom text NOT NULL,
    sent_at timestamptz NOT NULL,
    value_digest bytea NOT NULL,
    origin jsonb NOT NULL,
    PRIMARY KEY (workspace_id, record_id, atom, sent_at)
);
"""


def upgrade() -> None:
    """Make the table. What was sent before it was there is not known: until now no record was sent another's word."""
    op.execute(TABLES)
    protect("sent_before")
