"""Poll one resource of one source, and others that are due."""

from __future__ import annotations

from typing import Any, Final

from connector_runner.bootstrap import Runner
from connector_runner.infra.queue import POLL
from connector_runner.intake import polling
from connector_runner.intake.polling import Polled
from connector_runner.kernel.clock import utc_now
from tasks import running
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import after_poll
from tasks.process import owner, runner

SLICE_S: Final = 5
ON_S: Final = 2.0


@app.task(base=RunnerTask, name=POLL, follow_ups=staticmethod(after_poll))
def poll(workspace_id: str, data_source_id: str, resource_type: str) -> Any:
    """Fetch what is new and land it, for one slice; then go on with the source's other record types that are due.

    After those, with what is overdue, for a moment. A quarter of the process goes on, so that the rest is there for
    what else is to be done.
    """
    deps = runner()
    done = _of_one_source(deps, workspace_id, data_source_id, resource_type)
    with running.share_of(POLL, max(1, deps.settings.io_threads // 4)) as mine:
        if mine:
            done += polling.poll_due(deps, owner=owner(), clock=utc_now, for_s=ON_S, slice_s=SLICE_S)
    return done


def _of_one_source(deps: Runner, workspace_id: str, data_source_id: str, resource_type: str) -> list[Polled]:
    first = polling.poll(
        deps, workspace_id, data_source_id, resource_type, owner=owner(), now=utc_now(), slice_s=SLICE_S
    )
    done = [Polled(workspace_id, data_source_id, resource_type, first)]
    if first.well:
        done += polling.poll_others(
            deps, workspace_id, data_source_id, owner=owner(), clock=utc_now, for_s=ON_S, slice_s=SLICE_S
        )
    return done
