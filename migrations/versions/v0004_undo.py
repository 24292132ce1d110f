"""Undone writes, and what is held back after one.

``undo_request`` asks a lane to send the inverse of writes of its own. ``held_back`` keeps the values that an undo
took back from being written again: an atom's value, by its digest, under one version of the mapping.
"""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0004"
down_revision = "0003"

TABLES = """
CREATE TABLE undo_request (
    workspace_id uuid NOT NULL,
    lane_id uuid NOT NULL,
    undo_id uuid NOT NULL,          -- one command of a person, about any number of lanes
    sink_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    intents uuid[] NOT NULL DEFAULT '{}',    -- the writes to be undone, the oldest first
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'undone', 'nothing', 'withdrawn')),
    pieces integer,                 -- how many were restored
    skipped jsonb NOT NULL DEFAULT '[]',    -- names and codes of what was left alone, never values
    actor text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz,
    PRIMARY KEY (workspace_id, lane_id, undo_id)
);
CREATE UNIQUE INDEX undo_request_open ON undo_request (workspace_id, lane_id) WHERE status = 'open';
CREATE INDEX undo_request_batch ON undo_request (workspace_id, undo_id);

CREATE TABLE held_back (
    workspace_id uuid NOT NULL,
    lane_id uuid NOT NULL,
    atom text NOT NULL,
    value_digest bytea NOT NULL,
    mapping_version text NOT NULL,
    undo_id uuid NOT NULL,
    held_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace_id, lane_id, atom, value_digest, mapping_version)
);
"""


def upgrade() -> None:
    """Create both tables."""
    op.execute(TABLES)
    protect("undo_request")
    protect("held_back")
