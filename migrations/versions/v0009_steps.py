"""What one cause made: found by its correlation, and by the events that follow from an event."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

# Records of other systems carry neither, so an import writes nothing here.
INDEXES = """
CREATE INDEX event_correlation ON event (workspace_id, correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX event_caused_by ON event (workspace_id, caused_by) WHERE caused_by IS NOT NULL;
"""


def upgrade() -> None:
    """Index the causes of events."""
    op.execute(INDEXES)
