"""What people are asked, and what they answered."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0019"
down_revision = "0018"

TABLES = """
-- Entities of which something was said that no judge has looked at.
CREATE TABLE pending_review (
    workspace_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    generation bigint NOT NULL DEFAULT 1,       -- counts askings: what is said meanwhile is judged as well
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- while it is leased: when the lease ends
    fence bigint NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, entity_id)
);
CREATE INDEX pending_review_due ON pending_review (workspace_id, due_at);

-- What was said before anybody listened is found by when it came.
CREATE TABLE review_scan (
    workspace_id uuid PRIMARY KEY,
    seen_until timestamptz NOT NULL
);
CREATE INDEX event_doubtful ON event (workspace_id, ingested_at) WHERE confidence > 0 AND confidence < 0.8;

-- A question to a person. ``asked``: event -> its atoms, an empty list for all of them.
CREATE TABLE review_item (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('events', 'match')),
    entity_id uuid NOT NULL,
    other_id uuid,
    entity_type text NOT NULL,
    session_id text,
    event_ids uuid[] NOT NULL DEFAULT '{}',
    asked jsonb NOT NULL DEFAULT '{}',
    reason text NOT NULL,
    category text NOT NULL DEFAULT 'other',
    priority integer NOT NULL,                  -- the smaller, the sooner
    analysis jsonb,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'in_progress', 'completed', 'rejected', 'expired')),
    version integer NOT NULL DEFAULT 1,         -- counts what joined it or left it
    assigned_to text,
    claimed_at timestamptz,
    seen jsonb,                                 -- what it asked when it was claimed
    completed_action text CHECK (completed_action IN ('approved', 'rejected', 'corrected')),
    completed_by text,
    completed_at timestamptz,
    notes text,
    ended_because text,                         -- why it ended without a decision
    made_events uuid[] NOT NULL DEFAULT '{}',   -- the events that the decision appended
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, id)
);
CREATE UNIQUE INDEX review_item_open
    ON review_item (workspace_id, kind, entity_id, coalesce(other_id, '00000000-0000-0000-0000-000000000000'))
    WHERE status IN ('pending', 'in_progress');
CREATE INDEX review_item_queue ON review_item (workspace_id, status, priority, created_at, id);
CREATE INDEX review_item_entity ON review_item (workspace_id, entity_id);
CREATE INDEX review_item_other ON review_item (workspace_id, other_id) WHERE other_id IS NOT NULL;
CREATE INDEX review_item_done ON review_item (workspace_id, completed_at) WHERE completed_at IS NOT NULL;

-- What is reviewed by whom in a workspace; without a row as the product ships.
CREATE TABLE review_policy (
    workspace_id uuid PRIMARY KEY,
    body jsonb NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL
);

-- Categories that went back to people because the judge was wrong too often; the latest row of each counts.
CREATE TABLE review_switch (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    category text NOT NULL,
    suspended boolean NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    version text,
    labels integer,
    precision_found double precision,
    bound double precision,
    at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, id)
);
CREATE INDEX review_switch_category ON review_switch (workspace_id, category, at, id);

-- One table of what people said, for whoever is measured by it: of two records (match) or of an event (claim).
-- ``match_label`` stays the name of the first kind.
ALTER TABLE match_label RENAME TO label;
ALTER INDEX match_label_pkey RENAME TO label_pkey;
ALTER TABLE label RENAME COLUMN same TO holds;
ALTER TABLE label ALTER COLUMN other DROP NOT NULL,
    ADD COLUMN kind text NOT NULL DEFAULT 'match' CHECK (kind IN ('match', 'claim')),
    ADD COLUMN event_id uuid,
    ADD COLUMN field text,
    ADD COLUMN category text,
    ADD COLUMN verdict text,            -- what the judge had said
    ADD COLUMN score double precision,  -- how likely that made it
    ADD COLUMN weight double precision, -- of how many such claims a person sees one
    ADD COLUMN item_id uuid,
    ADD CHECK (kind <> 'match' OR other IS NOT NULL);
CREATE INDEX label_claim ON label (workspace_id, category, version, at) WHERE kind = 'claim';
CREATE VIEW match_label WITH (security_invoker = true) AS
    SELECT workspace_id, id, one, other, holds AS same, actor, reason, bits, rule, version, at
    FROM label WHERE kind = 'match';
"""


def upgrade() -> None:
    """Make the tables. What there is already is found by the scan."""
    op.execute(TABLES)
    protect("pending_review", swept=True)
    protect("review_scan")
    protect("review_item")
    protect("review_policy")
    protect("review_switch", append_only=True)
