"""A sign that a node takes messages and does work, not only that its process is there."""

from __future__ import annotations

from connector_runner.infra import schedule
from connector_runner.infra.queue import HEARTBEAT
from tasks import running
from tasks.app import app
from tasks.base import RunnerTask
from tasks.process import runner


@app.task(base=RunnerTask, name=HEARTBEAT)
def heartbeat(node: str, kind: str) -> None:
    """Write the node's row."""
    with runner().database.sweep() as tx:
        schedule.beat(tx, node, kind, {"slices": running.count()})
