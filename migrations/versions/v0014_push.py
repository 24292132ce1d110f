"""What is pushed to us: deliveries until they are worked off, events that are known, and subscriptions we keep."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0014"
down_revision = "0013"

PUSHES = """
-- One row a delivery, kept for a month so that a repeat is known. Digests, codes and times only.
CREATE TABLE push (
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    key bytea NOT NULL,             -- what the delivery is known by: the sender's id of it, or its digest
    push_id uuid NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'dead')),
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts integer NOT NULL DEFAULT 0,
    last_error_code text,
    settled_at timestamptz,
    PRIMARY KEY (workspace_id, data_source_id, key),
    FOREIGN KEY (workspace_id, data_source_id) REFERENCES data_source ON DELETE CASCADE
);
CREATE UNIQUE INDEX push_by_id ON push (workspace_id, push_id);
CREATE INDEX push_due ON push (workspace_id, data_source_id, due_at) WHERE state = 'pending';
CREATE INDEX push_settled ON push (workspace_id, settled_at) WHERE state <> 'pending';

-- The delivery itself: the target of its URL and its body, sealed; gone once it is worked off.
CREATE TABLE push_body (
    workspace_id uuid NOT NULL,
    push_id uuid NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (workspace_id, push_id)
);

-- Events that were worked off, so that a repeat in another delivery is known.
CREATE TABLE push_event (
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    key bytea NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, data_source_id, key)
);
CREATE INDEX push_event_seen ON push_event (workspace_id, seen_at);

-- Each source's turn: one worker at a time works its pushes off, and one keeps its subscriptions.
CREATE TABLE push_inbox (
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    lease_owner text,
    lease_until timestamptz,
    fence bigint NOT NULL DEFAULT 0,
    keep_until timestamptz,         -- lease of who keeps the subscriptions
    keep_due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    failing text,                   -- why the last run could not read
    PRIMARY KEY (workspace_id, data_source_id),
    FOREIGN KEY (workspace_id, data_source_id) REFERENCES data_source ON DELETE CASCADE
);

-- How many records of a type went by pushes since when: more than a day may bring wait for a person.
CREATE TABLE push_deletes (
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    resource_type text NOT NULL,
    since timestamptz NOT NULL,
    deleted integer NOT NULL,
    PRIMARY KEY (workspace_id, data_source_id, resource_type),
    FOREIGN KEY (workspace_id, data_source_id) REFERENCES data_source ON DELETE CASCADE
);
"""

SUBSCRIPTIONS = """
CREATE TABLE push_subscription (
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    name text NOT NULL,             -- the record type, as settings name it; or the server's id of one that is not ours
    ours boolean NOT NULL,
    remote_id text,                 -- the server's id, once there is one
    wanted bytea,                   -- digest of what was asked for last
    status text NOT NULL DEFAULT 'none'
        CHECK (status IN ('none', 'requested', 'active', 'error', 'off', 'unknown')),
    ends_at timestamptz,
    numbered boolean NOT NULL DEFAULT false,
    contiguous bigint NOT NULL DEFAULT 0,   -- every event up to this number is known
    highest bigint NOT NULL DEFAULT 0,      -- the highest number that was heard of
    ahead bigint[] NOT NULL DEFAULT '{}',   -- numbers known beyond the first that is missing
    gap_since timestamptz,
    asked_at timestamptz,                   -- when the server was asked for what is missing
    gaps bigint NOT NULL DEFAULT 0,         -- how many were caught up with
    notified_at timestamptz,                -- the last delivery of any kind
    looked_at timestamptz,                  -- when the server was last asked how it is
    restarts integer NOT NULL DEFAULT 0,    -- of the server, or of its count
    failures integer NOT NULL DEFAULT 0,    -- in a row, of keeping it
    last_error_code text,
    PRIMARY KEY (workspace_id, data_source_id, name),
    FOREIGN KEY (workspace_id, data_source_id) REFERENCES data_source ON DELETE CASCADE
);
CREATE INDEX push_subscription_remote ON push_subscription (workspace_id, data_source_id, remote_id);
"""


def upgrade() -> None:
    """Create them."""
    op.execute(PUSHES)
    op.execute(SUBSCRIPTIONS)
    protect("push", swept=True)
    protect("push_body")
    protect("push_event")
    protect("push_deletes")
    protect("push_inbox", swept=True)
    protect("push_subscription", swept=True)
