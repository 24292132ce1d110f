"""Rows of links and labels, both append-only: what became of links, and what people said of two records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from connector_runner.infra.database import Row, Tx, execute, id_array, rows
from connector_runner.kernel import exact_json
from connector_runner.resolution.clusters import Pair, pair


def add_link_events(tx: Tx, workspace_id: str, events: Sequence[Mapping[str, Any]]) -> None:
    """Append what became of links."""
    execute(
        tx,
        "INSERT INTO link_event (workspace_id, id, one, other, action, method, rule, bits, features, version, actor,"
        " reason, at) SELECT :ws, id, one, other, action, method, rule, bits, features, version, actor, reason, at"
        " FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS e (id uuid, one uuid, other uuid, action text,"
        " method text, rule text, bits double precision, features jsonb, version text, actor text, reason text,"
        " at timestamptz)",
        ws=workspace_id,
        events=exact_json.dumps([*events]),
    )


def link_events(tx: Tx, workspace_id: str, entity_id: str | None, limit: int) -> list[Row]:
    """Links made and taken back, the latest first; of one entity, or all."""
    about = " AND (l.one = :id OR l.other = :id)" if entity_id else ""
    return rows(
        tx,
        "SELECT l.*, a.canonical_id AS one_canonical_id, b.canonical_id AS other_canonical_id FROM link_event l"
        " LEFT JOIN entity a ON a.workspace_id = l.workspace_id AND a.entity_id = l.one"
        " LEFT JOIN entity b ON b.workspace_id = l.workspace_id AND b.entity_id = l.other"
        f" WHERE l.workspace_id = :ws{about} ORDER BY l.at DESC, l.id DESC LIMIT :n",
        ws=workspace_id,
        id=entity_id,
        n=limit,
    )


def add_label(
    tx: Tx, workspace_id: str, label_id: str, pair: Pair, *, same: bool, actor: str, reason: str, now: datetime
) -> None:
    """Append a person's word about a pair, with what the evidence said then."""
    execute(
        tx,
        "INSERT INTO match_label (workspace_id, id, one, other, same, actor, reason, bits, rule, version, at)"
        " SELECT :ws, :id, v.one, v.other, :same, :actor, :reason, p.bits, p.held, p.version, :now"
        " FROM (SELECT CAST(:one AS uuid) AS one, CAST(:other AS uuid) AS other) v LEFT JOIN pair_evidence p"
        " ON p.workspace_id = :ws AND p.one = v.one AND p.other = v.other",
        ws=workspace_id,
        id=label_id,
        one=pair[0],
        other=pair[1],
        same=same,
        actor=actor,
        reason=reason,
        now=now,
    )


def types_of(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> set[str]:
    """Of which types these entities are, as far as they are known."""
    found = rows(
        tx,
        "SELECT DISTINCT entity_type FROM entity WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=id_array(entity_ids),
    )
    return {row["entity_type"] for row in found}


def carry_labels_over(tx: Tx, workspace_id: str, record_ids: Sequence[str], ids: Iterable[str]) -> set[Pair]:
    """Append what people last said of records that were adopted as said of their adopters, with the same date.

    The pairs of which something was said that way; of a record and its adopter nothing is. ``ids``: of new labels.
    """
    found = rows(
        tx,
        "SELECT DISTINCT ON (l.one, l.other) l.same, l.actor, l.reason, l.at,"
        " coalesce(a.entity_id, l.one) AS one, coalesce(b.entity_id, l.other) AS other FROM match_label l"
        " LEFT JOIN adopted_record a ON a.workspace_id = l.workspace_id AND a.record_id = l.one"
        " LEFT JOIN adopted_record b ON b.workspace_id = l.workspace_id AND b.record_id = l.other"
        " WHERE l.workspace_id = :ws"
        " AND (l.one = ANY(CAST(:ids AS uuid[])) OR l.other = ANY(CAST(:ids AS uuid[])))"
        " AND (a.entity_id IS NOT NULL OR b.entity_id IS NOT NULL)"
        " ORDER BY l.one, l.other, l.at DESC, l.id DESC",
        ws=workspace_id,
        ids=id_array(record_ids),
    )
    said = [row | {"pair": pair(row["one"], row["other"])} for row in found if row["one"] != row["other"]]
    execute(
        tx,
        "INSERT INTO match_label (workspace_id, id, one, other, same, actor, reason, at)"
        " SELECT :ws, id, one, other, same, actor, reason, at FROM jsonb_to_recordset(CAST(:said AS jsonb))"
        "  AS s (id uuid, one uuid, other uuid, same boolean, actor text, reason text, at timestamptz)"
        " WHERE NOT EXISTS (SELECT 1 FROM match_label l WHERE l.workspace_id = :ws AND l.one = s.one"
        "  AND l.other = s.other AND l.same = s.same AND l.actor = s.actor AND l.at = s.at)",
        ws=workspace_id,
        said=exact_json.dumps(
            [
                {
                    "id": label, "one": row["pair"][0], "other": row["pair"][1], "same": row["same"],
                    "actor": row["actor"], "reason": row["reason"], "at": row["at"].isoformat(),
                }
                for label, row in zip(ids, said, strict=False)
            ]
        ),
    )  # fmt: skip
    return {row["pair"] for row in said}
