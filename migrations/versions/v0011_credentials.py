"""Tokens that all workers share, and the keys with which we sign for them."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0011"
down_revision = "0010"

TOKENS = """
CREATE TABLE access_token (
    workspace_id uuid NOT NULL REFERENCES workspace,
    token_key bytea NOT NULL,           -- keyed digest of what the token is for; tells nothing of it
    data_source_id uuid NOT NULL,
    direction text NOT NULL CHECK (direction IN ('read', 'write')),
    kind text NOT NULL,
    serial bigint NOT NULL DEFAULT 0,   -- one more with each token
    sealed bytea,                       -- the token
    sealed_refresh bytea,               -- what the next one is asked for with, where the server gives such
    refresh_of bytea,                   -- keyed digest of the refresh token in the settings that it came from
    issued_at timestamptz,
    renew_at timestamptz,
    expires_at timestamptz,
    refused_at timestamptz,             -- when a token was last refused before its time
    asked text,                         -- scopes
    granted text,
    notes text[] NOT NULL DEFAULT '{}', -- codes of ours
    discovered jsonb,                   -- what the server says of where and how tokens are had
    discovered_at timestamptz,
    clock_offset_s double precision NOT NULL DEFAULT 0,     -- the server's clock less ours
    owner text,                         -- who is getting a token now, and until when that is believed
    owner_until timestamptz,
    failures integer NOT NULL DEFAULT 0,
    failure_code text,
    failure_text text,                  -- our own words; never a body
    failure_lasts boolean NOT NULL DEFAULT false,           -- until somebody changes something
    failure_of bytea,                   -- keyed digest of the secrets that it was tried with
    retry_at timestamptz,
    PRIMARY KEY (workspace_id, token_key)
);
CREATE INDEX access_token_of ON access_token (workspace_id, data_source_id);
"""

KEYS = """
CREATE TABLE client_key (
    workspace_id uuid NOT NULL REFERENCES workspace,
    kid text NOT NULL,
    algorithm text NOT NULL CHECK (algorithm IN ('RS384', 'ES384')),
    public_jwk jsonb NOT NULL,
    sealed bytea,                       -- the private half; NULL once the key has left the published set
    created_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL,
    signs_until timestamptz,
    published_until timestamptz,
    PRIMARY KEY (workspace_id, kid)
);
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(TOKENS)
    op.execute(KEYS)
    for table in ("access_token", "client_key"):
        protect(table)
