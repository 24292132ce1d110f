"""What has to be looked after now and then: what nobody noted, and what nobody answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from connector_runner.infra.database import Database
from connector_runner.review import pending_store, queue


@dataclass(frozen=True, slots=True)
class Tended:
    """``found``: entities that wait for the judge from now on; ``expired``: items that nobody answered in time."""

    found: int
    expired: int


def workspaces(database: Database) -> list[str]:
    """Ids of the workspaces whose review is tended."""
    with database.sweep() as tx:
        return pending_store.workspaces(tx)


def tend(database: Database, workspace_id: str, *, now: datetime) -> Tended:
    """Look for what nobody noted, and let go what nobody answered."""
    found = database.retrying(workspace_id, lambda tx: pending_store.scan(tx, workspace_id, now))
    expired = database.retrying(workspace_id, lambda tx: queue.expire(tx, workspace_id, now=now))
    return Tended(found, expired)
