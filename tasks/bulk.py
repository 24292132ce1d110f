"""Get on with bulk exports, a slice at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connector_runner.infra.queue import EXPORT, IMPORT, Hint
from connector_runner.intake.bulk import running
from tasks.app import app
from tasks.base import RunnerTask
from tasks.process import owner, runner


def _go_on(outcome: Any, ids: dict[str, Any]) -> Iterator[Hint]:
    """What was fetched is landed; an export that its slice cut off goes on."""
    if outcome.import_id is not None and outcome.state in ("fetching", "closing"):
        yield Hint.of(IMPORT, workspace_id=ids["workspace_id"], import_id=outcome.import_id)
    if outcome.more:
        yield Hint.of(EXPORT, **ids)


@app.task(base=RunnerTask, name=EXPORT, follow_ups=staticmethod(_go_on))
def export(workspace_id: str, export_id: str) -> Any:
    """Ask, look, fetch or end, whatever an export is due for."""
    return running.run(runner(), workspace_id, export_id, owner=owner(), slice_s=5)
