"""What each server was measured to do, when it is measured again, and the roster of a source's patients."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0012"
down_revision = "0011"

MATRIX = """
CREATE TABLE measured_capability (
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    resource_type text NOT NULL,        -- empty: the server as a whole
    capability text NOT NULL,
    declared text,                      -- as the server states it; NULL where it says nothing
    measured text,                      -- as its answers show it; NULL where it was not asked
    evidence text[] NOT NULL DEFAULT '{}',  -- codes
    at timestamptz NOT NULL,
    previous text,                      -- what was measured, or declared, before it changed last
    changed_at timestamptz,
    PRIMARY KEY (workspace_id, data_source_id, resource_type, capability),
    FOREIGN KEY (workspace_id, data_source_id) REFERENCES data_source ON DELETE CASCADE
);

-- When a source is probed next, and by whom now.
CREATE TABLE probe_turn (
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_owner text,
    lease_until timestamptz,
    fence bigint NOT NULL DEFAULT 0,
    last_ok_at timestamptz,
    last_error_code text,
    PRIMARY KEY (workspace_id, data_source_id),
    FOREIGN KEY (workspace_id, data_source_id) REFERENCES data_source ON DELETE CASCADE
);
CREATE INDEX probe_turn_due ON probe_turn (workspace_id, due_at);
"""

ROSTER = """
-- A source's patients in the order of their ids: its own records, and those that we made there.
CREATE INDEX entity_patient ON entity (workspace_id, canonical_id COLLATE "C") WHERE entity_type = 'patient';
CREATE INDEX adopted_record_key ON adopted_record (workspace_id, record_key COLLATE "C");
"""


def upgrade() -> None:
    """Add the tables and indexes."""
    op.execute(MATRIX)
    protect("measured_capability")
    protect("probe_turn", swept=True)
    op.execute(ROSTER)
