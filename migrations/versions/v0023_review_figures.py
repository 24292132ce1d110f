"""Figures of review are read from indexes: what people wait for, and what they said of the judge's words."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"

INDEXES = """
-- Items are wide; whoever counts them, or looks for some of them, needs these columns alone.
DROP INDEX review_item_queue;
CREATE INDEX review_item_queue ON review_item (workspace_id, status, priority, created_at, id)
    INCLUDE (kind, entity_type, category, reason, assigned_to, completed_action, completed_at);
-- Of each claim the latest word counts: they lie together, in that order.
CREATE INDEX label_latest ON label (workspace_id, event_id, field, item_id, at DESC, id DESC)
    INCLUDE (category, version, verdict, score, weight, holds) WHERE kind = 'claim' AND verdict IS NOT NULL;
"""


def upgrade() -> None:
    """Make the indexes."""
    op.execute(INDEXES)
