"""Quotas, windows and breakers of sinks."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0002"
down_revision = "0001"

PACE = """
-- What the limiter must not forget with Redis: until when the sink asked to be left alone, and the learned rate
-- (sink_rate_now, requests a second) with the instant that it is of.
ALTER TABLE data_source ADD COLUMN sink_pause_until timestamptz, ADD COLUMN sink_rate_at timestamptz;

-- The breaker: the last outcomes (a bit each, 1 for a fault, the latest lowest), how often in a row it
-- opened. sink_breaker_failures are faults in a row, sink_breaker_until is when it may be tried.
ALTER TABLE data_source ADD COLUMN sink_breaker_recent integer NOT NULL DEFAULT 0,
    ADD COLUMN sink_breaker_opens integer NOT NULL DEFAULT 0;

-- So many requests may have been granted in a period at most: they are booked here in blocks before Redis grants them.
CREATE TABLE sink_quota (
    workspace_id uuid NOT NULL,
    sink_id uuid NOT NULL,
    period text NOT NULL,           -- d or m and the second at which it begins
    booked bigint NOT NULL,
    ends_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, sink_id, period)
);
"""


def upgrade() -> None:
    """Add what a sink's pace is remembered by."""
    op.execute(PACE)
    protect("sink_quota")
