"""SQL of data sources and of the record types that are polled from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from connector_runner.infra.database import Row, Tx, execute, later, one, rows
from connector_runner.kernel import exact_json

SOURCE_COLUMNS = (
    "workspace_id, data_source_id, name, source_type, settings, enabled, health_status, health_code, health_detail,"
    " health_since, consecutive_errors, last_poll_at, last_ok_at, event_count, sink_enabled, sink_paused_reason"
)


_EXPORT_UNDER_WAY = "workspace_id = :ws AND data_source_id = :source AND state NOT IN ('completed', 'failed')"
_LEASE = (
    "UPDATE source_resource SET lease_until = :until WHERE workspace_id = :ws AND data_source_id = :source"
    " AND resource_type = :type AND fence = :fence"
)

UNHEALTHY_AFTER = 3
"""Failed polls in a row, where settings do not say."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A record type that this process may poll until ``lease_until``; ``fence`` proves it to the database."""

    workspace_id: str
    data_source_id: str
    resource_type: str
    owner: str
    fence: int
    cursor: dict[str, Any]
    due_at: datetime
    cadence_s: float
    full_sync_every_s: float | None
    full_sync_due_at: datetime | None
    consecutive_errors: int
    polls_since_full: int
    lease_until: datetime


def source(tx: Tx, workspace_id: str, name_or_id: str, *, lock: bool = False) -> Row | None:
    """The row of one data source, by its name or its id."""
    return one(
        tx,
        f"SELECT {SOURCE_COLUMNS} FROM data_source WHERE workspace_id = :ws"
        f" AND (name = :key OR data_source_id::text = :key){' FOR UPDATE' if lock else ''}",
        ws=workspace_id,
        key=name_or_id,
    )


def sources(tx: Tx, workspace_id: str) -> Sequence[Row]:
    """The rows of all data sources of a workspace, by name."""
    return rows(tx, f"SELECT {SOURCE_COLUMNS} FROM data_source WHERE workspace_id = :ws ORDER BY name", ws=workspace_id)


def save_source(
    tx: Tx,
    workspace_id: str,
    data_source_id: str,
    *,
    name: str,
    source_type: str,
    settings: dict[str, Any],
    enabled: bool,
    sink_enabled: bool,
) -> None:
    """Insert a data source or bring it to these settings; what is not enabled shows so in its health."""
    tx.execute(
        text(
            "INSERT INTO data_source AS d (workspace_id, data_source_id, name, source_type, settings, enabled,"
            " sink_enabled, health_status) VALUES (:ws, :id, :name, :type, :settings, :enabled, :sink,"
            " CASE WHEN :enabled THEN 'unknown' ELSE 'disabled' END)"
            " ON CONFLICT (workspace_id, data_source_id) DO UPDATE SET source_type = excluded.source_type,"
            " settings = excluded.settings, enabled = excluded.enabled, sink_enabled = excluded.sink_enabled,"
            # What was waited for may have been mended, but a pause without an end stays.
            " sink_next_wake_at = CASE WHEN d.sink_next_wake_at IS NOT NULL THEN clock_timestamp() END,"
            " health_status = CASE WHEN NOT excluded.enabled THEN 'disabled'"
            " WHEN d.health_status = 'disabled' THEN 'unknown' ELSE d.health_status END"
        ).bindparams(bindparam("settings", type_=JSONB)),
        {
            "ws": workspace_id,
            "id": data_source_id,
            "name": name,
            "type": source_type,
            "settings": settings,
            "enabled": enabled,
            "sink": sink_enabled,
        },
    )


def save_resource(
    tx: Tx,
    workspace_id: str,
    data_source_id: str,
    resource_type: str,
    *,
    enabled: bool,
    cadences_s: tuple[float, float],
    full_sync_every_s: float | None,
    now: datetime,
) -> None:
    """Insert a polled record type, due at once, or bring it to these settings and make it due no later.

    ``cadences_s`` are the shortest and the longest: it begins with the shortest, and a known one is kept within.
    """
    execute(
        tx,
        "INSERT INTO source_resource AS r (workspace_id, data_source_id, resource_type, enabled, cadence_s,"
        " full_sync_every_s, due_at) VALUES (:ws, :source, :type, :enabled, :shortest, :full, :now)"
        " ON CONFLICT (workspace_id, data_source_id, resource_type) DO UPDATE SET enabled = excluded.enabled,"
        " cadence_s = least(greatest(r.cadence_s, :shortest), :longest),"
        " full_sync_every_s = excluded.full_sync_every_s,"
        " due_at = least(r.due_at, excluded.due_at)",
        ws=workspace_id,
        source=data_source_id,
        type=resource_type,
        enabled=enabled,
        shortest=cadences_s[0],
        longest=cadences_s[1],
        full=full_sync_every_s,
        now=now,
    )


def drop_resources_except(tx: Tx, workspace_id: str, data_source_id: str, keep: Sequence[str]) -> int:
    """Stop polling the record types that the settings no longer name; their cursors stay."""
    return execute(
        tx,
        "UPDATE source_resource SET enabled = false WHERE workspace_id = :ws AND data_source_id = :source"
        " AND enabled AND NOT resource_type = ANY(:keep)",
        ws=workspace_id,
        source=data_source_id,
        keep=list(keep),
    )


def forget_cursors(tx: Tx, workspace_id: str, data_source_id: str) -> None:
    """Begin every record type anew and void the leases of polls and exports under way: the address changed."""
    execute(
        tx,
        "UPDATE source_resource SET cursor = '{}', full_sync_due_at = NULL, fence = fence + 1, lease_until = NULL,"
        " lease_owner = NULL WHERE workspace_id = :ws AND data_source_id = :source",
        ws=workspace_id,
        source=data_source_id,
    )


def forget_exports(tx: Tx, workspace_id: str, data_source_id: str) -> None:
    """Let nothing count that was exported from another address, and end the export of it that is under way."""
    for statement in (
        "DELETE FROM export_mark WHERE workspace_id = :ws AND data_source_id = :source",
        "DELETE FROM export_member WHERE workspace_id = :ws AND data_source_id = :source",
        "UPDATE import_job SET options = options - 'open' WHERE workspace_id = :ws AND import_id IN"
        f" (SELECT import_id FROM export_job WHERE {_EXPORT_UNDER_WAY})",
        "UPDATE export_job SET state = 'failed', error_code = 'address_changed', finished_at = now(),"
        f" fence = fence + 1, lease_until = NULL, lease_owner = NULL WHERE {_EXPORT_UNDER_WAY}",
    ):
        execute(tx, statement, ws=workspace_id, source=data_source_id)


def resources(tx: Tx, workspace_id: str, data_source_id: str) -> Sequence[Row]:
    """The polled record types of a source, those that were dropped included."""
    return rows(
        tx,
        "SELECT resource_type, enabled, cadence_s, full_sync_every_s, due_at, full_sync_due_at, polls_since_full,"
        " lease_until, consecutive_errors, last_ok_at, last_error_code, read_whole_at, compared_whole_at"
        " FROM source_resource WHERE workspace_id = :ws AND data_source_id = :source ORDER BY resource_type",
        ws=workspace_id,
        source=data_source_id,
    )


def make_due(
    tx: Tx, workspace_id: str, data_source_id: str, now: datetime, *, resource_type: str | None, full: bool
) -> int:
    """Make the enabled record types of a source due now, with a full sync if ``full``; how many there are.

    One that is being polled is due again when that poll ends, which may have read past what is asked about.
    """
    return execute(
        tx,
        "UPDATE source_resource SET due_at = CASE WHEN lease_until > :now THEN greatest(due_at, :now)"
        " ELSE least(due_at, :now) END,"
        " full_sync_due_at = CASE WHEN :full THEN :now ELSE full_sync_due_at END"
        " WHERE workspace_id = :ws AND data_source_id = :source AND enabled"
        " AND (CAST(:type AS text) IS NULL OR resource_type = :type)",
        ws=workspace_id,
        source=data_source_id,
        now=now,
        full=full,
        type=resource_type,
    )


def claim(
    tx: Tx,
    workspace_id: str,
    data_source_id: str,
    resource_type: str,
    *,
    owner: str,
    now: datetime,
    lease_until: datetime,
    tolerance: float,
) -> Claim | None:
    """Take the lease of a record type that is due; None when it is not due, off, or somebody else's.

    ``tolerance`` is the part of its cadence by which a hint may come early (two seconds at most).
    """
    row = one(
        tx,
        "UPDATE source_resource r SET fence = r.fence + 1, lease_owner = :owner, lease_until = :until"
        " FROM (SELECT s.workspace_id, s.data_source_id, s.resource_type FROM source_resource s"
        "  WHERE s.workspace_id = :ws AND s.data_source_id = :source AND s.resource_type = :type AND s.enabled"
        "  AND s.due_at <= :now + least(s.cadence_s * :tolerance, 2) * interval '1 second'"
        "  AND (s.lease_until IS NULL OR s.lease_until <= :now)"
        "  AND EXISTS (SELECT 1 FROM data_source d JOIN workspace w USING (workspace_id)"
        "   WHERE d.workspace_id = s.workspace_id AND d.data_source_id = s.data_source_id AND d.enabled"
        "   AND w.status = 'active')"
        "  FOR UPDATE OF s SKIP LOCKED) c"
        " WHERE r.workspace_id = c.workspace_id AND r.data_source_id = c.data_source_id"
        " AND r.resource_type = c.resource_type"
        " RETURNING r.fence, r.cursor, r.due_at, r.cadence_s, r.full_sync_every_s, r.full_sync_due_at,"
        " r.consecutive_errors, r.polls_since_full",
        ws=workspace_id,
        source=data_source_id,
        type=resource_type,
        owner=owner,
        now=now,
        until=lease_until,
        tolerance=tolerance,
    )
    if row is None:
        return None
    return Claim(workspace_id, data_source_id, resource_type, owner, lease_until=lease_until, **row)


def hold(tx: Tx, claim: Claim, lease_until: datetime) -> bool:
    """Lock the claimed row and renew its lease; False when the fence is no longer ours."""
    return execute(tx, _LEASE, until=lease_until, **_key(claim)) == 1


def move(tx: Tx, claim: Claim, cursor: dict[str, Any]) -> bool:
    """Move the cursor; False when the fence is no longer ours."""
    statement = (
        "UPDATE source_resource SET cursor = CAST(:cursor AS jsonb) WHERE workspace_id = :ws"
        " AND data_source_id = :source AND resource_type = :type AND fence = :fence"
    )
    return execute(tx, statement, cursor=exact_json.dumps(cursor), **_key(claim)) == 1


def lengthen(tx: Tx, claim: Claim, lease_until: datetime) -> None:
    """Set the lease of what was claimed in this same transaction: nobody else can have it yet."""
    later(tx, _LEASE, until=lease_until, **_key(claim))


def settle(
    tx: Tx,
    claim: Claim,
    *,
    due_at: datetime,
    full_sync_due_at: datetime | None,
    ok_at: datetime | None = None,
    error_code: str | None = None,
    cadence_s: float | None = None,
    polls_since_full: int | None = None,
    put_off: bool = False,
) -> bool:
    """Give the lease back and say when to look again; with an error, count it; with ``ok_at``, forget them.

    With neither, nothing is known that was not before; ``put_off``: it waits for the source. What was asked for since
    the claim (``make_due``) stands. False when the fence is no longer ours.
    """
    found = execute(
        tx,
        "UPDATE source_resource SET lease_until = NULL, lease_owner = NULL,"
        " due_at = CASE WHEN due_at = :claimed_due THEN :due ELSE least(due_at, :due) END,"
        " full_sync_due_at = CASE WHEN full_sync_due_at IS NOT DISTINCT FROM CAST(:claimed_full AS timestamptz)"
        "  THEN :full ELSE full_sync_due_at END, last_ok_at = coalesce(:ok, last_ok_at),"
        " consecutive_errors = CASE WHEN CAST(:code AS text) IS NOT NULL THEN consecutive_errors + 1"
        "  WHEN CAST(:ok AS timestamptz) IS NOT NULL THEN 0 ELSE consecutive_errors END,"
        " last_error_code = CASE WHEN CAST(:ok AS timestamptz) IS NOT NULL THEN NULL"
        "  ELSE coalesce(:code, last_error_code) END,"
        " cadence_s = coalesce(:cadence, cadence_s), polls_since_full = coalesce(:since_full, polls_since_full),"
        " put_off = :put_off"
        " WHERE workspace_id = :ws AND data_source_id = :source AND resource_type = :type AND fence = :fence",
        due=due_at,
        claimed_due=claim.due_at,
        full=full_sync_due_at,
        claimed_full=claim.full_sync_due_at,
        ok=ok_at,
        code=error_code,
        cadence=cadence_s,
        since_full=polls_since_full,
        put_off=put_off,
        **_key(claim),
    )
    return found == 1


def _key(claim: Claim) -> dict[str, Any]:
    return {
        "ws": claim.workspace_id,
        "source": claim.data_source_id,
        "type": claim.resource_type,
        "fence": claim.fence,
    }


def set_health(
    tx: Tx,
    workspace_id: str,
    data_source_id: str,
    *,
    status: str,
    code: str | None,
    detail: str | None,
    errors: int,
    now: datetime,
    ok: bool,
) -> None:
    """Write a source's health; ``health_since`` moves only when the status does. A disabled source stays so."""
    execute(
        tx,
        "UPDATE data_source SET health_since = CASE WHEN health_status = :status THEN coalesce(health_since, :now)"
        "  ELSE :now END, health_status = CASE WHEN enabled THEN :status ELSE 'disabled' END, health_code = :code,"
        " health_detail = :detail, consecutive_errors = :errors, last_poll_at = :now,"
        " last_ok_at = CASE WHEN :ok THEN :now ELSE last_ok_at END"
        " WHERE workspace_id = :ws AND data_source_id = :source",
        ws=workspace_id,
        source=data_source_id,
        status=status,
        code=code,
        detail=detail,
        errors=errors,
        now=now,
        ok=ok,
    )


def health(tx: Tx, workspace_id: str, data_source_id: str, *, lock: bool = False) -> Row | None:
    """The health of a source, when it counts as unhealthy, and which enabled record type failed most often in a row.

    ``worst_errors`` is 0 where none failed. ``alerted``: an operator was told that it is not well. The lock lets
    those go on who write rows that refer to the source: of them each would wait for the next.
    """
    return one(
        tx,
        "SELECT d.health_status, d.health_code, d.consecutive_errors, d.last_poll_at,"
        " coalesce((d.settings->>'unhealthy_after')::integer, :usual) AS unhealthy_after,"
        " EXISTS (SELECT 1 FROM alert a WHERE a.workspace_id = d.workspace_id AND a.data_source_id = d.data_source_id"
        "  AND a.kind = 'health' AND a.ended_at IS NULL) AS alerted,"
        " w.resource_type AS worst, w.last_error_code AS worst_code, coalesce(w.consecutive_errors, 0) AS worst_errors"
        " FROM data_source d LEFT JOIN LATERAL (SELECT resource_type, consecutive_errors, last_error_code"
        "  FROM source_resource r WHERE r.workspace_id = d.workspace_id AND r.data_source_id = d.data_source_id"
        "  AND r.enabled AND r.consecutive_errors > 0 ORDER BY r.consecutive_errors DESC, r.resource_type LIMIT 1) w"
        " ON true WHERE d.workspace_id = :ws AND d.data_source_id = :source"
        f"{' FOR NO KEY UPDATE OF d' if lock else ''}",
        ws=workspace_id,
        source=data_source_id,
        usual=UNHEALTHY_AFTER,
    )


def due(tx: Tx, now: datetime, limit: int) -> Sequence[Row]:
    """Over all workspaces: enabled record types that are due and that nobody holds, longest overdue first."""
    return rows(
        tx,
        "SELECT r.workspace_id, r.data_source_id, r.resource_type FROM source_resource r"
        " JOIN data_source d USING (workspace_id, data_source_id) JOIN workspace w USING (workspace_id)"
        " WHERE r.enabled AND d.enabled AND w.status = 'active' AND r.due_at <= :now"
        " AND (r.lease_until IS NULL OR r.lease_until <= :now) ORDER BY r.due_at LIMIT :limit",
        now=now,
        limit=limit,
    )


def scheduled(tx: Tx) -> Sequence[Row]:
    """Over all workspaces: every enabled record type of an enabled source, with its cadence and when it is due."""
    return rows(
        tx,
        "SELECT r.workspace_id, w.slug AS workspace, r.data_source_id, d.name AS source, r.resource_type, r.cadence_s,"
        " r.due_at"
        " FROM source_resource r JOIN data_source d USING (workspace_id, data_source_id)"
        " JOIN workspace w USING (workspace_id) WHERE r.enabled AND d.enabled AND w.status = 'active'"
        " ORDER BY w.slug, d.name, r.resource_type",
    )
