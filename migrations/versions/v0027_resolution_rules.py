"""A population knows by which rules it was compared, so that new ones have everybody compared anew."""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """What was compared before this was by rules that nobody named."""
    op.execute("ALTER TABLE population ADD COLUMN rules text NOT NULL DEFAULT ''")
