"""Blocking keys that came lately stand in a small table of their own: see connector_runner/resolution/key_store.py."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0029"
down_revision = "0028"

RECENT = """
CREATE TABLE recent_key (
 workspace_id uuid NOT NULL,
 token bigint NOT NULL,
 entity_id uuid NOT NULL,
 PRIMARY KEY (workspace_id, token, entity_id)
);
COMMENT ON TABLE recent_key IS 'blocking keys on their way into blocking_key, where many are put in at once';
"""


def upgrade() -> None:
    """What is there stays where it is."""
    op.execute(RECENT)
    protect("recent_key")
