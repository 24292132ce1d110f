"""Poll one record type of one source: under a lease, page by page, each page and its cursor in one transaction.

No transaction is open while the source is asked. A poll that dies anywhere leaves the cursor at the last page
that landed; whoever claims next asks for the following one again. A poll that lost its lease writes nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from connector_runner.connectors import directory, read_state_store, store
from connector_runner.connectors.base import DataSource, SourceRecord
from connector_runner.connectors.exports import ExportDue
from connector_runner.connectors.probing import capability_store
from connector_runner.connectors.store import Claim
from connector_runner.infra.database import Row, Tx
from connector_runner.infra.metrics import POLL_SECONDS, POLLS
from connector_runner.intake import admission as admitting
from connector_runner.intake import schedule
from connector_runner.intake.admission import BREAKER, Admission
from connector_runner.intake.fence import Fence, FenceLost
from connector_runner.intake.landing import Landed
from connector_runner.intake.opening import Deps, open_source, origin_of
from connector_runner.intake.slice import PollOutcome, Slice
from connector_runner.kernel.clock import Clock
from connector_runner.kernel.errors import Misconfigured, RunnerError, TryAgain

__all__ = [
    "PollOutcome",
    "Polled",
    "bury_parked",
    "entries",
    "overdue",
    "poll",
    "poll_due",
    "poll_others",
    "test_connection",
]

_AT_A_LOOK = 32


def poll(
    deps: Deps,
    workspace_id: str,
    data_source_id: str,
    resource_type: str,
    *,
    owner: str,
    now: datetime,
    slice_s: float = 10,
) -> PollOutcome:
    """Claim a record type if it is due, and land what is new for about ``slice_s`` seconds.

    A failure of the source is not raised: it is noted in its health and tried again after a growing pause.
    Raises Unavailable when Postgres cannot be used, and what is a fault of this program.
    """
    started = time.monotonic()
    with deps.database.begin(workspace_id) as tx:
        claim = store.claim(
            tx,
            workspace_id,
            data_source_id,
            resource_type,
            owner=owner,
            now=now,
            lease_until=now + timedelta(seconds=schedule.MIN_LEASE_S),
            tolerance=schedule.EARLY,
        )
        if claim is None:
            return PollOutcome("not_due")
        fence = Fence(deps.database, claim, now)
        try:
            source = directory.load(tx, workspace_id, data_source_id)
        except Misconfigured as error:
            return _unreadable(tx, claim, error, now)
        fence.begin(tx, schedule.lease_s(getattr(source.settings, "request_timeout_s", 0.0)))
        admission = admitting.admit(tx, source, now)
        if admission.closed is not None:
            return _put_off(tx, claim, admission, now)
        known = capability_store.matrix(tx, workspace_id, data_source_id)
    outcome = _run(Slice(deps, fence, source, admission, slice_s, known))
    POLLS.labels(source=source.name, outcome=outcome.status).inc()
    POLL_SECONDS.labels(source=source.name).observe(time.monotonic() - started)
    return outcome


@dataclass(frozen=True, slots=True)
class Polled:
    """A record type that was polled, and what came of it."""

    workspace_id: str
    data_source_id: str
    resource_type: str
    outcome: PollOutcome


def poll_others(
    deps: Deps,
    workspace_id: str,
    data_source_id: str,
    *,
    owner: str,
    clock: Clock,
    for_s: float,
    slice_s: float,
) -> list[Polled]:
    """Poll the record types of one source that are due, one after the other for about ``for_s`` seconds.

    As a rule they are due together, and one hint stands for all of them. Ends where the source does not let itself be
    read: the others would wait for the same. Raises as ``poll`` does.
    """
    end = time.monotonic() + for_s
    done: list[Polled] = []
    with deps.database.begin(workspace_id) as tx:
        waiting = read_state_store.due_of(tx, workspace_id, data_source_id, clock(), tolerance=schedule.EARLY)
    for resource_type in waiting:
        if time.monotonic() >= end:
            break
        outcome = poll(deps, workspace_id, data_source_id, resource_type, owner=owner, now=clock(), slice_s=slice_s)
        if outcome.status != "not_due":
            done.append(Polled(workspace_id, data_source_id, resource_type, outcome))
        if not outcome.well:
            break
    return done


def poll_due(deps: Deps, *, owner: str, clock: Clock, for_s: float, slice_s: float) -> list[Polled]:
    """Poll what is due, whosever it is and the longest overdue first, one after the other for about ``for_s`` seconds.

    Where more is due than there are hints for, this keeps up at no more than what the polls themselves cost. Raises
    as ``poll`` does.
    """
    end = time.monotonic() + for_s
    done: list[Polled] = []
    while time.monotonic() < end:
        with deps.database.sweep() as tx:
            waiting = [*store.due(tx, clock(), _AT_A_LOOK)]
        random.shuffle(waiting)  # others look at the same ones
        before = len(done)
        for row in waiting:
            key = (str(row["workspace_id"]), str(row["data_source_id"]), str(row["resource_type"]))
            outcome = poll(deps, *key, owner=owner, now=clock(), slice_s=slice_s)
            if outcome.status != "not_due":
                done.append(Polled(*key, outcome))
            if time.monotonic() >= end:
                break
        if len(done) == before:
            break
    return done


def _run(piece: Slice) -> PollOutcome:
    try:
        piece.go()
    except FenceLost:
        piece.outcome.status = "lost"
    except ExportDue:
        piece.hand_over()
    except RunnerError as error:
        if error.code == "database_unavailable":
            raise
        piece.fail(error)
    except Exception:
        piece.fail(TryAgain("the poll failed inside this program", code="internal_error"))
        raise
    return piece.outcome


def _unreadable(tx: Tx, claim: Claim, error: Misconfigured, now: datetime) -> PollOutcome:
    """The settings of the source cannot be read: there is nothing to ask, until somebody mends them."""
    errors = claim.consecutive_errors + 1
    due_at = schedule.retry_due(errors, claim.cadence_s, now, retry_after_s=None, random=random.random)
    store.settle(tx, claim, due_at=due_at, full_sync_due_at=claim.full_sync_due_at, error_code=error.code)
    directory.record_error(tx, claim, error.code, str(error), now)
    return PollOutcome("failed", code=error.code)


def _put_off(tx: Tx, claim: Claim, admission: Admission, now: datetime) -> PollOutcome:
    """It is not the time to ask; those who wait for the same moment come one after the other."""
    until = admitting.soon_after(admission.until or now, random.random())
    put_off = admission.closed == BREAKER
    store.settle(tx, claim, due_at=until, full_sync_due_at=claim.full_sync_due_at, put_off=put_off)
    return PollOutcome("put_off", code=admission.closed)


def bury_parked(
    deps: Deps, workspace_id: str, data_source_id: str, resource_type: str, ids: Sequence[str], *, now: datetime
) -> Landed:
    """Land deletes that a person approved. Each is read once more: what exists again is landed as it is.

    Raises what a read raises; nothing has landed then.
    """
    with deps.database.begin(workspace_id) as tx:
        source = directory.load(tx, workspace_id, data_source_id)
    reader = open_source(deps, source)
    read = [reader.read(resource_type, record_id) for record_id in ids]
    records = [
        answer or SourceRecord(resource_type, record_id, b"", None, deleted=True)
        for record_id, answer in zip(ids, read, strict=True)
    ]
    with deps.database.begin(workspace_id) as tx:
        return deps.intake.land(tx, workspace_id, origin_of(source), records, now=now)


def overdue(tx: Tx, now: datetime, limit: int = 500) -> Sequence[Row]:
    """In a sweep: record types that are due and that nobody polls (workspace_id, data_source_id, resource_type)."""
    return store.due(tx, now, limit)


def entries(tx: Tx) -> Sequence[Row]:
    """In a sweep: what beat hints, one row for each enabled record type of an enabled source, with ``cadence_s``."""
    return store.scheduled(tx)


def test_connection(deps: Deps, source: DataSource) -> dict[str, Any]:
    """Ask a source for one page of each of its record types, and say how it answered, in codes.

    Nothing lands and no cursor moves. Raises Misconfigured (``not_polled``) when there is nothing to read, and
    Unavailable when Postgres cannot be used.
    """
    reader = open_source(deps, source)
    checked: dict[str, Any] = {}
    for resource_type in source.settings.resources or ("Patient",):
        try:
            page = next(iter(reader.pages(resource_type, {}, full=True)))
        except RunnerError as error:
            if error.code == "database_unavailable":
                raise
            checked[resource_type] = {"ok": False, "code": error.code, "detail": str(error)}
        else:
            checked[resource_type] = {"ok": True, "records": len(page.records), "unusable": len(page.bad)}
    return {"ok": all(result["ok"] for result in checked.values()), "resources": checked}
