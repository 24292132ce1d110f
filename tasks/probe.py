"""Ask servers what they can do, each once a day."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.queue import PROBE, PROBE_SOURCE
from connector_runner.intake import probing
from connector_runner.kernel.clock import utc_now
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import probes_due
from tasks.process import owner, runner


@app.task(base=RunnerTask, name=PROBE, follow_ups=staticmethod(probes_due))
def probe() -> Any:
    """Whose turn it is."""
    return probing.find(runner().database)


@app.task(base=RunnerTask, name=PROBE_SOURCE)
def probe_source(workspace_id: str, data_source_id: str) -> Any:
    """Probe one source."""
    return probing.probe_due(runner(), workspace_id, data_source_id, owner=owner(), now=utc_now())
