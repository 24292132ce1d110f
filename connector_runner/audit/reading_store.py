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
# What is looked for is found in one of these ways, and in no two of them: each has an index of its own, which a
# condition that is met in either way would not use.
_OF_ENTITY = (
    " AND object = :entity",
    " AND of_entity = :entity AND object <> :entity",
    " AND of_other = :entity AND object <> :entity AND of_entity IS DISTINCT FROM :entity",
    " AND names_many AND (detail->'entities' @> CAST(:quoted AS jsonb) OR detail->'ids' @> CAST(:quoted AS jsonb))"
    " AND object <> :entity AND of_entity IS DISTINCT FROM :entity AND of_other IS DISTINCT FROM :entity",
)
_OF_ACTOR = (" AND actor = :actor", " AND of_who = :actor AND actor <> :actor")


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
    by = f"ORDER BY at {order}, key {order} LIMIT :limit"
    parts = [f"(SELECT * FROM ({part}{where}) e{further} {by})" for part in _parts(asked)]
    return rows(tx, f"SELECT * FROM ({' UNION ALL '.join(parts)}) l {by}", ws=workspace_id, limit=limit, **values)


def count(tx: Tx, workspace_id: str, asked: Asked) -> int:
    """How many entries and notes."""
    where, values = _conditions(asked)
    parts = [f"(SELECT count(*) FROM ({part}{where}) e)" for part in _parts(asked)]
    row = one(tx, f"SELECT {' + '.join(parts)} AS n", ws=workspace_id, **values)
    return int(row["n"]) if row is not None else 0


def _parts(asked: Asked) -> list[str]:
    """Entries and notes, each in every way in which it may be about what is asked for."""
    ways: tuple[str, ...] = ("",)
    if asked.entity is not None:
        ways = _OF_ENTITY
    elif asked.actor is not None:
        ways = _OF_ACTOR
    return [source + way for source in (_ENTRIES, _NOTES) for way in ways]


def _conditions(asked: Asked) -> tuple[str, dict[str, Any]]:
    where, values = "", dict[str, Any]()
    if asked.entity is not None:
        values |= {"entity": asked.entity, "quoted": f'["{asked.entity}"]'}
    if asked.actor is not None:
        values["actor"] = asked.actor
    if asked.actor is not None and asked.entity is not None:
        where += " AND (actor = :actor OR of_who = :actor)"
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
