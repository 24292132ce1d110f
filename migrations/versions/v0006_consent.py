"""Consent, what is missing before a record can be created, and what two systems quarrel about."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0006"
down_revision = "0005"

CONSENT = """
CREATE TABLE patient_consent (
    workspace_id uuid NOT NULL,
    target_id uuid NOT NULL,        -- as of relationship: the patient's record, or its identifier's digest
    consent_id uuid NOT NULL,       -- the entity of the Consent record
    PRIMARY KEY (workspace_id, target_id, consent_id)
);
CREATE INDEX patient_consent_of ON patient_consent (workspace_id, consent_id);
"""

# Consent records that were there before. The owner of the tables sees past row security only while it is not forced.
KNOWN = """
ALTER TABLE relationship NO FORCE ROW LEVEL SECURITY;
ALTER TABLE entity NO FORCE ROW LEVEL SECURITY;
INSERT INTO patient_consent (workspace_id, target_id, consent_id)
SELECT r.workspace_id, r.target_id, r.entity_id FROM relationship r
JOIN entity e ON e.workspace_id = r.workspace_id AND e.entity_id = r.entity_id
WHERE r.name = 'patient' AND e.entity_type = 'consent';
ALTER TABLE relationship FORCE ROW LEVEL SECURITY;
ALTER TABLE entity FORCE ROW LEVEL SECURITY;
"""

GAPS = """
CREATE TABLE gap (
    workspace_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    field text NOT NULL,            -- the name of a field without which the record cannot be created
    sink_id uuid NOT NULL,          -- in this sink
    noticed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace_id, entity_id, sink_id, field)
);

CREATE TABLE duplicate_decision (
    workspace_id uuid NOT NULL,
    lane_id uuid NOT NULL,
    sink_ref text,                  -- the record of the sink that it is; NULL: none of those, create one
    actor text NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace_id, lane_id)
);

ALTER TABLE sync_lane ADD COLUMN settled_at timestamptz;    -- an operator let a quarrel between systems begin anew
"""

# Of lanes that send every state in order: the events are the queue.
ORDERED = """
ALTER TABLE sync_lane ADD COLUMN sent_upto uuid,            -- the last event whose state the sink has
                      ADD COLUMN next_upto uuid,            -- the event whose state is being sent
                      ADD COLUMN next_hash bytea,           -- what that state wants to say; as synced_hash
                      ADD COLUMN next_more boolean NOT NULL DEFAULT false;  -- whether there are later events
"""


def upgrade() -> None:
    """Create them."""
    op.execute(CONSENT)
    op.execute(KNOWN)
    op.execute(GAPS)
    op.execute(ORDERED)
    protect("patient_consent")
    protect("gap")
    protect("duplicate_decision")
