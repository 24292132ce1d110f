"""Write to one sink what is due there, at the sink's own rate."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.queue import DRAIN
from connector_runner.outbound.lanes import drain as outbound
from tasks import running
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import drain_again
from tasks.process import owner, runner


@app.task(base=RunnerTask, name=DRAIN, follow_ups=staticmethod(drain_again))
def drain(workspace_id: str, sink_id: str) -> Any:
    """Drain the sink's lanes for one slice, unless an eighth of this process is at that already.

    Each drain has as many hands beside its own thread as the sink may have requests under way, so more of them would
    only wait: the whole process, where a few sinks hang at once.
    """
    with running.share_of(sink_id, max(1, runner().settings.io_threads // 8)) as mine:
        if not mine:
            # Those that are at it look once more before they end.
            return outbound.Drained()
        return outbound.drain(runner().outbound, workspace_id, sink_id, owner=owner(), slice_s=5)
