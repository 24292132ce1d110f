"""Find what differs from what sinks confirmed, whatever hint was lost; and read a few confirmed writes back."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.queue import RECONCILE, RECONCILE_SINK, SAMPLE
from connector_runner.outbound.reconciling import reconcile as outbound
from connector_runner.outbound.reconciling import reconcile_sample
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import after_reconcile, after_sample, reconcile_due
from tasks.process import owner, runner


@app.task(base=RunnerTask, name=RECONCILE, follow_ups=staticmethod(reconcile_due))
def reconcile() -> Any:
    """Whose turn it is."""
    return outbound.find(runner().database)


@app.task(base=RunnerTask, name=RECONCILE_SINK, follow_ups=staticmethod(after_reconcile))
def reconcile_sink(workspace_id: str, sink_id: str) -> Any:
    """Walk over what one sink takes, for one slice."""
    every_s = runner().settings.reconcile_every_s
    return outbound.reconcile(runner().outbound, workspace_id, sink_id, owner(), every_s=every_s)


@app.task(base=RunnerTask, name=SAMPLE, follow_ups=staticmethod(after_sample))
def sample(workspace_id: str, sink_id: str) -> Any:
    """Read a few of one sink's confirmed writes back."""
    settings = runner().settings
    return reconcile_sample.sample(
        runner().outbound,
        workspace_id,
        sink_id,
        owner(),
        count=settings.reconcile_sample,
        every_s=settings.reconcile_every_s,
    )
