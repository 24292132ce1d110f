"""Get on with exports: workers a slice at a time, the command line from begin to end in its process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from connector_runner.connectors import directory
from connector_runner.connectors.fhir.bulk.client import BulkClient, ExportLost
from connector_runner.infra.database import Tx
from connector_runner.infra.logging import get_logger
from connector_runner.intake.bulk import file_store, requesting, store
from connector_runner.intake.bulk.steps import Deps, Work
from connector_runner.intake.imports import running as imports
from connector_runner.intake.opening import opening_of
from connector_runner.intake.read_gate import Turn
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import BadRecord, Conflict, RunnerError, TokenExpired, TryAgain
from connector_runner.resilience.retry import Backoff

SLICE_S: Final = 10.0
MOST_ATTEMPTS: Final = 20
_BACKOFF = Backoff(5, 600, floor=0.5)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """What a slice came to: ``more`` says that the next may follow at once; else it is due in ``wait_s``."""

    state: str
    more: bool
    wait_s: float
    import_id: str | None = None


def run(deps: Deps, workspace_id: str, export_id: str, *, owner: str, slice_s: float = SLICE_S) -> ExportOutcome:
    """Get on with an export for a slice, as far as it is due and nobody else works on it.

    A failure of the server is not raised: it is noted and tried again after a growing pause. Raises Unavailable when
    Postgres cannot be used, and what is a fault of this program.
    """
    deadline = time.monotonic() + slice_s
    while time.monotonic() < deadline:
        with deps.database.begin(workspace_id) as tx:
            job = store.claim(tx, export_id, owner, utc_now())
        if job is None:
            break
        try:
            _look(deps, job, owner, deadline)
        except Conflict as error:
            log.info("export.lease_lost", export_id=export_id, code=error.code)
            break
    return _standing(deps, workspace_id, export_id)


def _look(deps: Deps, job: store.Job, owner: str, deadline: float) -> None:
    with deps.database.begin(job.workspace_id) as tx:
        source = directory.load(tx, job.workspace_id, job.data_source_id)
    opening = opening_of(deps, source, turn=Turn.BACKFILL if job.since is None else Turn.FRESH)
    client = BulkClient(opening, requesting.settings_of(source))
    work = Work(deps, job, source, client, owner, deadline)
    step = {"starting": work.starting, "polling": work.polling, "fetching": work.fetching, "closing": work.closing}
    try:
        step[job.state]()
    except ExportLost as error:
        work.restart(error)
    except (TryAgain, TokenExpired) as error:
        if error.code == "database_unavailable":
            raise
        _postpone(deps, work, error)
    except Conflict:
        raise
    except RunnerError as error:
        work.fail(error)


def _postpone(deps: Deps, work: Work, error: RunnerError) -> None:
    attempts = work.job.attempts + 1
    if attempts > MOST_ATTEMPTS or (isinstance(error, TokenExpired) and attempts > 3):
        work.fail(error)
        return
    stated = error.retry_after_s if isinstance(error, TryAgain) else None
    paced = error.code == "read_paced"
    pause_s = (stated or 1.0) if paced else _BACKOFF.pause_s(attempts, retry_after_s=stated)
    due_at = utc_now() + timedelta(seconds=pause_s)
    work.save(due_at=due_at, attempts=work.job.attempts if paced else attempts, error_code=error.code)
    if not paced:
        with deps.database.begin(work.job.workspace_id) as tx:
            directory.record_error(tx, work.source, error.code, str(error), utc_now())


def _standing(deps: Deps, workspace_id: str, export_id: str) -> ExportOutcome:
    with deps.database.begin(workspace_id) as tx:
        job = store.job(tx, export_id)
    if job is None:
        return ExportOutcome("failed", False, 0.0)
    wait_s = max((job.due_at - utc_now()).total_seconds(), 0.0)
    return ExportOutcome(job.state, job.is_open and wait_s == 0.0, wait_s, job.import_id)


def overdue(tx: Tx, now: datetime, limit: int = 100) -> list[tuple[str, str]]:
    """Workspace and export ids that a worker should look at now; ``tx`` is a sweep."""
    return store.overdue(tx, now, limit)


Told = Callable[[dict[str, Any]], None]
"""Told how an export stands, several times a second."""


def run_to_end(
    deps: Deps, workspace_id: str, export_id: str, *, owner: str = "command line", told: Told | None = None
) -> dict[str, Any]:
    """Get on with an export until it ends, and land what it brings, in this process; workers may help.

    The answer is ``outcome_of`` with ``seconds``.
    """
    began = time.monotonic()
    while True:
        outcome = run(deps, workspace_id, export_id, owner=owner, slice_s=2.0)
        landing = False
        if outcome.import_id is not None:
            landing = imports.run(deps, workspace_id, outcome.import_id, owner=owner).files_done > 0
        if told is not None:
            told(standing(deps, workspace_id, export_id))
        if outcome.state in ("completed", "failed"):
            return outcome_of(deps, workspace_id, export_id) | {"seconds": round(time.monotonic() - began, 3)}
        if not landing and not outcome.more:
            time.sleep(min(max(outcome.wait_s, 0.05), 1.0))


def standing(deps: Deps, workspace_id: str, export_id: str) -> dict[str, Any]:
    """How an export stands: state, step, per cent as the server says, files and lines. Raises BadRecord."""
    with deps.database.begin(workspace_id) as tx:
        job = store.job(tx, export_id)
        counts = file_store.counts(tx, export_id)
    if job is None:
        raise BadRecord("there is no such export", code="no_export", where="export_id")
    return {
        "export_id": job.export_id,
        "state": job.state,
        "step": job.step,
        "since": job.since,
        "next_since": job.next_since,
        "progress": job.progress,
        "complete": job.complete,
        "restarts": job.restarts,
        "problems": job.problems,
        "error": job.error_code,
        **counts,
    }


def outcome_of(deps: Deps, workspace_id: str, export_id: str) -> dict[str, Any]:
    """How an export stands with what landed of it so far, in the words of imports. Raises BadRecord."""
    with deps.database.begin(workspace_id) as tx:
        job = store.job(tx, export_id)
    if job is None:
        raise BadRecord("there is no such export", code="no_export", where="export_id")
    landed = imports.outcome_of(deps, workspace_id, job.import_id)
    for name in ("status", "files", "failed_files"):
        landed.pop(name)
    return {**landed, **standing(deps, workspace_id, export_id)}
