"""A process that drains one sink until it is killed: URL of the database, of Redis, workspace, sink [, seconds]."""

from __future__ import annotations

import sys
import time

from connector_runner.infra.database import Database
from connector_runner.outbound.lanes.drain import drain
from tests.integration.outbound_stack import outbound_of


def main(database_url: str, redis_url: str, workspace: str, sink: str, seconds: str = "60") -> None:
    """Drain, and look again at once."""
    outbound = outbound_of(Database(database_url.replace("postgresql+psycopg2", "postgresql")), redis_url)
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        if not drain(outbound, workspace, sink, f"process-{time.time_ns()}").outcomes:
            time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
