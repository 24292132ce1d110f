"""Compare what changed with what may be the same."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.queue import RESOLVE
from connector_runner.kernel.clock import utc_now
from connector_runner.resolution import service
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import after_resolution
from tasks.process import runner


@app.task(base=RunnerTask, name=RESOLVE, follow_ups=staticmethod(after_resolution))
def resolve(workspace_id: str) -> Any:
    """Compare one batch."""
    return service.resolve(runner().database, workspace_id, now=utc_now())
