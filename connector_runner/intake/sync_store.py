"""SQL of full syncs: which records a source was seen to hold, and which of the known ones were missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from connector_runner.infra.database import Tx, execute, one, rows

# The latest version of a record, in the order that deduplication uses.
_ALIVE = (
    "EXISTS (SELECT 1 FROM (SELECT v.deleted FROM record_version v WHERE v.workspace_id = :ws"
    " AND v.record_id = {record} ORDER BY v.era DESC, coalesce(v.order_version, 0) DESC, v.order_at DESC, v.n DESC"
    " LIMIT 1) latest WHERE NOT latest.deleted)"
)
_KNOWN = (
    "SELECT DISTINCT e.record_id, e.fhir_resource_id FROM event e WHERE e.workspace_id = :ws"
    " AND e.data_source_id = :source AND e.fhir_resource_type = :type AND e.record_id IS NOT NULL"
    " AND e.fhir_resource_id IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class LiveRecord:
    """A record of a source that is not known to be deleted."""

    record_id: str
    fhir_id: str


@dataclass(frozen=True, slots=True)
class Scope:
    """One record type of one source."""

    workspace_id: str
    data_source_id: str
    resource_type: str

    @property
    def bound(self) -> dict[str, str]:
        """As the statements here take it."""
        return {"ws": self.workspace_id, "source": self.data_source_id, "type": self.resource_type}


def mark_seen(tx: Tx, scope: Scope, window_id: str, record_ids: Iterable[str]) -> None:
    """Note that a window held these records."""
    execute(
        tx,
        "INSERT INTO full_sync_seen (workspace_id, data_source_id, resource_type, window_id, record_id)"
        " SELECT :ws, :source, :type, :window, unnest(CAST(:ids AS uuid[])) ON CONFLICT DO NOTHING",
        window=window_id,
        ids=sorted(set(record_ids)),
        **scope.bound,
    )


def forget_seen(tx: Tx, scope: Scope, *, except_window: str | None = None) -> None:
    """Drop the notes of windows that are over or were abandoned."""
    execute(
        tx,
        "DELETE FROM full_sync_seen WHERE workspace_id = :ws AND data_source_id = :source AND resource_type = :type"
        " AND window_id IS DISTINCT FROM CAST(:window AS uuid)",
        window=except_window,
        **scope.bound,
    )


def count_live(tx: Tx, scope: Scope) -> int:
    """How many records of a type a source was known to hold when last heard of."""
    row = one(tx, f"SELECT count(*) AS n FROM ({_KNOWN}) k WHERE {_ALIVE.format(record='k.record_id')}", **scope.bound)
    return int(row["n"]) if row else 0


def missing(tx: Tx, scope: Scope, window_id: str) -> list[LiveRecord]:
    """Live records that a window did not hold, in a stable order."""
    found = rows(
        tx,
        f"SELECT * FROM ({_KNOWN}) k WHERE {_ALIVE.format(record='k.record_id')}"
        # Record by record (OFFSET keeps the planner from joining): of a table that is filled and emptied with each full
        # sync Postgres mostly knows that it is empty, and a million records would be held against a million.
        " AND NOT EXISTS (SELECT 1 FROM full_sync_seen s WHERE s.workspace_id = :ws AND s.data_source_id = :source"
        "  AND s.resource_type = :type AND s.window_id = :window AND s.record_id = k.record_id OFFSET 0)"
        " ORDER BY k.fhir_resource_id",
        window=window_id,
        **scope.bound,
    )
    return [LiveRecord(str(row["record_id"]), row["fhir_resource_id"]) for row in found]


def canary(tx: Tx, scope: Scope, window_id: str) -> str | None:
    """The id of a record that the window held and that is known to be alive."""
    row = one(
        tx,
        f"SELECT k.fhir_resource_id FROM ({_KNOWN}) k WHERE {_ALIVE.format(record='k.record_id')}"
        " AND EXISTS (SELECT 1 FROM full_sync_seen s WHERE s.workspace_id = :ws AND s.data_source_id = :source"
        "  AND s.resource_type = :type AND s.window_id = :window AND s.record_id = k.record_id) LIMIT 1",
        window=window_id,
        **scope.bound,
    )
    return row["fhir_resource_id"] if row else None


def alive_among(tx: Tx, scope: Scope, record_ids: Sequence[str]) -> set[str]:
    """Those of ``record_ids`` that are known and not deleted."""
    found = rows(
        tx,
        "SELECT k.record_id FROM unnest(CAST(:ids AS uuid[])) AS k (record_id)"
        f" WHERE {_ALIVE.format(record='k.record_id')}",
        ids=list(record_ids),
        ws=scope.workspace_id,
    )
    return {str(row["record_id"]) for row in found}
