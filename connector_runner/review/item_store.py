"""SQL of questions to people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from connector_runner.infra.database import Row, Tx, execute, id_array, later, one, rows
from connector_runner.kernel import exact_json
from connector_runner.kernel.ids import new_ids
from connector_runner.review.reasons import SAMPLE

_OPEN: Final = "status IN ('pending', 'in_progress')"
_SAME: Final = (
    "workspace_id = :ws AND kind = :kind AND entity_id = :entity AND other_id IS NOT DISTINCT FROM CAST(:other AS uuid)"
)

About = tuple[str, str, str | None]
"""The kind of an item, its entity, and the other one of a pair."""


def open_of(tx: Tx, workspace_id: str, kind: str, entity_id: str, other_id: str | None = None) -> Row | None:
    """The open item of an entity or of a pair, locked."""
    return one(
        tx,
        f"SELECT * FROM review_item WHERE {_SAME} AND {_OPEN} FOR UPDATE",
        ws=workspace_id,
        kind=kind,
        entity=entity_id,
        other=other_id,
    )


def open_of_all(tx: Tx, workspace_id: str, kind: str, entity_ids: Sequence[str]) -> dict[str, Row]:
    """The open items of several entities, locked, by entity."""
    found = rows(
        tx,
        f"SELECT * FROM review_item WHERE workspace_id = :ws AND kind = :kind AND {_OPEN}"
        " AND entity_id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE",
        ws=workspace_id,
        kind=kind,
        ids=id_array(sorted(set(entity_ids))),
    )
    return {row["entity_id"]: row for row in found}


def open_about(tx: Tx, workspace_id: str, wanted: Sequence[About]) -> dict[About, Row]:
    """The open items among those about ``wanted``, locked in the order of their entities."""
    ordered = sorted(wanted, key=str)
    found = rows(
        tx,
        # One by one: as open items are few of all, the planner would look through them for every question.
        "SELECT i.* FROM unnest(CAST(:kinds AS text[]), CAST(:ids AS uuid[]), CAST(:others AS uuid[]))"
        " AS w (kind, entity_id, other_id) CROSS JOIN LATERAL (SELECT * FROM review_item WHERE workspace_id = :ws"
        f"  AND kind = w.kind AND entity_id = w.entity_id AND other_id IS NOT DISTINCT FROM w.other_id AND {_OPEN}"
        "  FOR UPDATE) i",
        ws=workspace_id,
        kinds=[kind for kind, _, _ in ordered],
        ids=[entity for _, entity, _ in ordered],
        others=[other for _, _, other in ordered],
    )
    return {(row["kind"], row["entity_id"], row["other_id"]): row for row in found}


def insert(tx: Tx, workspace_id: str, new: Sequence[Mapping[str, Any]], now: datetime) -> Iterator[str]:
    """Insert items; their ids."""
    ids = new_ids()
    records = [{**each, "id": next(ids)} for each in new]
    if records:
        execute(
            tx,
            "INSERT INTO review_item (workspace_id, id, kind, entity_id, other_id, entity_type, session_id, event_ids,"
            " asked, reason, category, priority, analysis, created_at, changed_at)"
            " SELECT :ws, id, kind, entity_id, other_id, entity_type, session_id,"
            "  ARRAY(SELECT CAST(event AS uuid) FROM jsonb_object_keys(asked) AS event ORDER BY 1), asked, reason,"
            "  category, priority, analysis, :now, :now FROM jsonb_to_recordset(CAST(:new AS jsonb)) AS q (id uuid,"
            "  kind text, entity_id uuid, other_id uuid, entity_type text, session_id text, asked jsonb, reason text,"
            "  category text, priority integer, analysis jsonb) ORDER BY entity_id, other_id",
            ws=workspace_id,
            new=exact_json.dumps(records),
            now=now,
        )
    return iter([record["id"] for record in records])


def join(tx: Tx, workspace_id: str, item_id: str, more: Mapping[str, Any], now: datetime) -> None:
    """Let an open item ask ``more``, all of what it asks and why: whose questions changed is a further version."""
    later(
        tx,
        "UPDATE review_item SET event_ids = CAST(:events AS uuid[]), asked = CAST(:asked AS jsonb),"
        " analysis = CAST(:analysis AS jsonb), priority = :priority, reason = :reason, category = :category,"
        " session_id = :session, changed_at = :now,"
        " version = version + CASE WHEN asked <> CAST(:asked AS jsonb) THEN 1 ELSE 0 END"
        " WHERE workspace_id = :ws AND id = :id",
        ws=workspace_id,
        id=item_id,
        events=id_array(sorted(more["asked"])),
        asked=exact_json.dumps(more["asked"]),
        analysis=None if more["analysis"] is None else exact_json.dumps(more["analysis"]),
        priority=more["priority"],
        reason=more["reason"],
        category=more["category"],
        session=more["session_id"],
        now=now,
    )


def replace_asked(tx: Tx, workspace_id: str, item_id: str, asked: Mapping[str, Sequence[str]], now: datetime) -> None:
    """Let an item ask about less than it did."""
    execute(
        tx,
        "UPDATE review_item SET event_ids = CAST(:events AS uuid[]), asked = CAST(:asked AS jsonb),"
        " changed_at = :now, version = version + 1 WHERE workspace_id = :ws AND id = :id",
        ws=workspace_id,
        id=item_id,
        events=id_array(sorted(asked)),
        asked=exact_json.dumps(asked),
        now=now,
    )


def end(tx: Tx, workspace_id: str, item_ids: Sequence[str], because: str, now: datetime) -> int:
    """Let open items expire, with why; how many."""
    return execute(
        tx,
        f"UPDATE review_item SET status = 'expired', ended_because = :because, completed_at = :now, changed_at = :now"
        f" WHERE workspace_id = :ws AND id = ANY(CAST(:ids AS uuid[])) AND {_OPEN}",
        ws=workspace_id,
        ids=id_array(item_ids),
        because=because,
        now=now,
    )


def by_id(tx: Tx, workspace_id: str, item_id: str, *, lock: bool = False) -> Row | None:
    """An item."""
    return one(
        tx,
        "SELECT * FROM review_item WHERE workspace_id = :ws AND id = :id" + (" FOR UPDATE" if lock else ""),
        ws=workspace_id,
        id=item_id,
    )


def claim(tx: Tx, workspace_id: str, item_id: str, actor: str, now: datetime) -> None:
    """Give an open item to somebody, as it is now."""
    execute(
        tx,
        "UPDATE review_item SET status = 'in_progress', assigned_to = :actor, claimed_at = :now,"
        f" seen = asked, changed_at = :now WHERE workspace_id = :ws AND id = :id AND {_OPEN}",
        ws=workspace_id,
        id=item_id,
        actor=actor,
        now=now,
    )


def unclaim(tx: Tx, workspace_id: str, item_id: str, now: datetime) -> None:
    """Give an item back to everybody."""
    execute(
        tx,
        "UPDATE review_item SET status = 'pending', assigned_to = NULL, claimed_at = NULL, seen = NULL,"
        " changed_at = :now WHERE workspace_id = :ws AND id = :id",
        ws=workspace_id,
        id=item_id,
        now=now,
    )


def complete(
    tx: Tx,
    workspace_id: str,
    item_id: str,
    action: str,
    actor: str,
    notes: str | None,
    made: Sequence[str],
    now: datetime,
) -> None:
    """Close an item with what was decided."""
    execute(
        tx,
        "UPDATE review_item SET status = CASE WHEN :action = 'rejected' THEN 'rejected' ELSE 'completed' END,"
        " completed_action = :action, completed_by = :actor, completed_at = :now, changed_at = :now, notes = :notes,"
        " made_events = CAST(:made AS uuid[]) WHERE workspace_id = :ws AND id = :id",
        ws=workspace_id,
        id=item_id,
        action=action,
        actor=actor,
        notes=notes,
        made=id_array(made),
        now=now,
    )


def open_words(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> list[dict[str, Any]]:
    """What the judge said of what open items ask about these entities, atom by atom."""
    found = rows(
        tx,
        "SELECT jsonb_array_elements(analysis->'fields') AS word FROM review_item WHERE workspace_id = :ws"
        f" AND kind = 'events' AND entity_id = ANY(CAST(:ids AS uuid[])) AND {_OPEN}"
        " AND jsonb_typeof(analysis->'fields') = 'array'",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
    )
    return [row["word"] for row in found]


def asked_before(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> dict[str, list[tuple[str, list[str]]]]:
    """Event -> lists of its atoms that people are asked about, or were until nobody answered in time, each with why; an
    empty list for all of them.

    What an item was decided about has verdicts, and what the answer passed over may count again one day. A sample of
    what the judge passed asks nobody to settle anything.
    """
    found = rows(
        tx,
        "SELECT key AS event_id, jsonb_agg(jsonb_build_array(reason, value)) AS asked"
        " FROM review_item, jsonb_each(asked)"
        " WHERE workspace_id = :ws AND kind = 'events' AND entity_id = ANY(CAST(:ids AS uuid[]))"
        f" AND ({_OPEN} OR ended_because = 'stale' AND reason <> :sample) GROUP BY key",
        ws=workspace_id,
        sample=SAMPLE,
        ids=id_array(sorted(set(entity_ids))),
    )
    return {row["event_id"]: [(reason, atoms) for reason, atoms in row["asked"]] for row in found}
