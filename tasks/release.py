"""Decide what may leave, and to which sinks."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.queue import RELEASE
from connector_runner.outbound.releasing import release as outbound
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import drain_after
from tasks.process import runner


@app.task(base=RunnerTask, name=RELEASE, follow_ups=staticmethod(drain_after))
def release(workspace_id: str) -> Any:
    """Put changed entities through the gates and onto lanes."""
    return outbound.release(runner().outbound, workspace_id, limit=100)
