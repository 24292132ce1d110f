"""What may be read, said and written."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0021"
down_revision = "0020"

TABLES = """
CREATE TABLE workspace_policy (
    workspace_id uuid PRIMARY KEY REFERENCES workspace,
    version bigint NOT NULL,        -- differs whenever the body does
    body jsonb NOT NULL,
    applied_by text NOT NULL,
    applied_at timestamptz NOT NULL
);

-- Patients' records that keep all that is about them from going somewhere; most have nothing to say here.
CREATE TABLE patient_mark (
    workspace_id uuid NOT NULL,
    entity_id uuid NOT NULL,
    labels text[] NOT NULL,         -- security labels, as <system>|<code>
    test_caller boolean NOT NULL,   -- the record has the number of a test caller
    PRIMARY KEY (workspace_id, entity_id)
);
"""


def upgrade() -> None:
    """Make the tables. Labels of records that are there already are told when they are mapped anew."""
    op.execute(TABLES)
    protect("workspace_policy")
    protect("patient_mark")
