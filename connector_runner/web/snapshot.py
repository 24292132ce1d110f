"""What flows, asked for at most every few seconds however many look at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connector_runner.bootstrap import Runner
from connector_runner.infra.database import Database
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.observability import status, store

MAX_AGE_S: Final = 2.0
MAX_WORKSPACES: Final = 100
"""More than these are counted and not shown."""


@dataclass(frozen=True, slots=True)
class WorkspaceView:
    """One workspace: what an operator called it, whether it is suspended, and its status document."""

    slug: str
    name: str
    suspended: bool
    found: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the page and a scrape show, as of ``at``."""

    at: datetime
    workspaces: tuple[WorkspaceView, ...]
    more_workspaces: int
    overall: dict[str, Any]


class Snapshots:
    """Takes snapshots, one at a time; who comes meanwhile gets the same one."""

    def __init__(self, runner: Runner, database: Database, *, now: Clock = utc_now) -> None:
        self._take: Callable[[], Snapshot] = lambda: _take(runner, database, now())
        self._lock = threading.Lock()
        self._last: tuple[float, Snapshot] | None = None

    def latest(self) -> Snapshot:
        """A snapshot of the last two seconds. Raises Unavailable when Postgres cannot be asked."""
        with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > MAX_AGE_S:
                self._last = None
                snapshot = self._take()
                self._last = (time.monotonic(), snapshot)
            return self._last[1]


def _take(runner: Runner, database: Database, at: datetime) -> Snapshot:
    with database.sweep() as tx:
        known = store.workspaces(tx)
    views = tuple(
        WorkspaceView(
            row["slug"],
            row["name"],
            row["status"] != "active",
            status.of_workspace(database, runner.quarantine, row["workspace_id"]),
        )
        for row in known[:MAX_WORKSPACES]
    )
    overall = status.with_installation(
        status.together([view.found for view in views if not view.suspended]),
        status.of_installation(database, runner.publisher),
    )
    return Snapshot(at, views, max(0, len(known) - MAX_WORKSPACES), overall)
