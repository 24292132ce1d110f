"""Work off what was pushed for one source, and keep its subscriptions."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.queue import RECEIVE, SUBSCRIBE
from connector_runner.intake.push import subscribing, working
from connector_runner.kernel.clock import utc_now
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import after_push, polls_after
from tasks.process import owner, runner


@app.task(base=RunnerTask, name=RECEIVE, follow_ups=staticmethod(after_push))
def receive(workspace_id: str, data_source_id: str) -> Any:
    """Read and land what deliveries are about, for one slice."""
    return working.work_off(runner(), workspace_id, data_source_id, owner=owner(), now=utc_now(), slice_s=5)


@app.task(base=RunnerTask, name=SUBSCRIBE, follow_ups=staticmethod(polls_after))
def subscribe(workspace_id: str, data_source_id: str) -> Any:
    """Create, renew and look at subscriptions; the record types to poll for what they did not tell."""
    return subscribing.keep(runner(), workspace_id, data_source_id, now=utc_now())
