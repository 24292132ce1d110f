"""What has to be looked after now and then: what nobody noted, and what nobody answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from connector_runner.infra.database import Database, Tx
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
    found = _scan(database, workspace_id, now)
    expired = database.retrying(workspace_id, lambda tx: queue.expire(tx, workspace_id, now=now))
    return Tended(found, expired)


def _scan(database: Database, workspace_id: str, now: datetime) -> int:
    """Step by step, each in a transaction of its own: there may have been much before anybody looked."""

    def step(tx: Tx) -> tuple[int, datetime | None]:
        return pending_store.scan(tx, workspace_id, since, now)

    with database.begin(workspace_id) as tx:
        since = pending_store.scanned_until(tx, workspace_id)
    found, since = database.retrying(workspace_id, step)
    while since is not None:
        more, since = database.retrying(workspace_id, step)
        found += more
    return found
