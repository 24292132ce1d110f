"""Seal reads of protected data into each workspace's audit chain."""

from __future__ import annotations

from connector_runner.infra.queue import SEAL_READS
from connector_runner.kernel.clock import utc_now
from connector_runner.observability import sealing_reads
from tasks.app import app
from tasks.base import RunnerTask
from tasks.process import runner


@app.task(base=RunnerTask, name=SEAL_READS)
def seal_reads() -> int:
    """Seal what was read since the last time."""
    return sealing_reads.seal(runner().database, now=utc_now())
