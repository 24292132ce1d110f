"""What reconciliation goes by: what release looked at last, how far each sink's walk is, what was read back when."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0005"
down_revision = "0004"

MARKS = """
CREATE TABLE release_mark (
    workspace_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    revision bigint NOT NULL,       -- of the entity, as release last looked at it
    terms bigint NOT NULL,          -- digest of the terms of every sink and of the mappings that it went by
    PRIMARY KEY (workspace_id, entity_id) INCLUDE (revision, terms)
);

-- The walk reads entities by this index alone.
DROP INDEX entity_type_idx;
CREATE INDEX entity_type_idx ON entity (workspace_id, entity_type, entity_id) INCLUDE (status, revision);

ALTER TABLE pending_release ADD COLUMN prio smallint NOT NULL DEFAULT 20;   -- as of lanes: 20 fresh, 30 reconcile
DROP INDEX pending_release_due;
CREATE INDEX pending_release_due ON pending_release (workspace_id, prio, requested_at);
"""

WALKS = """
CREATE TABLE reconcile_walk (
    workspace_id uuid NOT NULL,
    sink_id uuid NOT NULL,
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_owner text,
    lease_until timestamptz,
    fence bigint NOT NULL DEFAULT 0,
    entity_type text NOT NULL DEFAULT '',   -- with after_id: the last entity that was looked at
    after_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    started_at timestamptz,
    looked bigint NOT NULL DEFAULT 0,       -- entities, in the walk that is under way or was the last
    asked bigint NOT NULL DEFAULT 0,        -- of those, the ones that release was asked to look at again
    finished_at timestamptz,
    sample_due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace_id, sink_id),
    FOREIGN KEY (workspace_id, sink_id) REFERENCES data_source ON DELETE CASCADE
);
CREATE INDEX reconcile_walk_due ON reconcile_walk (workspace_id, due_at);

ALTER TABLE sync_lane ADD COLUMN verified_at timestamptz,   -- when the sink last showed what it had confirmed
                      ADD COLUMN drift text;                -- what was found instead: silent_reject, foreign_edit, ...
CREATE INDEX sync_lane_verify ON sync_lane (workspace_id, sink_id, verified_at NULLS FIRST)
    WHERE state = 'idle' AND last_sent IS NOT NULL;
CREATE INDEX sync_lane_drift ON sync_lane (workspace_id, sink_id, drift) WHERE drift IS NOT NULL;
"""


def upgrade() -> None:
    """Create them."""
    op.execute(MARKS)
    op.execute(WALKS)
    protect("release_mark")
    protect("reconcile_walk", swept=True)
