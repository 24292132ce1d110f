"""Less to keep for each record that lands: relationships a page at a time, narrower indexes, policies asked once."""

from __future__ import annotations

from alembic import op

from migrations.protection import SWEEP, TENANT, protect

revision = "0008"
down_revision = "0006"

# Entities that refer to the same target mostly arrive together: a row for all of them costs a tenth of one for each,
# and what an entity refers to stands in its state, so only the way back needs an index.
PAGES = """
CREATE TABLE relationship_page (
    workspace_id uuid NOT NULL,
    target_id uuid NOT NULL,        -- the record referred to, whether or not it has arrived; or the identifier's digest
    name text NOT NULL,
    append_id uuid NOT NULL,        -- the append that brought these
    by_identifier boolean NOT NULL DEFAULT false,
    entity_ids uuid[] NOT NULL,     -- who refers to it
    PRIMARY KEY (workspace_id, target_id, name, append_id)
);
ALTER TABLE relationship_page ALTER COLUMN entity_ids SET STORAGE EXTERNAL;     -- ids do not compress
"""

# The owner of the tables sees past row security only while it is not forced.
KNOWN = """
ALTER TABLE relationship NO FORCE ROW LEVEL SECURITY;
INSERT INTO relationship_page (workspace_id, target_id, name, append_id, by_identifier, entity_ids)
SELECT workspace_id, target_id, name, gen_random_uuid(), by_identifier, array_agg(entity_id)
FROM (SELECT r.*, row_number() OVER (PARTITION BY workspace_id, target_id, name ORDER BY entity_id) / 2000 AS page
      FROM relationship r) numbered
GROUP BY workspace_id, target_id, name, by_identifier, page;
DROP TABLE relationship;
"""

# Quick by target only.
VIEW = """
CREATE VIEW relationship WITH (security_invoker = true) AS
SELECT p.workspace_id, e.entity_id, p.name, p.target_id, p.by_identifier
FROM relationship_page p CROSS JOIN LATERAL unnest(p.entity_ids) AS e (entity_id);
"""

# Counted by type and status. Equal keys share one entry, and a new one goes to its end; with the entity's id in
# the key each would go to a place of its own.
ENTITY_TYPES = """
DROP INDEX entity_type_idx;
CREATE INDEX entity_type_idx ON entity (workspace_id, entity_type, status);
"""

# As a subquery the setting is read once a statement; a bare function call is made for every row.
POLICIES = f"""
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT tablename, policyname FROM pg_policies
        WHERE schemaname = current_schema AND policyname IN ('tenant', 'sweep')
    LOOP
        EXECUTE format('ALTER POLICY %I ON %I USING (%s)', found.policyname, found.tablename,
            CASE found.policyname WHEN 'tenant' THEN $tenant${TENANT}$tenant$ ELSE $sweep${SWEEP}$sweep$ END);
    END LOOP;
END $$;
"""


def upgrade() -> None:
    """Change them."""
    for part in (PAGES, KNOWN, VIEW, ENTITY_TYPES, POLICIES):
        op.execute(part)
    protect("relationship_page")
