"""Find what is due and was not hinted, or whose hint was lost."""

from __future__ import annotations

from collections.abc import Sequence

from connector_runner.infra.queue import SWEEP, Hint
from connector_runner.kernel.clock import utc_now
from connector_runner.observability import overdue
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import all_of
from tasks.process import runner


@app.task(base=RunnerTask, name=SWEEP, follow_ups=staticmethod(all_of))
def sweep() -> Sequence[Hint]:
    """Look at the work tables of all workspaces; the hints to send."""
    return overdue.find(runner().database, now=utc_now())
