"""Write to one sink what is due there, at the sink's own rate."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.queue import DRAIN
from connector_runner.outbound import drain as outbound
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import drain_again
from tasks.process import owner, runner


@app.task(base=RunnerTask, name=DRAIN, follow_ups=staticmethod(drain_again))
def drain(workspace_id: str, sink_id: str) -> Any:
    """Drain the sink's lanes for one slice."""
    return outbound.drain(runner().outbound, workspace_id, sink_id, owner=owner(), slice_s=5)
