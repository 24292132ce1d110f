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

# 2 and 4 as connector_runner/resolution/key_store.py has them: a loose key, and who has it and says no day of birth.
CAPPED = """
-- In the order in which a worker takes them.
ALTER TABLE blocking_key NO FORCE ROW LEVEL SECURITY;
ALTER TABLE capped_key NO FORCE ROW LEVEL SECURITY;
DELETE FROM capped_key c WHERE token & 2 > 0 AND NOT EXISTS (SELECT 1 FROM blocking_key b
 WHERE b.workspace_id = c.workspace_id AND b.token = c.token | 4);
ALTER TABLE blocking_key FORCE ROW LEVEL SECURITY;
ALTER TABLE capped_key FORCE ROW LEVEL SECURITY;
"""


def upgrade() -> None:
    """Keys that are there stay where they are; those that bring nobody together are not counted as of too many."""
    op.execute(RECENT)
    op.execute(CAPPED)
    protect("recent_key")
