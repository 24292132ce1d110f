"""Tell beat that data sources changed."""

from __future__ import annotations

from connector_runner.infra import schedule
from connector_runner.infra.queue import REFRESH_CONFIG
from tasks.app import app
from tasks.base import RunnerTask
from tasks.process import owner, runner


@app.task(base=RunnerTask, name=REFRESH_CONFIG)
def refresh_config() -> None:
    """Mark the configuration as changed; beat rebuilds its entries when it sees the mark."""
    with runner().database.sweep() as tx:
        schedule.mark(tx, "refresh_config", owner())
