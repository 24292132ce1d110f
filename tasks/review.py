"""Judge what was said in doubt, and now and then look for what was missed and for questions that nobody answered."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.queue import REVIEW, REVIEW_TEND, REVIEW_TEND_WORKSPACE
from connector_runner.kernel.clock import utc_now
from connector_runner.review import tending
from connector_runner.review.loop import Reviewed
from tasks import running
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import after_review, after_tending, reviews_to_tend
from tasks.process import runner


@app.task(base=RunnerTask, name=REVIEW, follow_ups=staticmethod(after_review))
def review(workspace_id: str) -> Any:
    """Judge one batch. Where enough of this process does so already, those go on with what there is."""
    deps = runner()
    with running.share_of(REVIEW, deps.settings.review_tasks) as mine:
        return deps.review.run(workspace_id) if mine else Reviewed()


@app.task(base=RunnerTask, name=REVIEW_TEND, follow_ups=staticmethod(reviews_to_tend))
def tend() -> Any:
    """The workspaces to look at."""
    return tending.workspaces(runner().database)


@app.task(base=RunnerTask, name=REVIEW_TEND_WORKSPACE, follow_ups=staticmethod(after_tending))
def tend_workspace(workspace_id: str) -> Any:
    """Find what nobody noted, and let go what nobody answered."""
    return tending.tend(runner().database, workspace_id, now=utc_now())
