"""The SQL of reading the log back."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from connector_runner.infra.database import Row, Tx, one, rows

if TYPE_CHECKING:
    from connector_runner.audit.reading import Asked

# An entry of the chain and a note side by side; the number is padded so that keys of entries sort as numbers do.
_ENTRIES = (
    "SELECT 'entry-' || lpad(CAST(n AS text), 18, '0') AS key, n, false AS noted, at, actor, action, object, detail,"
    " hash FROM audit_log WHERE workspace_id = :ws"
)
_NOTES = (
    "SELECT CAST(read_id AS text) AS key, sealed_by AS n, true AS noted, at, actor, action, object, detail,"
    " CAST(NULL AS bytea) AS hash FROM audit_read WHERE workspace_id = :ws"
)
_ABOUT = (
    "(object = :entity OR detail->>'entity_id' = :entity OR detail->>'other' = :entity"
    " OR detail->'entities' @> CAST(:quoted AS jsonb) OR detail->'ids' @> CAST(:quoted AS jsonb))"
)


def page(
    tx: Tx, workspace_id: str, asked: Asked, *, limit: int, place: tuple[datetime, str] | None, rising: bool
) -> list[Row]:
    """A page of the log from ``place`` on, by time and key."""
    where, values = _conditions(asked)
    if not rising and asked.action is None:
        where += " AND action <> 'reads.sealed'"
    further, order = ("", "DESC" if not rising else "ASC")
    if place is not None:
        further = f" WHERE (at, key) {'>' if rising else '<'} (:at, :key)"
        where += f" AND at {'>=' if rising else '<='} :at"
        values |= {"at": place[0], "key": place[1]}
    return rows(
        tx,
        "SELECT * FROM ("
        f"(SELECT * FROM ({_ENTRIES}{where}) e{further} ORDER BY at {order}, key {order} LIMIT :limit) UNION ALL"
        f" (SELECT * FROM ({_NOTES}{where}) r{further} ORDER BY at {order}, key {order} LIMIT :limit)"
        f") l ORDER BY at {order}, key {order} LIMIT :limit",
        ws=workspace_id,
        limit=limit,
        **values,
    )


def count(tx: Tx, workspace_id: str, asked: Asked) -> int:
    """How many entries and notes."""
    where, values = _conditions(asked)
    sql = f"SELECT (SELECT count(*) FROM ({_ENTRIES}{where}) e) + (SELECT count(*) FROM ({_NOTES}{where}) r) AS n"
    row = one(tx, sql, ws=workspace_id, **values)
    return int(row["n"]) if row is not None else 0


def _conditions(asked: Asked) -> tuple[str, dict[str, Any]]:
    where, values = "", dict[str, Any]()
    if asked.entity is not None:
        where += f" AND {_ABOUT}"
        values |= {"entity": asked.entity, "quoted": f'["{asked.entity}"]'}
    if asked.actor is not None:
        where += " AND (actor = :actor OR detail->'by'->>'who' = :actor)"
        values["actor"] = asked.actor
    if asked.action is not None:
        # A whole family by what it begins with: ``verdict.``.
        where += " AND starts_with(action, :action)" if asked.action.endswith(".") else " AND action = :action"
        values["action"] = asked.action
    if asked.since is not None:
        where += " AND at >= :since"
        values["since"] = asked.since
    if asked.until is not None:
        where += " AND at < :until"
        values["until"] = asked.until
    return where, values
