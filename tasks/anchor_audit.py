"""Anchor each workspace's audit chain once a day."""

from __future__ import annotations

from connector_runner.infra.queue import ANCHOR_AUDIT
from connector_runner.kernel.clock import utc_now
from connector_runner.observability import sealing_reads
from tasks.app import app
from tasks.base import RunnerTask
from tasks.process import runner


@app.task(base=RunnerTask, name=ANCHOR_AUDIT)
def anchor_audit() -> int:
    """Anchor what was not anchored today."""
    return sealing_reads.anchor(runner().database, runner().sealer, now=utc_now())
