"""Who waits longest to be compared is found without a look at all who wait."""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """A batch of a backlog must not cost with its length."""
    op.execute(
        "CREATE INDEX pending_resolution_due ON pending_resolution (workspace_id, kind, requested_at, entity_id)"
    )
