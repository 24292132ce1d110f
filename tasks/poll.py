"""Poll one resource of one source."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.queue import POLL
from connector_runner.intake import polling
from connector_runner.kernel.clock import utc_now
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import after_poll
from tasks.process import owner, runner


@app.task(base=RunnerTask, name=POLL, follow_ups=staticmethod(after_poll))
def poll(workspace_id: str, data_source_id: str, resource_type: str) -> Any:
    """Fetch what is new and land it, for one slice."""
    return polling.poll(runner(), workspace_id, data_source_id, resource_type, owner=owner(), now=utc_now(), slice_s=5)
