"""Which entities are the same: what identifies them, the evidence of pairs, links, and what people decided."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0017"
down_revision = "0016"

TABLES = """
CREATE TABLE pending_resolution (
    workspace_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    kind text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    identified boolean NOT NULL DEFAULT false,  -- what identifies the entity has not changed since it was read off
    PRIMARY KEY (workspace_id, kind, entity_id)
);

CREATE TABLE identity (
    workspace_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    kind text NOT NULL,
    body jsonb NOT NULL,            -- what identifies the entity, made comparable
    PRIMARY KEY (workspace_id, entity_id)
);
CREATE INDEX identity_kind ON identity (workspace_id, kind);

CREATE TABLE blocking_key (
    workspace_id uuid NOT NULL,
    token bigint NOT NULL,          -- a digest of kind and key
    entity_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, token, entity_id)
);
CREATE INDEX blocking_key_entity ON blocking_key (workspace_id, entity_id);

-- Of every two records that a key brought together; ``one`` is the smaller id.
CREATE TABLE pair_evidence (
    workspace_id uuid NOT NULL,
    one uuid NOT NULL,
    other uuid NOT NULL,
    bits double precision NOT NULL,
    levels jsonb NOT NULL,
    weights jsonb NOT NULL,
    veto text,
    held text,
    version text NOT NULL,
    linked boolean NOT NULL DEFAULT false,
    refused boolean NOT NULL DEFAULT false,
    PRIMARY KEY (workspace_id, one, other),
    CHECK (one < other)
);
CREATE INDEX pair_evidence_other ON pair_evidence (workspace_id, other);

CREATE TABLE cluster_member (
    workspace_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    cluster_id uuid NOT NULL,       -- the smallest id among its members
    PRIMARY KEY (workspace_id, entity_id)
);
CREATE INDEX cluster_member_cluster ON cluster_member (workspace_id, cluster_id);

-- Links are events: made, and taken back.
CREATE TABLE link_event (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    one uuid NOT NULL,
    other uuid NOT NULL,
    action text NOT NULL CHECK (action IN ('made', 'parted')),
    method text NOT NULL CHECK (method IN ('rule', 'score', 'person')),
    rule text,
    bits double precision,
    features jsonb NOT NULL DEFAULT '{}',
    version text,
    actor text NOT NULL,
    reason text,
    at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, id)
);
CREATE INDEX link_event_one ON link_event (workspace_id, one);
CREATE INDEX link_event_other ON link_event (workspace_id, other);

-- What a person said of two records; the latest word counts, and every one is a label.
CREATE TABLE match_label (
    workspace_id uuid NOT NULL,
    id uuid NOT NULL,
    one uuid NOT NULL,
    other uuid NOT NULL,
    same boolean NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    bits double precision,          -- what the evidence said then
    rule text,
    version text,
    at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, id),
    CHECK (one < other)
);
CREATE INDEX match_label_one ON match_label (workspace_id, one, other, at);
CREATE INDEX match_label_other ON match_label (workspace_id, other);

CREATE TABLE population (
    workspace_id uuid NOT NULL,
    kind text NOT NULL,
    size bigint NOT NULL,           -- in steps, so that a record more is not a reason to weigh all pairs anew
    counted bigint NOT NULL,
    counted_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, kind)
);

-- Names that are common, with their share of the records; all others are rare.
CREATE TABLE name_share (
    workspace_id uuid NOT NULL,
    kind text NOT NULL,
    field text NOT NULL,
    name text NOT NULL,
    share double precision NOT NULL,
    PRIMARY KEY (workspace_id, kind, field, name)
);

-- Phones of too many people, and keys of too many records: as long as they are, whatever the order of arrival.
CREATE TABLE crowded_phone (
    workspace_id uuid NOT NULL,
    token bigint NOT NULL,
    PRIMARY KEY (workspace_id, token)
);

CREATE TABLE capped_key (
    workspace_id uuid NOT NULL,
    token bigint NOT NULL,
    PRIMARY KEY (workspace_id, token)
);
"""


def upgrade() -> None:
    """Make the tables. What there is already is found by the scan for entities that nobody has compared."""
    op.execute(TABLES)
    protect("pending_resolution", swept=True)
    for table in ("identity", "blocking_key", "pair_evidence", "cluster_member", "population", "name_share"):
        protect(table)
    protect("crowded_phone")
    protect("capped_key")
    protect("link_event", append_only=True)
    protect("match_label", append_only=True)
