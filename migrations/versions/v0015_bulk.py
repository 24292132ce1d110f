"""Bulk exports: the job, its files, what it told of deletes and members, and since when the next one asks."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0015"
down_revision = "0014"

TABLES = """
CREATE TABLE export_job (
    workspace_id uuid NOT NULL,
    export_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    import_id uuid NOT NULL,            -- what was fetched lands as this import
    scope text NOT NULL DEFAULT 'system' CHECK (scope IN ('system', 'group', 'patient')),
    group_id text NOT NULL DEFAULT '',
    types text[] NOT NULL,              -- empty: all
    since timestamptz,                  -- null: everything
    step text NOT NULL DEFAULT 'main' CHECK (step IN ('roster', 'main', 'newcomers')),
    state text NOT NULL DEFAULT 'starting'
        CHECK (state IN ('starting', 'polling', 'fetching', 'closing', 'completed', 'failed')),
    status_url text,                    -- of the server's job; it may stand for a permission, so it is never told
    requires_token boolean NOT NULL DEFAULT true,
    progress real,                      -- per cent, as far as the server tells
    transaction_time timestamptz,       -- of the step's manifest
    next_since timestamptz,             -- of the main step's
    expires_at timestamptz,
    restarts integer NOT NULL DEFAULT 0,
    looks integer NOT NULL DEFAULT 0,           -- that found it running
    attempts integer NOT NULL DEFAULT 0,        -- that failed, one after the other
    unanswered boolean NOT NULL DEFAULT false,  -- it was asked for and no answer came: what runs may be ours
    complete boolean NOT NULL DEFAULT true,     -- nothing of what the manifests named is lacking
    problems jsonb NOT NULL DEFAULT '[]',       -- codes and numbers
    error_code text,
    due_at timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz,
    lease_owner text,
    fence bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (workspace_id, export_id)
);
CREATE INDEX export_job_due ON export_job (workspace_id, due_at) WHERE state NOT IN ('completed', 'failed');
-- Servers refuse a second job of the same client, so there is one at a time.
CREATE UNIQUE INDEX export_job_open ON export_job (workspace_id, data_source_id)
    WHERE state NOT IN ('completed', 'failed');

CREATE TABLE export_file (
    workspace_id uuid NOT NULL,
    export_id uuid NOT NULL,
    step text NOT NULL,
    file_n integer NOT NULL,
    kind text NOT NULL DEFAULT 'output' CHECK (kind IN ('output', 'deleted', 'outcome')),
    resource_type text NOT NULL DEFAULT '',
    url text NOT NULL,
    expected bigint,                    -- lines, as the manifest says
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'running', 'fetched', 'failed', 'skipped')),
    position bigint NOT NULL DEFAULT 0, -- bytes that were stored, up to the end of a line
    lines bigint NOT NULL DEFAULT 0,
    etag text,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    error_code text,
    lease_until timestamptz,
    lease_owner text,
    fence bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, export_id, step, file_n),
    FOREIGN KEY (workspace_id, export_id) REFERENCES export_job ON DELETE CASCADE
);
CREATE INDEX export_file_todo ON export_file (workspace_id, export_id, step, file_n)
    WHERE state IN ('pending', 'running');

CREATE TABLE export_deletion (
    workspace_id uuid NOT NULL,
    export_id uuid NOT NULL,
    resource_type text NOT NULL,
    record_id text NOT NULL,
    deleted_at timestamptz,             -- null: the server does not say when
    PRIMARY KEY (workspace_id, export_id, resource_type, record_id),
    FOREIGN KEY (workspace_id, export_id) REFERENCES export_job ON DELETE CASCADE
);

CREATE TABLE export_roster (            -- the members of the group as this export found them
    workspace_id uuid NOT NULL,
    export_id uuid NOT NULL,
    patient_id text NOT NULL,
    PRIMARY KEY (workspace_id, export_id, patient_id),
    FOREIGN KEY (workspace_id, export_id) REFERENCES export_job ON DELETE CASCADE
);

CREATE TABLE export_member (            -- those of whom everything has been exported
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    group_id text NOT NULL,
    patient_id text NOT NULL,
    resource_type text NOT NULL,        -- '' stands for all
    PRIMARY KEY (workspace_id, data_source_id, group_id, patient_id, resource_type)
);

CREATE TABLE export_mark (              -- since when the next export asks; a type of '' stands for all
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    scope text NOT NULL,
    group_id text NOT NULL,
    resource_type text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, data_source_id, scope, group_id, resource_type)
);
"""


def upgrade() -> None:
    """Create them."""
    op.execute(TABLES)
    protect("export_job", swept=True)
    for table in ("export_file", "export_deletion", "export_roster", "export_member", "export_mark"):
        protect(table)
