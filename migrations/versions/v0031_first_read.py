"""Whether all that a source holds of a record type was read once, and compared: before, nobody new is made there.

See connector_runner/outbound/planning/first_read.py.
"""

from __future__ import annotations

from alembic import op

revision = "0031"
down_revision = "0030"

READ = """
ALTER TABLE source_resource ADD COLUMN listed_whole_at timestamptz,
 ADD COLUMN read_whole_at timestamptz, ADD COLUMN compared_whole_at timestamptz;
ALTER TABLE source_resource NO FORCE ROW LEVEL SECURITY;
UPDATE source_resource SET listed_whole_at = last_ok_at, read_whole_at = last_ok_at, compared_whole_at = last_ok_at
 WHERE NOT cursor ? 'priming';
ALTER TABLE source_resource FORCE ROW LEVEL SECURITY;
"""

WAITING = """
CREATE INDEX sync_lane_unread ON sync_lane (workspace_id, sink_id, reason_detail, due_at)
 WHERE state = 'waiting' AND reason = 'sink_not_read';
"""


def upgrade() -> None:
    """What was polled without an error counts as read, but for a first reading under way: an upgrade stops no sink."""
    op.execute(READ)
    op.execute(WAITING)
