"""Poll one record type of one source: under a lease, page by page, each page and its cursor in one transaction.

No transaction is open while the source is asked. A poll that dies anywhere leaves the cursor at the last page
that landed; whoever claims next asks for the following one again. A poll that lost its lease writes nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from connector_runner.connectors import directory, store
from connector_runner.connectors.base import BadEntry, DataSource, Page, Source, SourceRecord, WindowLost
from connector_runner.connectors.store import Claim
from connector_runner.infra.database import Row, Tx
from connector_runner.intake import full_sync, noting, schedule, sync_store
from connector_runner.intake.landing import Landed, Origin
from connector_runner.intake.opening import Deps, open_source, origin_of
from connector_runner.intake.sync_store import Scope
from connector_runner.kernel.errors import Conflict, RunnerError, TryAgain
from connector_runner.kernel.ids import derived_id

Status = Literal["done", "more", "not_due", "lost", "failed"]
_LAND_ATTEMPTS = 3


@dataclass(slots=True)
class PollOutcome:
    """What one slice of polling did.

    ``not_due``: nothing to do, or somebody else does it. ``more``: the slice ended before the window did.
    ``lost``: the lease went to another. ``failed``: with ``code``, noted in the source's health.
    """

    status: Status
    landed: Landed = field(default_factory=Landed)
    pages: int = 0
    deleted: int = 0
    parked: int = 0
    code: str | None = None

    @property
    def more(self) -> bool:
        """Whether another slice should follow at once."""
        return self.status == "more"

    def __bool__(self) -> bool:
        """Whether anything landed that others may want to know of."""
        return self.landed.events_created + self.landed.events_updated > 0


class _FenceLost(Exception):
    """Rolls the transaction back: another worker holds this record type now."""


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
    with deps.database.begin(workspace_id) as tx:
        lease_until = now + timedelta(seconds=schedule.MIN_LEASE_S)
        claim = store.claim(
            tx,
            workspace_id,
            data_source_id,
            resource_type,
            owner=owner,
            now=now,
            lease_until=lease_until,
            tolerance=schedule.EARLY,
        )
    if claim is None:
        return PollOutcome("not_due")
    run = _Run(deps, claim, now, slice_s)
    try:
        run.go()
    except _FenceLost:
        run.outcome.status = "lost"
    except RunnerError as error:
        if error.code == "database_unavailable":
            raise
        run.fail(error)
    except Exception:
        run.fail(TryAgain("the poll failed inside this program", code="internal_error", where=resource_type))
        raise
    return run.outcome


class _Run:
    """One claimed slice."""

    def __init__(self, deps: Deps, claim: Claim, now: datetime, slice_s: float) -> None:
        self.deps, self.claim = deps, claim
        self.scope = Scope(claim.workspace_id, claim.data_source_id, claim.resource_type)
        self.outcome = PollOutcome("done")
        self.cursor: dict[str, Any] = claim.cursor
        self._started, self._clock = now, time.monotonic()
        self._slice_s = slice_s
        self._told: set[str] = set()
        self._lease_s = schedule.MIN_LEASE_S
        due, every = claim.full_sync_due_at, claim.full_sync_every_s
        self.full = due <= now if due is not None else every is not None

    @property
    def now(self) -> datetime:
        """The instant at which the slice began, plus what has passed since."""
        return self._started + timedelta(seconds=time.monotonic() - self._clock)

    def go(self) -> None:
        """Read and land until the window is over or the slice is."""
        with self.deps.database.begin(self.claim.workspace_id) as tx:
            source = directory.load(tx, self.claim.workspace_id, self.claim.data_source_id)
        reader = open_source(self.deps, source)
        self._lease_s = schedule.lease_s(getattr(source.settings, "request_timeout_s", 0.0))
        self.renew()
        origin = origin_of(source)
        last: Page | None = None
        for page in reader.pages(self.claim.resource_type, self.cursor, full=self.full):
            self._land_page(source, origin, page)
            last = page
            if not page.last and time.monotonic() - self._clock >= self._slice_s:
                self._settle(more=True)
                return
        self._take_deletions(source, origin, reader)
        proved = last is not None and last.whole and self._tracked(last.window)
        if last is not None and proved and last.proves:
            self._close_full_sync(source, origin, reader, last.window)
        self._settle(full_done=proved)

    def renew(self) -> None:
        """Extend the lease; raises when it is lost."""
        with self.deps.database.begin(self.claim.workspace_id) as tx:
            self._hold(tx)

    def _hold(self, tx: Tx) -> None:
        if not store.hold(tx, self.claim, self.now + timedelta(seconds=self._lease_s)):
            raise _FenceLost

    def _move(self, tx: Tx, cursor: dict[str, Any]) -> None:
        if not store.move(tx, self.claim, cursor):
            raise _FenceLost

    def _tracked(self, window: str) -> bool:
        sync = self.cursor.get("sync")
        return isinstance(sync, dict) and sync.get("window") == window and sync.get("tracked") is True

    def _land_page(self, source: DataSource, origin: Origin, page: Page) -> None:
        sync = self.cursor.get("sync")
        if not isinstance(sync, dict) or sync.get("window") != page.window:
            sync = {"window": page.window, "tracked": self.full and page.whole}
        noticed = noting.seen(self.claim.resource_type, page)
        noted = sorted({finding.capability for finding in noticed} | set(self.cursor.get("noted", ())))
        cursor = {**page.cursor, "sync": sync, **({"noted": noted} if noted else {})}
        gone = [record for record in page.records if record.deleted]
        records = [record for record in page.records if not record.deleted] if gone else page.records

        def write(tx: Tx) -> Landed:
            landed = self.deps.intake.land(tx, source.workspace_id, origin, records, now=self.now)
            if gone:
                landed.add(self._take_listed(tx, source, origin, gone, page.window))
            if noted != self.cursor.get("noted", []) or set(page.ignored) - self._told:
                noting.keep(tx, source, noticed, now=self.now)
            landed.quarantined += self._reject(tx, source, page.bad)
            if sync["tracked"]:
                sync_store.forget_seen(tx, self.scope, except_window=page.window)
                sync_store.mark_seen(tx, self.scope, page.window, full_sync.record_ids(source, page.records))
            self._move(tx, cursor)
            return landed

        self._in_fence(write)
        self._told |= set(page.ignored)
        self.cursor = cursor
        self.outcome.pages += 1

    def _in_fence(self, write: Callable[[Tx], Landed]) -> None:
        """Run ``write`` in one transaction that holds the fence; begin again when another writer came first."""
        for attempt in range(_LAND_ATTEMPTS):
            try:
                with self.deps.database.begin(self.claim.workspace_id) as tx:
                    self._hold(tx)
                    landed = write(tx)
            except Conflict:
                if attempt == _LAND_ATTEMPTS - 1:
                    raise
                continue
            self.outcome.landed.add(landed)
            return

    def _reject(self, tx: Tx, source: DataSource, bad: Sequence[BadEntry]) -> int:
        for entry in bad:
            digest = derived_id(source.data_source_id, entry.raw.hex())
            self.deps.quarantine.put(
                tx,
                source.workspace_id,
                stage="poll",
                subject=f"{source.data_source_id}:{self.claim.resource_type}:{digest}",
                code=entry.code,
                message=entry.message,
                place=entry.place,
                data_source_id=source.data_source_id,
                body=entry.raw,
                context={"resource_type": self.claim.resource_type},
                now=self.now,
            )
        return len(bad)

    def _take_deletions(self, source: DataSource, origin: Origin, reader: Source) -> None:
        """Land the deletes that the source tells of, or park them when they are too many."""
        cursor = self.cursor
        deleted: list[SourceRecord] = []
        for page in reader.deletions(self.claim.resource_type, self.cursor):
            self.renew()
            deleted.extend(page.records)
            cursor = page.cursor
        if cursor == self.cursor and not deleted:
            return
        since = str(self.cursor.get("deletes_since") or self.cursor.get("since"))

        def write(tx: Tx) -> Landed:
            wanted, allowed = full_sync.admissible(tx, source, self.claim.resource_type, deleted)
            self._move(tx, cursor)
            return self._bury(tx, source, origin, wanted, allowed, how=f"history:{since}")

        self._in_fence(write)
        self.cursor = cursor

    def _take_listed(
        self, tx: Tx, source: DataSource, origin: Origin, gone: Sequence[SourceRecord], window: str
    ) -> Landed:
        """Land deletes that stand among the records of a page; as many in one run as elsewhere, the rest is parked."""
        wanted, allowed = full_sync.admissible(tx, source, self.claim.resource_type, gone)
        return self._bury(tx, source, origin, wanted, max(0, allowed - self.outcome.deleted), how=f"listed:{window}")

    def _bury(
        self,
        tx: Tx,
        source: DataSource,
        origin: Origin,
        gone: Sequence[SourceRecord],
        allowed: int,
        *,
        how: str,
        ids: Sequence[str] = (),
    ) -> Landed:
        if len(gone) > allowed:
            listed = ids or [record.record_id for record in gone]
            self._park(tx, source, listed, how=how, allowed=allowed, code="too_many_deletes")
            return Landed()
        landed = self.deps.intake.land(tx, source.workspace_id, origin, gone, now=self.now) if gone else Landed()
        self.outcome.deleted += len(gone)
        return landed

    def _park(self, tx: Tx, source: DataSource, ids: Sequence[str], *, how: str, allowed: int, code: str) -> None:
        full_sync.park(
            tx,
            self.deps.quarantine,
            source,
            self.claim.resource_type,
            ids,
            how=how,
            allowed=allowed,
            code=code,
            now=self.now,
        )
        self.outcome.parked += len(ids)

    def _close_full_sync(self, source: DataSource, origin: Origin, reader: Source, window: str) -> None:
        """Prove what the finished window did not hold, and land it."""
        with self.deps.database.begin(source.workspace_id) as tx:
            missing = sync_store.missing(tx, self.scope, window)
            canary = sync_store.canary(tx, self.scope, window) if missing else None
            allowed = full_sync.limit(sync_store.count_live(tx, self.scope)) if missing else 0
        if missing and canary is None:
            with self.deps.database.begin(source.workspace_id) as tx:
                self._hold(tx)
                ids = [record.fhir_id for record in missing]
                self._park(tx, source, ids, how="full_sync", allowed=allowed, code="nothing_listed")
            return
        if canary is None:
            return
        found = full_sync.confirm(
            reader, self.claim.resource_type, missing, canary=canary, allowed=allowed, alive=self.renew
        )
        here = {*found.unusable, *(record.record_id for record in found.found)}
        absent = [record.fhir_id for record in missing if record.fhir_id not in here]

        def write(tx: Tx) -> Landed:
            landed = self._bury(tx, source, origin, found.gone, allowed, how="full_sync", ids=absent)
            if found.found:
                landed.add(
                    self.deps.intake.land(tx, source.workspace_id, origin, found.found, now=self.now, direct=True)
                )
            return landed

        self._in_fence(write)

    def _settle(self, *, more: bool = False, full_done: bool = False) -> None:
        """Give the lease back, healthy."""
        claim, now = self.claim, self.now
        full_due = claim.full_sync_due_at
        if full_done:
            every = claim.full_sync_every_s
            full_due = None if every is None else now + timedelta(seconds=every)
        with self.deps.database.begin(claim.workspace_id) as tx:
            due_at = now if more else schedule.next_due(claim.due_at, claim.cadence_s, now)
            if not store.settle(tx, claim, due_at=due_at, full_sync_due_at=full_due, ok_at=now):
                raise _FenceLost
            if full_done:
                sync_store.forget_seen(tx, self.scope)
            directory.record_ok(tx, claim, now)
        self.outcome.status = "more" if more else "done"

    def fail(self, error: RunnerError) -> None:
        """Note a failure and when to try again; the cursor stays where the last landed page left it."""
        claim, now = self.claim, self.now
        due_at = schedule.retry_due(
            claim.consecutive_errors + 1,
            claim.cadence_s,
            now,
            retry_after_s=error.retry_after_s if isinstance(error, TryAgain) else None,
            random=random.random,
        )
        self.outcome.status, self.outcome.code = "failed", error.code
        with self.deps.database.begin(claim.workspace_id) as tx:
            if isinstance(error, WindowLost):
                kept = {key: value for key, value in self.cursor.items() if key not in ("window", "sync")}
                store.move(tx, claim, kept)
            full_due = claim.full_sync_due_at
            if not store.settle(tx, claim, due_at=due_at, full_sync_due_at=full_due, error_code=error.code):
                self.outcome.status = "lost"
                return
            directory.record_error(tx, claim, error.code, str(error), now)


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
