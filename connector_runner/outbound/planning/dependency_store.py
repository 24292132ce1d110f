"""SQL of what refers to what: where a sink has a record, and who waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector_runner.infra.database import Row, Tx, execute, hot, id_array, rows
from connector_runner.outbound.lanes.lane import HELD_AS_MEMBER, MADE_AS_MEMBER


@dataclass(frozen=True, slots=True)
class Held:
    """A record that something refers to: its entity's type (None: it has not arrived), and where the sink has it.

    ``waits`` is whether its own lane waits for another, ``stopped`` why its lane stands still. ``entity_id`` is that
    of the entity whose record it is, or is to be, whatever record of it or of others that are the same was asked for.
    """

    entity_type: str | None
    ref: str | None
    waits: bool = False
    stopped: str | None = None
    entity_id: str | None = None


def held(tx: Tx, sink_id: str, sink_name: str, record_ids: Sequence[str]) -> dict[str, Held]:
    """For records (or entities), by their ids: what the sink has of them, or of others that are the same."""
    found = rows(
        tx,
        hot(
            "SELECT w.id, w.entity_id AS of_id, e.entity_id, e.entity_type, l.sink_ref,"
            " coalesce(l.state = 'waiting', false) AS waits, CASE WHEN l.state = 'idle'"
            " OR l.state = 'waiting' AND l.reason = 'dependency_below_threshold' THEN l.reason END AS stopped,"
            " l.state <> 'idle' AS moves,"
            " CASE WHEN starts_with(e.canonical_id, :prefix) THEN e.canonical_id END AS record_key,"
            " starts_with(e.canonical_id, :prefix) AND e.status <> 'active' AS gone"
            " FROM (SELECT i.id, coalesce(a.entity_id, i.id) AS entity_id FROM unnest(CAST(:ids AS uuid[])) i(id)"
            "  LEFT JOIN adopted_record a ON a.record_id = i.id) w"
            " CROSS JOIN LATERAL (SELECT w.entity_id AS id UNION SELECT n.entity_id FROM cluster_member m"
            "  JOIN cluster_member n ON n.workspace_id = m.workspace_id AND n.cluster_id = m.cluster_id"
            "  WHERE m.entity_id = w.entity_id) t"
            " LEFT JOIN entity e ON e.entity_id = t.id"
            " LEFT JOIN sync_lane l ON l.sink_id = :sink AND l.entity_id = t.id"
        ),
        ids=id_array(record_ids),
        sink=sink_id,
        prefix=sink_name + ":",
    )
    members: dict[str, list[Row]] = {}
    for row in found:
        members.setdefault(row["id"], []).append(row)
    return {record: _held(rows_of) for record, rows_of in members.items()}


def _held(members: Sequence[Row]) -> Held:
    """The record of the entity itself before another's; where the sink has none, the lane that is to make it.

    One that the sink itself removed stands for nobody who has, or is to have, another there.
    """

    def place(row: Row) -> tuple[bool, bool, bool, bool, str]:
        there = not row["gone"] and (row["sink_ref"] is not None or row["record_key"] is not None)
        told = row["moves"] or row["stopped"] not in (None, HELD_AS_MEMBER, MADE_AS_MEMBER)
        return not there, not there and not row["moves"], not there and not told, *_by_id(row)

    row = min(members, key=place)
    return Held(
        row["entity_type"], row["sink_ref"] or _reference(row["record_key"]), row["waits"], row["stopped"],
        row["entity_id"],
    )  # fmt: skip


def _by_id(row: Row) -> tuple[bool, str]:
    return row["entity_id"] != row["of_id"], row["entity_id"] or ""


def _reference(record_key: str | None) -> str | None:
    return None if record_key is None else "/".join(record_key.split(":")[1:])


_DEPENDENTS = (
    " l.workspace_id = :ws AND l.sink_id = :sink AND l.entity_id IN (SELECT r.entity_id FROM relationship r"
    " WHERE r.workspace_id = :ws AND r.target_id IN (SELECT unnest(CAST(:entities AS uuid[]))"
    " UNION SELECT record_id FROM adopted_record WHERE entity_id = ANY(CAST(:entities AS uuid[]))"
    " UNION SELECT n.entity_id FROM cluster_member m JOIN cluster_member n"
    "  ON n.workspace_id = m.workspace_id AND n.cluster_id = m.cluster_id"
    "  WHERE m.entity_id = ANY(CAST(:entities AS uuid[]))"
    " UNION SELECT a.record_id FROM cluster_member m JOIN cluster_member n"
    "  ON n.workspace_id = m.workspace_id AND n.cluster_id = m.cluster_id"
    "  JOIN adopted_record a ON a.workspace_id = n.workspace_id AND a.entity_id = n.entity_id"
    "  WHERE m.entity_id = ANY(CAST(:entities AS uuid[]))))"
)


def wake_dependents(tx: Tx, workspace_id: str, sink_id: str, entity_ids: Sequence[str]) -> int:
    """Make ready the lanes of a sink that wait for entities which are there now, or left out a reference to them.

    All lanes that refer to one are locked first: one that is being planned at this moment has either seen the
    entity there, or has gone back to waiting by the time it is looked at. One under way, in doubt or
    put aside looks again afterwards, and so does a release that planned one before.
    """
    names = {"ws": workspace_id, "sink": sink_id, "entities": id_array(entity_ids)}
    found = rows(
        tx,
        hot("SELECT l.lane_id FROM sync_lane l WHERE" + _DEPENDENTS + " ORDER BY l.lane_id FOR UPDATE"),
        **names,
    )
    if not found:
        return 0
    return execute(
        tx,
        hot(
            "UPDATE sync_lane l SET state = CASE WHEN l.state IN ('waiting', 'idle') THEN 'ready' ELSE l.state END,"
            " due_at = CASE WHEN l.state IN ('waiting', 'idle') THEN clock_timestamp() ELSE l.due_at END,"
            " desired_revision = l.desired_revision + 1, updated_at = clock_timestamp()"
            " WHERE (l.state NOT IN ('waiting', 'idle') OR l.reason IN ('dependency', 'dependency_below_threshold')"
            '  OR l.withheld @> \'[{"code": "dependency"}]\') AND' + _DEPENDENTS
        ),
        **names,
    )


def recheck_dependents(tx: Tx, workspace_id: str, sink_id: str, entity_id: str) -> int:
    """Have the lanes that wait for an entity look at it at once: it will not come by itself."""
    return execute(
        tx,
        "UPDATE sync_lane l SET due_at = clock_timestamp(), updated_at = clock_timestamp()"
        " WHERE l.lane_id IN (SELECT l.lane_id FROM sync_lane l WHERE l.state = 'waiting' AND l.reason = 'dependency'"
        "  AND l.due_at > clock_timestamp() AND" + _DEPENDENTS + " ORDER BY l.lane_id FOR UPDATE SKIP LOCKED)",
        ws=workspace_id,
        sink=sink_id,
        entities=id_array([entity_id]),
    )
