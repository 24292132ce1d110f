"""Values translated to a sink's codes, and those that wait for it."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0003"
down_revision = "0002"

TABLES = """
CREATE TABLE translation (
    workspace_id uuid NOT NULL,
    digest bytea NOT NULL,          -- keyed, of the vocabulary's name and version and the normalised text
    vocabulary text NOT NULL,
    vocabulary_version text NOT NULL,
    sealed bytea NOT NULL,          -- the text as it was said
    code text,                      -- of the vocabulary; null: not decided, or decided that none fits
    method text CHECK (method IN ('llm', 'person')),
    model text,
    prompt_version text,
    decided_by text,
    decided_at timestamptz,
    PRIMARY KEY (workspace_id, digest),
    FOREIGN KEY (workspace_id) REFERENCES workspace ON DELETE CASCADE
);

-- The work: digests, codes and times only.
CREATE TABLE translation_request (
    workspace_id uuid NOT NULL,
    digest bytea NOT NULL,
    state text NOT NULL DEFAULT 'asked' CHECK (state IN ('asked', 'person', 'decided', 'dropped')),
    llm boolean NOT NULL,           -- whether a language model may be asked
    blocking boolean NOT NULL,      -- whether something is not written for want of an answer
    reason text,                    -- why there is none yet
    attempts integer NOT NULL DEFAULT 0,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (workspace_id, digest),
    FOREIGN KEY (workspace_id, digest) REFERENCES translation ON DELETE CASCADE
);
CREATE INDEX translation_request_due ON translation_request (workspace_id, due_at) WHERE state = 'asked';

CREATE TABLE translation_waiter (
    workspace_id uuid NOT NULL,
    digest bytea NOT NULL,
    entity_id uuid NOT NULL,
    PRIMARY KEY (workspace_id, digest, entity_id),
    FOREIGN KEY (workspace_id, digest) REFERENCES translation ON DELETE CASCADE
);
"""


def upgrade() -> None:
    """Create them."""
    op.execute(TABLES)
    protect("translation")
    protect("translation_request", swept=True)
    protect("translation_waiter")
