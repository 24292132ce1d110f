"""SQL of rosters: which patients a source is known to have."""

from __future__ import annotations

from connector_runner.infra.database import Tx, rows
from connector_runner.kernel.ids import canonical_id, parse_canonical_id

_PATIENT = "Patient"
_LAST = "\U0010ffff"


def patients(tx: Tx, workspace_id: str, source_name: str, after: str | None, limit: int) -> list[str]:
    """Ids in the source of its patients that are alive, those that we made there included, behind ``after``.

    Their order is that of the percent-encoded ids, byte by byte.
    """
    prefix = canonical_id(source_name, _PATIENT, "")
    found = rows(
        tx,
        'SELECT key FROM ((SELECT canonical_id COLLATE "C" AS key FROM entity WHERE workspace_id = :ws'
        " AND entity_type = 'patient' AND status = 'active'"
        ' AND canonical_id COLLATE "C" > :after AND canonical_id COLLATE "C" < :last'
        ' ORDER BY canonical_id COLLATE "C" LIMIT :limit)'
        ' UNION (SELECT a.record_key COLLATE "C" FROM adopted_record a JOIN entity e USING (workspace_id, entity_id)'
        " WHERE a.workspace_id = :ws AND e.status = 'active'"
        ' AND a.record_key COLLATE "C" > :after AND a.record_key COLLATE "C" < :last'
        ' ORDER BY a.record_key COLLATE "C" LIMIT :limit)) known ORDER BY key LIMIT :limit',
        ws=workspace_id,
        after=prefix if after is None else canonical_id(source_name, _PATIENT, after),
        last=prefix + _LAST,
        limit=limit,
    )
    return [parse_canonical_id(row["key"])[2] for row in found]
