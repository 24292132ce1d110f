"""Compare what changed with what may be the same, and count now and then how common names are."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.queue import RECOUNT, RECOUNT_WORKSPACE, RESOLVE
from connector_runner.kernel.clock import utc_now
from connector_runner.resolution import service
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import after_count, after_resolution, counts_due
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
