"""Alerts that are about no one source: of the workspace as a whole."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"

ALERTS = """
ALTER TABLE alert ALTER COLUMN data_source_id DROP NOT NULL;
DROP INDEX alert_open;
-- However many notice it at once, it is told once; of the workspace too.
CREATE UNIQUE INDEX alert_open ON alert (workspace_id, data_source_id, kind, subject) NULLS NOT DISTINCT
    WHERE ended_at IS NULL;
"""


def upgrade() -> None:
    """Let an alert do without a source."""
    op.execute(ALERTS)
