"""Lands the deletes that an export told of, as the deletes of a poll are landed: with proof, and never too many.

A delete with a time is an explicit one. One without could be older than what is known, so it counts only when a direct
read says gone as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from connector_runner.connectors.base import DataSource, Source, SourceRecord
from connector_runner.infra.database import Tx
from connector_runner.intake import full_sync
from connector_runner.intake.bulk import store
from connector_runner.intake.landing import Origin
from connector_runner.intake.opening import Deps
from connector_runner.kernel.errors import BadRecord, Forbidden

Told = Sequence[tuple[str, datetime | None]]


def land_deletions(
    deps: Deps,
    source: DataSource,
    origin: Origin,
    reader: Source,
    job: store.Job,
    *,
    now: Callable[[], datetime],
    hold: Callable[[Tx], None],
) -> None:
    """Land or park all deletes of a job, a record type a transaction; ``hold`` proves the lease in each.

    Raises what a direct read raises; what was landed by then stays, and the rest is told of still.
    """
    with deps.database.begin(job.workspace_id) as tx:
        told = store.deletions(tx, job.export_id)
    for resource_type, listed in told.items():
        records = [
            SourceRecord(resource_type, record_id, b"", None, last_updated=at, deleted=True) for record_id, at in listed
        ]
        with deps.database.begin(job.workspace_id) as tx:
            wanted, allowed = full_sync.admissible(tx, source, resource_type, records)
        gone, found, hidden = _proved(reader, wanted) if len(wanted) <= allowed else (wanted, [], 0)

        def write(
            tx: Tx,
            resource_type: str = resource_type,
            gone: list[SourceRecord] = gone,
            found: list[SourceRecord] = found,
            allowed: int = allowed,
            hidden: int = hidden,
        ) -> None:
            hold(tx)
            if len(gone) > allowed:
                _park(tx, deps, source, resource_type, gone, allowed, job, now())
            elif gone:
                deps.intake.land(tx, job.workspace_id, origin, gone, now=now())
            if found:
                deps.intake.land(tx, job.workspace_id, origin, found, now=now(), direct=True)
            if hidden:
                problem = {"code": "delete_not_proved", "records": hidden}
                store.note(tx, job.export_id, problem, lacking=False)
            store.forget_deletions(tx, job.export_id, resource_type)

        deps.database.retrying(job.workspace_id, write)


def _proved(reader: Source, wanted: Sequence[SourceRecord]) -> tuple[list[SourceRecord], list[SourceRecord], int]:
    """Those that are gone, those that a direct read found after all, and how many may not be read."""
    gone: list[SourceRecord] = []
    found: list[SourceRecord] = []
    hidden = 0
    for record in wanted:
        if record.last_updated is not None:
            gone.append(record)
            continue
        try:
            answer = reader.read(record.resource_type, record.record_id)
        except BadRecord:
            continue  # it is there, in a form that cannot be used: no delete
        except Forbidden:
            hidden += 1  # what may not be seen is not known to be gone
            continue
        if answer is None or answer.deleted:
            gone.append(answer or record)
        else:
            found.append(answer)
    return gone, found, hidden


def _park(
    tx: Tx,
    deps: Deps,
    source: DataSource,
    resource_type: str,
    gone: Sequence[SourceRecord],
    allowed: int,
    job: store.Job,
    now: datetime,
) -> None:
    full_sync.park(
        tx,
        deps.quarantine,
        source,
        resource_type,
        [record.record_id for record in gone],
        how=f"export:{job.export_id}",
        allowed=allowed,
        code="too_many_deletes",
        now=now,
    )
    store.note(tx, job.export_id, {"code": "too_many_deletes", "records": len(gone)}, lacking=False)
