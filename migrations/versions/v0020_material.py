"""What was said, to be held against what was heard; and what asking a language model about it has cost."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """``material``: transcripts by conversation, sealed; ``model_spending``: tokens by the hour.

    A transcript that is handed in again with other words is a further row: what was judged by is kept.
    """
    op.execute(
        "CREATE TABLE material (workspace_id uuid NOT NULL REFERENCES workspace, session text NOT NULL,"
        " n int NOT NULL, digest bytea NOT NULL, sealed bytea NOT NULL, turns int NOT NULL, characters int NOT NULL,"
        " actor text NOT NULL, received_at timestamptz NOT NULL, PRIMARY KEY (workspace_id, session, n))"
    )
    protect("material")
    op.execute(
        "CREATE TABLE model_spending (workspace_id uuid NOT NULL REFERENCES workspace, hour timestamptz NOT NULL,"
        " requests int NOT NULL, tokens bigint NOT NULL, PRIMARY KEY (workspace_id, hour))"
    )
    protect("model_spending")
