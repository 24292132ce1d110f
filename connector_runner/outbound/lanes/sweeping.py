"""What lost hints and dead workers leave behind: expired leases, and sinks with work that nobody was told of."""

from __future__ import annotations

from dataclasses import dataclass

from connector_runner.infra.database import Database
from connector_runner.outbound.lanes import sweep_store

LIMIT = 500
AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class DueSink:
    """A sink whose lanes are due; the slug and the name make its queue."""

    workspace_id: str
    slug: str
    sink_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Swept:
    """``reaped`` leases ended; ``releases`` are workspaces with pending entities; ``sinks`` have work due."""

    reaped: int
    releases: tuple[str, ...]
    sinks: tuple[DueSink, ...]


def sweep(database: Database, *, hint_every_s: float = 2.0) -> Swept:
    """Reap expired leases everywhere, and find what is due and was not hinted within ``hint_every_s``."""
    reaped = reap(database)
    wake_read(database)
    with database.sweep() as tx:
        releases = sweep_store.pending_workspaces(tx, LIMIT)
        found = sweep_store.due_sinks(tx, hint_every_s, LIMIT)
    sinks = tuple(DueSink(**row) for row in found)
    for workspace_id in sorted({sink.workspace_id for sink in sinks}):
        with database.begin(workspace_id) as tx:
            sweep_store.hinted(tx, workspace_id, [s.sink_id for s in sinks if s.workspace_id == workspace_id])
    return Swept(reaped, tuple(releases), sinks)


def wake_read(database: Database) -> int:
    """Have lanes looked at that waited until all of their sink was read and compared, where that is so; how many."""
    with database.sweep() as tx:
        workspaces = sweep_store.workspaces_read(tx)
    woken = 0
    for workspace_id in workspaces:
        with database.begin(workspace_id) as tx:
            sweep_store.note_compared(tx, workspace_id)
        with database.begin(workspace_id) as tx:
            woken += sweep_store.wake_read(tx, workspace_id, AT_ONCE)
    return woken


def reap(database: Database) -> int:
    """End leases whose time is over: nothing was sent → ready; an intent is open → unknown, after its quiet period."""
    with database.sweep() as tx:
        workspaces = sweep_store.workspaces_with_expired_leases(tx, LIMIT)
    ended = 0
    for workspace_id in workspaces:
        with database.begin(workspace_id) as tx:
            ended += sweep_store.end_expired(tx, workspace_id, LIMIT)
    return ended
