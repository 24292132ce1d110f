"""The state of an entity that one event makes is told by that event, and not kept a second time."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"

MADE_BY = """
ALTER TABLE entity
    ALTER COLUMN state DROP NOT NULL,
    ALTER COLUMN provenance DROP NOT NULL,
    ADD COLUMN made_by uuid,        -- the one event whose facts are the state; then nothing is stored of it here
    ADD CONSTRAINT entity_told CHECK (num_nonnulls(state, made_by) = 1 AND num_nonnulls(provenance, made_by) = 1);
"""

# Entities with their state, wherever that is kept. Subqueries, which cost nothing where they are not needed.
# Since when a statement holds is as the fold has it (world/fold.py): a record's own clock, never beyond its arrival.
PROJECTION = """
CREATE VIEW projection WITH (security_invoker = true) AS
SELECT e.workspace_id, e.entity_id, e.entity_type, e.canonical_id, e.status,
    coalesce(e.state, (SELECT v.facts FROM event v WHERE v.workspace_id = e.workspace_id AND v.id = e.made_by))
        AS state,
    coalesce(e.provenance, (
        SELECT jsonb_build_object('by', jsonb_build_array(jsonb_build_object(
            'event_id', v.id, 'source', v.source, 'source_system', v.source_system, 'confidence', v.confidence,
            'since', CASE WHEN v.record_id IS NULL THEN
                    least(coalesce(v.effective_at, v.as_of, v.ingested_at), v.ingested_at)
                ELSE (SELECT CASE WHEN coalesce(r.last_updated, v.as_of) >= '0002-01-01T00:00:00Z'
                        THEN least(coalesce(r.last_updated, v.as_of), r.seen_at) END
                    FROM record_version r
                    WHERE r.workspace_id = v.workspace_id AND r.record_id = v.record_id AND r.event_id = v.id)
                END)))
        FROM event v WHERE v.workspace_id = e.workspace_id AND v.id = e.made_by)) AS provenance,
    e.confidence, e.event_count, e.revision, e.first_seen_at, e.last_event_at, e.updated_at
FROM entity e;
"""


def upgrade() -> None:
    """Add the column and the view."""
    op.execute(MADE_BY)
    op.execute(PROJECTION)
