"""Who changed is compared before who is only weighed anew: see connector_runner/resolution/store.py."""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """The next of a backlog are found without a look at all who wait, as before."""
    op.execute(
        "CREATE INDEX pending_resolution_turn ON pending_resolution"
        " (workspace_id, kind, identified, requested_at, entity_id)"
    )
    op.execute("DROP INDEX pending_resolution_due")
