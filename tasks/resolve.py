"""Compare what changed with what may be the same; now and then count how common names are, and shelve keys."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.queue import RECOUNT, RECOUNT_WORKSPACE, RESOLVE, SHELVE
from connector_runner.kernel.clock import utc_now
from connector_runner.resolution import service
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import after_count, after_resolution, after_shelving, counts_due
from tasks.process import runner


@app.task(base=RunnerTask, name=RESOLVE, follow_ups=staticmethod(after_resolution))
def resolve(workspace_id: str) -> Any:
    """Compare one batch."""
    return service.resolve(runner().database, workspace_id, now=utc_now(), tell=runner().resolved)


@app.task(base=RunnerTask, name=RECOUNT, follow_ups=staticmethod(counts_due))
def recount() -> Any:
    """The workspaces to look at."""
    return service.workspaces(runner().database)


@app.task(base=RunnerTask, name=RECOUNT_WORKSPACE, follow_ups=staticmethod(after_count))
def recount_workspace(workspace_id: str) -> Any:
    """Count names in one workspace, where its population changed."""
    return service.recount(runner().database, workspace_id, now=utc_now())


@app.task(base=RunnerTask, name=SHELVE, follow_ups=staticmethod(after_shelving))
def shelve(workspace_id: str, turn: int = 0) -> Any:
    """Put the keys that came lately in one workspace to all the others, where they have become many."""
    return service.shelve(runner().database, workspace_id, turn=turn)
