"""Chain what was noted since in every workspace, and anchor each log once a day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from connector_runner.audit import anchors as files
from connector_runner.audit import log as audit
from connector_runner.audit import store
from connector_runner.infra.database import Database
from connector_runner.infra.logging import get_logger
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.errors import RunnerError

LATE_S: Final = 30.0
"""Notes that wait longer mean that nobody seals: ``status`` is degraded, and whoever seals again says so."""
ANCHORS_LATE_S: Final = 36 * 3600.0
"""An entry that waits longer for the daily anchor means that nobody anchors: ``status`` is degraded."""

log = get_logger(__name__)


def seal(database: Database, *, now: datetime, limit: int = audit.SEAL_BATCH) -> int:
    """Seal all that is noted; how many notes. A log that cannot be sealed now holds up no other."""
    with database.sweep() as tx:
        waiting = store.with_open_reads(tx)
    return sum(_each(waiting, "audit.not_sealed", lambda ws: _seal(database, ws, now, limit)))


def _seal(database: Database, workspace_id: str, now: datetime, limit: int) -> int:
    with database.begin(workspace_id) as tx:
        count, age = store.unsealed(tx, workspace_id)
    if age > LATE_S:
        log.error("audit.sealed_late", workspace_id=workspace_id, notes=count, oldest_s=round(age))
    total, done = 0, limit
    while done == limit:
        with database.begin(workspace_id) as tx:
            done = audit.seal_reads(tx, workspace_id, now=now, limit=limit)
        total += done
    return total


def anchor(database: Database, sealer: Sealer, *, now: datetime) -> int:
    """Anchor each log that has not been today (UTC); how many.

    Each anchor is told to the log of the process as well, which is kept elsewhere than the database.
    """
    with database.sweep() as tx:
        known = store.with_entries(tx)
    return sum(_each(known, "audit.not_anchored", lambda ws: _anchor(database, sealer, ws, now)))


def _anchor(database: Database, sealer: Sealer, workspace_id: str, now: datetime) -> int:
    today = now.astimezone(UTC).date()
    with database.begin(workspace_id) as tx:
        last = store.last_anchor(tx, workspace_id)
        if last is not None and last.made_at.astimezone(UTC).date() >= today:
            return 0
        made = audit.anchor(tx, workspace_id, sealer, now=now)
    if made is None or made == last:
        return 0
    log.info("audit.anchored", **files.document(made))
    return 1


def _each(workspaces: Sequence[str], what: str, work: Callable[[str], int]) -> list[int]:
    done = []
    for workspace_id in workspaces:
        try:
            done.append(work(workspace_id))
        except RunnerError as error:
            log.error(what, workspace_id=workspace_id, code=error.code)
    return done
