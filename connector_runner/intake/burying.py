"""The deletes of one poll: those that the source tells of, and those that a finished full sync proves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from connector_runner.connectors.base import DataSource, Page, Source, SourceRecord
from connector_runner.connectors.fhir.paging import newest
from connector_runner.infra.database import Tx
from connector_runner.intake import full_sync, sync_store
from connector_runner.intake.fence import Fence
from connector_runner.intake.landing import Landed, Origin
from connector_runner.intake.opening import Deps
from connector_runner.intake.sync_store import Scope


def _digest(records: Sequence[SourceRecord]) -> str:
    """Stands for the ids of records: feeds list some others each time, without an end."""
    names = "\n".join(sorted(record.record_id for record in records))
    return blake2b(names.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(slots=True)
class Burial:
    """Lands deletes, or parks them for a person when they are too many. ``deleted`` and ``parked`` count them."""

    deps: Deps
    fence: Fence
    source: DataSource
    origin: Origin
    reader: Source
    landed: Landed = field(default_factory=Landed)
    deleted: int = 0
    parked: int = 0

    @property
    def _type(self) -> str:
        return self.fence.claim.resource_type

    @property
    def _scope(self) -> Scope:
        return Scope(self.source.workspace_id, self.source.data_source_id, self._type)

    def told(self, before: dict[str, Any]) -> dict[str, Any]:
        """Land the deletes that the source tells of since the cursor ``before``; the cursor after them.

        Where it tells of none, the caller moves the cursor: that may be lost.
        """
        after = before
        deleted: list[SourceRecord] = []
        for page in self.reader.deletions(self._type, before):
            self.fence.renew()
            deleted.extend(page.records)
            after = page.cursor
        if not deleted:
            return after
        since = str(before.get("deletes_since") or before.get("since"))

        def write(tx: Tx) -> Landed:
            wanted, allowed = full_sync.admissible(tx, self.source, self._type, deleted)
            self.fence.move(tx, after)
            return self._bury(tx, wanted, allowed, how=f"history:{since}")

        self.landed.add(self.fence.write(write))
        return after

    def listed(self, page: Page) -> Page:
        """Land the deletes that stand among the records of a page; the page without them."""
        if not any(record.deleted for record in page.records):
            return page
        # A feed may tell of a record twice; what it told first must not land after what it told last.
        latest = newest(page.records)
        gone = [record for record in latest if record.deleted]

        def write(tx: Tx) -> Landed:
            wanted, allowed = full_sync.admissible(tx, self.source, self._type, gone)
            return self._bury(tx, wanted, max(0, allowed - self.deleted), how=f"listed:{_digest(wanted)}")

        self.landed.add(self.fence.write(write))
        return replace(page, records=tuple(record for record in latest if not record.deleted))

    def proved(self, window: str) -> None:
        """Prove what the finished window did not hold, and land it."""
        with self.deps.database.begin(self.source.workspace_id) as tx:
            missing = sync_store.missing(tx, self._scope, window)
            canary = sync_store.canary(tx, self._scope, window) if missing else None
            allowed = full_sync.limit(sync_store.count_live(tx, self._scope)) if missing else 0
        if missing and canary is None:
            with self.deps.database.begin(self.source.workspace_id) as tx:
                self.fence.hold(tx)
                ids = [record.fhir_id for record in missing]
                self._park(tx, ids, how="full_sync", allowed=allowed, code="nothing_listed")
            return
        if canary is None:
            return
        found = full_sync.confirm(
            self.reader, self._type, missing, canary=canary, allowed=allowed, alive=self.fence.renew
        )
        here = {*found.unusable, *(record.record_id for record in found.found)}
        absent = [record.fhir_id for record in missing if record.fhir_id not in here]

        def write(tx: Tx) -> Landed:
            landed = self._bury(tx, found.gone, allowed, how="full_sync", ids=absent)
            if found.found:
                landed.add(self._land(tx, found.found, direct=True))
            return landed

        self.landed.add(self.fence.write(write))

    def _bury(self, tx: Tx, gone: Sequence[SourceRecord], allowed: int, *, how: str, ids: Sequence[str] = ()) -> Landed:
        if len(gone) > allowed:
            listed = ids or [record.record_id for record in gone]
            self._park(tx, listed, how=how, allowed=allowed, code="too_many_deletes")
            return Landed()
        landed = self._land(tx, gone) if gone else Landed()
        self.deleted += len(gone)
        return landed

    def _land(self, tx: Tx, records: Sequence[SourceRecord], *, direct: bool = False) -> Landed:
        workspace_id, now = self.source.workspace_id, self.fence.now
        return self.deps.intake.land(tx, workspace_id, self.origin, records, now=now, direct=direct)

    def _park(self, tx: Tx, ids: Sequence[str], *, how: str, allowed: int, code: str) -> None:
        full_sync.park(
            tx,
            self.deps.quarantine,
            self.source,
            self._type,
            ids,
            how=how,
            allowed=allowed,
            code=code,
            now=self.fence.now,
        )
        self.parked += len(ids)
