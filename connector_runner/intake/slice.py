"""One claimed slice of polling: pages, each with its cursor in one transaction, until the window or the time ends."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from connector_runner.connectors import directory, first_read_store, store
from connector_runner.connectors.base import BadEntry, DataSource, Page, Source, SourceRecord, WindowLost
from connector_runner.connectors.gate import PACED
from connector_runner.connectors.probing.findings import Known
from connector_runner.infra.database import Tx
from connector_runner.infra.logging import get_logger
from connector_runner.intake import admission as admitting
from connector_runner.intake import full_sync, noting, schedule, sync_store
from connector_runner.intake.admission import Admission
from connector_runner.intake.apart import land_apart
from connector_runner.intake.bulk import requesting
from connector_runner.intake.burying import Burial
from connector_runner.intake.fence import Fence, FenceLost
from connector_runner.intake.landing import Landed
from connector_runner.intake.opening import Deps, open_source, origin_of
from connector_runner.intake.read_gate import LONGEST_PATIENCE_S, Patience, Turn
from connector_runner.intake.sync_store import Scope
from connector_runner.kernel.errors import Conflict, RateLimited, RunnerError, TryAgain
from connector_runner.kernel.ids import derived_id

log = get_logger(__name__)

Status = Literal["done", "more", "not_due", "put_off", "lost", "failed"]
_ENDED = "ended"
_PACED_SPREAD = 0.5
"""Those who wait for the same turn come back within so much more of the wait."""


@dataclass(slots=True)
class PollOutcome:
    """What one slice of polling did.

    ``not_due``: nothing to do, or somebody else does it. ``more``: the slice ended before the window did.
    ``put_off``: it is not the time to ask, as ``code`` says: outside of the source's hours (``window``), while it is
    left alone (``breaker``), or before it is our turn (``read_paced``). ``lost``: the lease went to another.
    ``failed``: with ``code``, noted in the source's health.
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

    @property
    def well(self) -> bool:
        """Whether nothing speaks against reading the same source again at once."""
        return self.status in ("done", "more", "not_due")

    @property
    def changes(self) -> int:
        """How many records were news."""
        return self.landed.events_created + self.landed.events_updated

    def __bool__(self) -> bool:
        """Whether anything landed that others may want to know of."""
        return self.changes > 0


@dataclass(frozen=True, slots=True)
class _Ended:
    """A window whose pages have all landed; what they do not hold is still to be looked for."""

    window: str = ""
    whole: bool = False
    proves: bool = False

    @classmethod
    def of(cls, cursor: dict[str, Any]) -> _Ended | None:
        """The one whose deletes a poll before could not look for, as it was not its turn."""
        sync = cursor.get("sync")
        if not isinstance(sync, dict) or not isinstance(sync.get(_ENDED), dict):
            return None
        return cls(sync["window"], sync[_ENDED]["whole"], sync[_ENDED]["proves"])


class Slice:
    """Reads and lands until the window is over or the slice is."""

    def __init__(
        self,
        deps: Deps,
        fence: Fence,
        source: DataSource,
        admission: Admission,
        slice_s: float,
        known: Sequence[Known] | None = None,
    ) -> None:
        """``known`` is what is known of the source's capabilities, if that was read already."""
        self.outcome = PollOutcome("done")
        self.cursor: dict[str, Any] = fence.claim.cursor
        self._deps, self._fence, self._source, self._slice_s = deps, fence, source, slice_s
        self._claim = claim = fence.claim
        self._admission, self._known = admission, known
        self._news, self._missed, self._again = not admission.clean, False, False
        self._over_whole: bool | None = None
        self._ended: _Ended | None = None
        self._origin = origin_of(source)
        self._scope = Scope(claim.workspace_id, claim.data_source_id, claim.resource_type)
        self._resource = source.settings.resources.get(claim.resource_type)
        self._full = schedule.reads_all(
            due_at=claim.full_sync_due_at,
            every_s=claim.full_sync_every_s,
            full_every=None if self._resource is None else self._resource.full_every,
            polls_since=claim.polls_since_full,
            fresh=not claim.cursor,
            now=fence.now,
        )

    def go(self) -> None:
        """Raises FenceLost, and what reading the source raises."""
        claim = self._claim
        late_s = (self._fence.now - claim.due_at).total_seconds()
        turn = Turn.BACKFILL if self._full else Turn.FRESH
        patience = Patience()
        waited = late_s / claim.cadence_s
        reader = open_source(self._deps, self._source, turn=turn, waited=waited, patience=patience, known=self._known)
        burial = Burial(self._deps, self._fence, self._source, self._origin, reader, self.outcome.landed)
        try:
            self._ended = _Ended.of(self.cursor) or self._read(reader, burial)
            if self._ended is None:
                self._settle(more=True)
                return
            # What follows has no cursor of its own: given up half-way, all of it would have to be done again.
            patience.longest_s = LONGEST_PATIENCE_S
            landed, self.cursor = self.cursor, burial.told(self._without_end())
            proved = self._ended.whole and self._tracked(self._ended.window)
            if proved and self._ended.proves:
                burial.proved(self._ended.window)
        finally:
            self.outcome.deleted, self.outcome.parked = burial.deleted, burial.parked
        self._settle(full_done=proved, read_all=self._ended.whole, moved=self.cursor != landed)

    def _read(self, reader: Source, burial: Burial) -> _Ended | None:
        """Land pages until the window ends; None when the slice did before."""
        noticing = noting.Noticing(self._deps.database, self._source, self._claim.resource_type)
        last: Page | None = None
        for page in reader.pages(self._claim.resource_type, self.cursor, full=self._full):
            self._land_page(burial.listed(page))
            noticing.look_at(page, self._fence.now)
            last = page
            if not page.last and self._over():
                return None
        return _Ended() if last is None else _Ended(last.window, last.whole, last.proves)

    def _without_end(self) -> dict[str, Any]:
        sync = self.cursor.get("sync")
        if not isinstance(sync, dict) or _ENDED not in sync:
            return self.cursor
        return {**self.cursor, "sync": {key: value for key, value in sync.items() if key != _ENDED}}

    def _over(self) -> bool:
        return self._fence.spent_s >= self._slice_s or not admitting.calendar_of(self._source).is_open(self._fence.now)

    def _tracked(self, window: str) -> bool:
        sync = self.cursor.get("sync")
        return isinstance(sync, dict) and sync.get("window") == window and sync.get("tracked") is True

    # -- landing

    def _land_page(self, page: Page) -> None:
        sync = self.cursor.get("sync")
        if not isinstance(sync, dict) or sync.get("window") != page.window:
            sync = {"window": page.window, "tracked": self._full and page.whole}
        cursor = {**page.cursor, "sync": sync}
        seen = page.window if sync["tracked"] else None

        def land(records: Sequence[SourceRecord], last: bool) -> None:
            self._write(partial(self._put, records, page.bad if last else (), seen, cursor if last else None))

        def set_aside(record: SourceRecord, error: Exception, code: str, last: bool) -> None:
            self._write(
                partial(self._put_aside, record, code, page.bad if last else (), seen, cursor if last else None)
            )

        self._missed = page.missed
        self._over_whole = page.whole or not self._ever_reads_all() if page.last else None
        land_apart(page.records, land, set_aside)
        self.cursor = cursor
        self.outcome.pages += 1

    def _write(self, work: Any) -> None:
        self.outcome.landed.add(self._fence.write(work))
        self._news = False

    def _ever_reads_all(self) -> bool:
        """Whether the settings ever ask for all of the type; where they do not, what a window has is all we get."""
        often = self._resource is not None and self._resource.full_every is not None
        return often or self._claim.full_sync_every_s is not None

    def _put(
        self,
        records: Sequence[SourceRecord],
        bad: Sequence[BadEntry],
        seen: str | None,
        cursor: dict[str, Any] | None,
        tx: Tx,
    ) -> Landed:
        """Land records; with the last of a page all that is true once it has landed."""
        source, now = self._source, self._fence.now
        landed = self._deps.intake.land(tx, source.workspace_id, self._origin, records, now=now)
        landed.quarantined += self._reject(tx, bad)
        if seen is not None:
            sync_store.forget_seen(tx, self._scope, except_window=seen)
            sync_store.mark_seen(tx, self._scope, seen, full_sync.record_ids(source, records))
        if cursor is not None:
            self._fence.move(tx, cursor)
            if self._missed:
                ids = (source.workspace_id, source.data_source_id)
                store.make_due(tx, *ids, now, resource_type=self._claim.resource_type, full=True)
            if self._over_whole is not None:
                # Here, and not where the poll ends: what follows, as looking for deletes, may fail for ever.
                ids, kinds = (source.workspace_id, source.data_source_id), [self._claim.resource_type]
                again = first_read_store.landed(tx, *ids, kinds, whole=self._over_whole)
                # What is written there waits for it.
                self._again = bool(again) and source.settings.sink is not None
        if self._news:
            admitting.worked(tx, source, self._admission, now)
        return landed

    def _put_aside(
        self,
        record: SourceRecord,
        code: str,
        bad: Sequence[BadEntry],
        seen: str | None,
        cursor: dict[str, Any] | None,
        tx: Tx,
    ) -> Landed:
        """In place of a record that makes landing fail: an entry of quarantine, and the record counts as listed."""
        place = f"{record.resource_type}/{record.record_id}"
        entry = BadEntry(place, code, "this record made the poll fail; it was set aside", record.raw)
        landed = self._put((), (entry, *bad), None, cursor, tx)
        if seen is not None:
            sync_store.mark_seen(tx, self._scope, seen, full_sync.record_ids(self._source, [record]))
        return landed

    def _reject(self, tx: Tx, bad: Sequence[BadEntry]) -> int:
        source = self._source
        for entry in bad:
            digest = derived_id(source.data_source_id, entry.raw.hex())
            self._deps.quarantine.put(
                tx,
                source.workspace_id,
                stage="poll",
                subject=f"{source.data_source_id}:{self._claim.resource_type}:{digest}",
                code=entry.code,
                message=entry.message,
                place=entry.place,
                data_source_id=source.data_source_id,
                body=entry.raw,
                context={"resource_type": self._claim.resource_type},
                now=self._fence.now,
            )
        return len(bad)

    # -- ending

    def _settle(
        self, *, more: bool = False, full_done: bool = False, read_all: bool = False, moved: bool = False
    ) -> None:
        """Give the lease back, healthy. ``moved``: the cursor is not in its row yet."""
        claim, now = self._claim, self._fence.now
        full_due = claim.full_sync_due_at
        if full_done:
            every = claim.full_sync_every_s
            full_due = None if every is None else now + timedelta(seconds=every)
        cadence_s, since = claim.cadence_s, claim.polls_since_full
        if not more:
            since = 0 if read_all else since + 1
            if self._resource is not None:
                cadence_s = self._resource.next_cadence_s(cadence_s, self.outcome.changes)
        due_at = now if more or self._again else schedule.next_due(claim.due_at, cadence_s, now)
        with self._deps.database.begin(claim.workspace_id) as tx:
            settled = store.settle(
                tx,
                claim,
                due_at=admitting.closed_from(self._source, now, due_at),
                full_sync_due_at=full_due,
                ok_at=now,
                cadence_s=cadence_s,
                polls_since_full=since,
            )
            if not settled:
                raise FenceLost("another worker polls this record type now")
            if moved:
                self._fence.move(tx, self.cursor)
            if full_done:
                sync_store.forget_seen(tx, self._scope)
            directory.record_ok(tx, claim, now)
        self.outcome.status = "more" if more else "done"

    def hand_over(self) -> None:
        """Leave the record type to a bulk export, which is asked for unless one is under way."""
        claim = self._claim

        def want(tx: Tx) -> str | None:
            return requesting.want(tx, self._source, claim.resource_type, full=self._full, now=self._fence.now)

        asked = self._deps.database.retrying(claim.workspace_id, want) is not None
        self._settle(full_done=self._full and asked, read_all=self._full and asked)

    def fail(self, error: RunnerError) -> None:
        """Note a failure and when to try again; the cursor stays where the last landed page left it."""
        claim, now = self._claim, self._fence.now
        stated_s = error.retry_after_s if isinstance(error, TryAgain) else None
        if self._ended is not None:
            self._keep_end(self._ended if isinstance(error, RateLimited) else None)
        if error.code == PACED:
            put_off(self._deps, self._fence, self.outcome, error.code, stated_s or 0.0)
            return
        due_at = schedule.retry_due(
            claim.consecutive_errors + 1, claim.cadence_s, now, retry_after_s=stated_s, random=random.random
        )
        self.outcome.status, self.outcome.code = "failed", error.code
        with self._deps.database.begin(claim.workspace_id) as tx:
            if isinstance(error, WindowLost):
                kept = {key: value for key, value in self.cursor.items() if key not in ("window", "sync")}
                store.move(tx, claim, kept)
            full_due = claim.full_sync_due_at
            if not store.settle(tx, claim, due_at=due_at, full_sync_due_at=full_due, error_code=error.code):
                self.outcome.status = "lost"
                return
            if isinstance(error, Conflict):
                return  # workers of ours were in each other's way: the source did nothing wrong
            if admitting.speaks_against(error):
                admitting.failed(tx, self._source, self._admission, now)
            elif not self._admission.clean and admitting.answered(error):
                admitting.worked(tx, self._source, self._admission, now)
            directory.record_error(tx, claim, error.code, str(error), now)
        log.warning("poll.failed", code=error.code, resource_type=claim.resource_type, source=claim.data_source_id)

    def _keep_end(self, ended: _Ended | None) -> None:
        """Note that all pages have landed, so that the next poll goes on with what follows; None begins anew."""
        cursor = self._without_end()
        if ended is not None:
            sync = {"window": ended.window, **(cursor.get("sync") or {})}
            cursor = {**cursor, "sync": {**sync, _ENDED: {"whole": ended.whole, "proves": ended.proves}}}
        elif _Ended.of(self._claim.cursor) is None:
            return
        with self._deps.database.begin(self._claim.workspace_id) as tx:
            store.move(tx, self._claim, cursor)


def put_off(deps: Deps, fence: Fence, outcome: PollOutcome, code: str, wait_s: float) -> None:
    """Give the lease back until it is our turn; nothing is known of the source that was not before."""
    claim = fence.claim
    due_at = fence.now + timedelta(seconds=wait_s * (1 + _PACED_SPREAD * random.random()))
    with deps.database.begin(claim.workspace_id) as tx:
        settled = store.settle(tx, claim, due_at=due_at, full_sync_due_at=claim.full_sync_due_at)
    outcome.status, outcome.code = ("put_off", code) if settled else ("lost", None)
