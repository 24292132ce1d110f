"""What is remembered of reading from a source: its pace, its breaker, its cadences; and alerts."""

from __future__ import annotations

from alembic import op

from migrations.protection import protect

revision = "0013"
down_revision = "0012"

ALERT = """
-- One row for each time that something went wrong and was told; ended_at is when it was well again.
CREATE TABLE alert (
    workspace_id uuid NOT NULL,
    alert_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    kind text NOT NULL,             -- what is watched: health, breaker, drift, ...
    subject text NOT NULL DEFAULT '',   -- which of several of that kind: a record type, a capability
    code text NOT NULL,
    detail text NOT NULL DEFAULT '',    -- our own words; never a body
    raised_at timestamptz NOT NULL,
    ended_at timestamptz,
    PRIMARY KEY (workspace_id, alert_id),
    FOREIGN KEY (workspace_id, data_source_id) REFERENCES data_source
);
-- However many notice it at once, it is told once.
CREATE UNIQUE INDEX alert_open ON alert (workspace_id, data_source_id, kind, subject) WHERE ended_at IS NULL;
CREATE INDEX alert_recent ON alert (workspace_id, raised_at);
"""

PACE = """
-- As the columns of the same names with sink_ in front, for what is asked of a source.
ALTER TABLE data_source
    ADD COLUMN read_rate_now double precision,
    ADD COLUMN read_rate_at timestamptz,
    ADD COLUMN read_pause_until timestamptz,
    ADD COLUMN read_breaker_failures integer NOT NULL DEFAULT 0,
    ADD COLUMN read_breaker_recent integer NOT NULL DEFAULT 0,
    ADD COLUMN read_breaker_opens integer NOT NULL DEFAULT 0,
    ADD COLUMN read_breaker_until timestamptz;

-- So many requests to a source may have been granted in a period at most, as sink_quota has it for writes.
CREATE TABLE read_quota (
    workspace_id uuid NOT NULL,
    data_source_id uuid NOT NULL,
    period text NOT NULL,           -- d or m and the second at which it begins
    booked bigint NOT NULL,
    ends_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, data_source_id, period)
);
"""

CYCLES = """
-- cadence_s is the one in use; polls_since_full counts what was read of changes alone since all was read; put_off:
-- it waits because the source as a whole is left alone.
ALTER TABLE source_resource ADD COLUMN polls_since_full integer NOT NULL DEFAULT 0,
    ADD COLUMN put_off boolean NOT NULL DEFAULT false;
"""


def upgrade() -> None:
    """Add the tables and columns."""
    op.execute(ALERT)
    protect("alert")
    op.execute(PACE)
    protect("read_quota")
    op.execute(CYCLES)
