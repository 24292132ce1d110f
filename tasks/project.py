"""Fold entities anew that something marked dirty."""

from __future__ import annotations

from connector_runner.infra.queue import PROJECT
from connector_runner.kernel.clock import utc_now
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import after_change
from tasks.process import runner


@app.task(base=RunnerTask, name=PROJECT, follow_ups=staticmethod(after_change))
def project(workspace_id: str) -> int:
    """Fold one batch of dirty entities."""
    world = runner().world
    return runner().database.retrying(workspace_id, lambda tx: world.refold_dirty(tx, workspace_id, now=utc_now()))
