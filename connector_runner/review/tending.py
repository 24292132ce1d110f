"""What has to be looked after now and then: what nobody noted, and what nobody answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from connector_runner.infra.database import Database, Tx
from connector_runner.review import ageing, pending_store


@dataclass(frozen=True, slots=True)
class Tended:
    """``found``: entities that wait for the judge from now on; ``expired``: items that nobody answered in time.

    ``lapsed``: items that were given back as nobody answered whom they were claimed by; ``moved``: those that are more
    urgent by now, or less.
    """

    found: int
    expired: int
    lapsed: int
    moved: int


def workspaces(database: Database) -> list[str]:
    """Ids of the workspaces whose review is tended."""
    with database.sweep() as tx:
        return pending_store.workspaces(tx)


def tend(database: Database, workspace_id: str, *, now: datetime) -> Tended:
    """Look for what nobody noted, let go what nobody answered, and see to how urgent the rest is."""
    found = scan(database, workspace_id, now=now)
    lapsed = database.retrying(workspace_id, lambda tx: ageing.lapse(tx, workspace_id, now=now))
    expired = database.retrying(workspace_id, lambda tx: ageing.expire(tx, workspace_id, now=now))
    return Tended(found, expired, lapsed, ageing.come_nearer(database, workspace_id, now=now))


def scan(database: Database, workspace_id: str, *, now: datetime) -> int:
    """Have judged what was said in doubt since the last scan, and nobody noted; how many entities.

    Step by step, each in a transaction of its own: there may have been much before anybody looked.
    """

    def step(tx: Tx) -> tuple[int, datetime | None]:
        return pending_store.scan(tx, workspace_id, since, now)

    with database.begin(workspace_id) as tx:
        since = pending_store.scanned_until(tx, workspace_id)
    found, since = database.retrying(workspace_id, step)
    while since is not None:
        more, since = database.retrying(workspace_id, step)
        found += more
    return found
