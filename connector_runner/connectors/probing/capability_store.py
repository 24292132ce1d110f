"""SQL of what servers were measured to do, and of whose turn it is to be probed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector_runner.connectors.probing.findings import Drift, Finding, Known, drift, merged
from connector_runner.infra.database import Row, Tx, execute, one, rows


def matrix(tx: Tx, workspace_id: str, data_source_id: str) -> list[Known]:
    """All that is known of a source, by record type and capability."""
    found = rows(
        tx,
        "SELECT resource_type, capability, declared, measured, evidence, at, previous, changed_at"
        " FROM measured_capability WHERE workspace_id = :ws AND data_source_id = :source"
        " ORDER BY resource_type, capability",
        ws=workspace_id,
        source=data_source_id,
    )
    return [Known(**{**row, "evidence": tuple(row["evidence"])}) for row in found]


def save(tx: Tx, workspace_id: str, data_source_id: str, findings: Iterable[Finding], *, now: datetime) -> list[Drift]:
    """Keep what was found; what is not what it was. What was found of other capabilities stays."""
    known = {(one.resource_type, one.capability): one for one in matrix(tx, workspace_id, data_source_id)}
    drifts: list[Drift] = []
    for found in findings:
        before = known.get((found.resource_type, found.capability))
        kept = merged(before, found)
        changed = drift(before, kept)
        if changed is not None:
            drifts.append(changed)
        _keep(tx, workspace_id, data_source_id, kept, now, previous=changed.before if changed else None)
    return drifts


def _keep(
    tx: Tx, workspace_id: str, data_source_id: str, found: Finding, now: datetime, *, previous: str | None
) -> None:
    execute(
        tx,
        "INSERT INTO measured_capability AS m (workspace_id, data_source_id, resource_type, capability, declared,"
        " measured, evidence, at) VALUES (:ws, :source, :type, :capability, :declared, :measured,"
        " CAST(:evidence AS text[]), :now) ON CONFLICT (workspace_id, data_source_id, resource_type, capability)"
        " DO UPDATE SET declared = coalesce(excluded.declared, m.declared),"
        " measured = coalesce(excluded.measured, m.measured), evidence = excluded.evidence, at = excluded.at,"
        " previous = coalesce(CAST(:previous AS text), m.previous),"
        " changed_at = CASE WHEN CAST(:previous AS text) IS NULL THEN m.changed_at ELSE excluded.at END",
        ws=workspace_id,
        source=data_source_id,
        type=found.resource_type,
        capability=found.capability,
        declared=found.declared,
        measured=found.measured,
        evidence=list(found.evidence),
        previous=previous,
        now=now,
    )


def forget(tx: Tx, workspace_id: str, data_source_id: str) -> None:
    """Forget all that was measured, and probe at once: the address changed."""
    execute(
        tx,
        "DELETE FROM measured_capability WHERE workspace_id = :ws AND data_source_id = :source",
        ws=workspace_id,
        source=data_source_id,
    )
    execute(
        tx,
        "UPDATE probe_turn SET due_at = clock_timestamp() WHERE workspace_id = :ws AND data_source_id = :source",
        ws=workspace_id,
        source=data_source_id,
    )


@dataclass(frozen=True, slots=True)
class Turn:
    """A claimed turn; ``fence`` proves the claim."""

    fence: int


def know_sources(tx: Tx) -> Sequence[Row]:
    """In a sweep: enabled sources that have no turn yet."""
    return rows(
        tx,
        "SELECT d.workspace_id, d.data_source_id FROM data_source d JOIN workspace w USING (workspace_id)"
        " WHERE w.status = 'active' AND d.enabled AND EXISTS (SELECT 1 FROM source_resource r"
        "  WHERE r.workspace_id = d.workspace_id AND r.data_source_id = d.data_source_id AND r.enabled)"
        " AND NOT EXISTS (SELECT 1 FROM probe_turn t"
        " WHERE t.workspace_id = d.workspace_id AND t.data_source_id = d.data_source_id) ORDER BY 1, 2",
    )


def add_turn(tx: Tx, workspace_id: str, data_source_id: str) -> None:
    """A turn for a source that has none: due now."""
    execute(
        tx,
        "INSERT INTO probe_turn (workspace_id, data_source_id) SELECT workspace_id, data_source_id FROM data_source"
        " WHERE workspace_id = :ws AND data_source_id = :source ON CONFLICT DO NOTHING",
        ws=workspace_id,
        source=data_source_id,
    )


def due(tx: Tx, limit: int) -> Sequence[Row]:
    """In a sweep: sources whose turn it is and that nobody probes, the longest due first."""
    return rows(
        tx,
        "SELECT t.workspace_id, t.data_source_id FROM probe_turn t JOIN workspace w USING (workspace_id)"
        " JOIN data_source d USING (workspace_id, data_source_id) WHERE w.status = 'active' AND d.enabled"
        " AND t.due_at <= clock_timestamp() AND (t.lease_until IS NULL OR t.lease_until <= clock_timestamp())"
        " ORDER BY t.due_at LIMIT :limit",
        limit=limit,
    )


def claim(tx: Tx, workspace_id: str, data_source_id: str, owner: str, lease_s: float) -> Turn | None:
    """Take a turn that is due; None when it is not, or somebody has it."""
    row = one(
        tx,
        "UPDATE probe_turn SET lease_owner = :owner, fence = fence + 1,"
        " lease_until = clock_timestamp() + :lease * interval '1 second'"
        " WHERE workspace_id = :ws AND data_source_id = :source AND due_at <= clock_timestamp()"
        " AND (lease_until IS NULL OR lease_until <= clock_timestamp()) RETURNING fence",
        ws=workspace_id,
        source=data_source_id,
        owner=owner,
        lease=lease_s,
    )
    return None if row is None else Turn(row["fence"])


def settle(
    tx: Tx, workspace_id: str, data_source_id: str, turn: Turn, *, wait_s: float, error_code: str | None
) -> bool:
    """Give a turn back and say when the next is; False when the claim is no longer ours."""
    found = execute(
        tx,
        "UPDATE probe_turn SET lease_owner = NULL, lease_until = NULL,"
        " due_at = clock_timestamp() + :wait * interval '1 second', last_error_code = :code,"
        " last_ok_at = CASE WHEN CAST(:code AS text) IS NULL THEN clock_timestamp() ELSE last_ok_at END"
        " WHERE workspace_id = :ws AND data_source_id = :source AND fence = :fence",
        ws=workspace_id,
        source=data_source_id,
        fence=turn.fence,
        wait=wait_s,
        code=error_code,
    )
    return found == 1


def put_off(tx: Tx, workspace_id: str, data_source_id: str, wait_s: float) -> None:
    """A person has probed a source just now: its next turn is after ``wait_s`` seconds."""
    execute(
        tx,
        "INSERT INTO probe_turn AS t (workspace_id, data_source_id, due_at, last_ok_at)"
        " SELECT workspace_id, data_source_id, clock_timestamp() + :wait * interval '1 second', clock_timestamp()"
        " FROM data_source WHERE workspace_id = :ws AND data_source_id = :source"
        " ON CONFLICT (workspace_id, data_source_id) DO UPDATE SET due_at = excluded.due_at,"
        " last_ok_at = excluded.last_ok_at, last_error_code = NULL",
        ws=workspace_id,
        source=data_source_id,
        wait=wait_s,
    )
