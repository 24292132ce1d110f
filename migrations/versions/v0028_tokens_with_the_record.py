"""A record keeps its blocking keys beside what identifies it, so nothing has to find them by the record."""

from __future__ import annotations

from alembic import op

revision = "0028"
down_revision = "0027"

KEPT = """
ALTER TABLE identity ADD COLUMN tokens bigint[] NOT NULL DEFAULT '{}';
ALTER TABLE identity NO FORCE ROW LEVEL SECURITY;
ALTER TABLE blocking_key NO FORCE ROW LEVEL SECURITY;
UPDATE identity i SET tokens = k.tokens FROM (SELECT workspace_id, entity_id, array_agg(token ORDER BY token) AS tokens
 FROM blocking_key GROUP BY workspace_id, entity_id) k
 WHERE k.workspace_id = i.workspace_id AND k.entity_id = i.entity_id;
ALTER TABLE blocking_key FORCE ROW LEVEL SECURITY;
-- A worker of the release before, which would keep keys and not say so here, is refused.
ALTER TABLE identity ALTER COLUMN tokens DROP DEFAULT;
DROP INDEX blocking_key_entity;
-- Whoever asks for all of a kind reads most of a workspace.
DROP INDEX identity_kind;
"""

COUNTED = """
ALTER TABLE population ADD COLUMN records bigint NOT NULL DEFAULT 0;
ALTER TABLE population ALTER COLUMN size SET DEFAULT 1000;
ALTER TABLE population ALTER COLUMN counted DROP NOT NULL;
ALTER TABLE population ALTER COLUMN counted_at DROP NOT NULL;
ALTER TABLE population ALTER COLUMN rules DROP NOT NULL;
ALTER TABLE population ALTER COLUMN rules DROP DEFAULT;
ALTER TABLE population NO FORCE ROW LEVEL SECURITY;
INSERT INTO population AS p (workspace_id, kind, records)
 SELECT workspace_id, kind, count(*) FROM identity GROUP BY workspace_id, kind
 ON CONFLICT (workspace_id, kind) DO UPDATE SET records = excluded.records;
ALTER TABLE population FORCE ROW LEVEL SECURITY;
ALTER TABLE identity FORCE ROW LEVEL SECURITY;
COMMENT ON COLUMN population.records IS 'how many there are, kept with every batch; counted: how many there were when'
 ' names were counted last, NULL where they never were';
"""


def upgrade() -> None:
    """What costs with the population is looked at once a count: how many records there are is kept besides."""
    op.execute(KEPT)
    op.execute(COUNTED)
