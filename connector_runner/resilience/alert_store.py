"""SQL of alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from connector_runner.infra.database import Row, Tx, execute, one, rows

_OPEN = (
    "workspace_id = :ws AND data_source_id IS NOT DISTINCT FROM CAST(:source AS uuid) AND kind = :kind"
    " AND subject = :subject AND ended_at IS NULL"
)


def add(
    tx: Tx,
    workspace_id: str,
    data_source_id: str | None,
    *,
    alert_id: str,
    kind: str,
    subject: str,
    code: str,
    detail: str,
    now: datetime,
) -> bool:
    """Insert an alert, unless one of the same kind and subject is open; whether it was inserted."""
    added = execute(
        tx,
        "INSERT INTO alert (workspace_id, alert_id, data_source_id, kind, subject, code, detail, raised_at)"
        " VALUES (:ws, :id, :source, :kind, :subject, :code, :detail, :now)"
        " ON CONFLICT (workspace_id, data_source_id, kind, subject) WHERE ended_at IS NULL DO NOTHING",
        ws=workspace_id,
        id=alert_id,
        source=data_source_id,
        kind=kind,
        subject=subject,
        code=code,
        detail=detail,
        now=now,
    )
    return added == 1


def end(tx: Tx, workspace_id: str, data_source_id: str | None, kind: str, subject: str, now: datetime) -> str | None:
    """End the open alert of a kind and subject; its code, None when none was open."""
    row = one(
        tx,
        f"UPDATE alert SET ended_at = greatest(:now, raised_at) WHERE {_OPEN} RETURNING code",
        ws=workspace_id,
        source=data_source_id,
        kind=kind,
        subject=subject,
        now=now,
    )
    return row["code"] if row else None


def acknowledge(tx: Tx, workspace_id: str, alert_id: str, actor: str, now: datetime) -> bool:
    """Keep that somebody has seen an alert, the first of them; whether that is new."""
    seen = execute(
        tx,
        "UPDATE alert SET acknowledged_at = :now, acknowledged_by = :actor"
        " WHERE workspace_id = :ws AND alert_id = :id AND acknowledged_at IS NULL",
        ws=workspace_id,
        id=alert_id,
        actor=actor,
        now=now,
    )
    return seen == 1


def listing(tx: Tx, workspace_id: str, *, ended: bool, limit: int) -> Sequence[Row]:
    """Alerts with the names of their sources, if any, the latest first; with ``ended`` also those that are over."""
    return rows(
        tx,
        "SELECT a.alert_id, coalesce(d.name, '') AS source, a.kind, a.subject, a.code, a.detail, a.raised_at,"
        " a.ended_at, a.acknowledged_at, a.acknowledged_by"
        " FROM alert a LEFT JOIN data_source d USING (workspace_id, data_source_id) WHERE a.workspace_id = :ws"
        f"{'' if ended else ' AND a.ended_at IS NULL'}"
        " ORDER BY a.raised_at DESC, a.alert_id DESC LIMIT :limit",
        ws=workspace_id,
        limit=limit,
    )
