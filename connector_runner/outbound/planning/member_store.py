"""SQL of entities that are one: their lanes in a sink, whether they were compared, and who is to be looked at anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from connector_runner.infra.database import Tx, execute, hot, id_array, later, once, one, rows
from connector_runner.outbound.lanes.lane import FRESH
from connector_runner.outbound.planning.members import RESOLUTION_PENDING, There
from connector_runner.resolution.store import lock_kind
from connector_runner.world.reading import EntityView


def lanes_of(tx: Tx, workspace_id: str, sink_id: str, entity_ids: Sequence[str]) -> dict[str, There]:
    """Entity -> what its lane in a sink says, of those that have one."""
    if not entity_ids:
        return {}
    found = rows(
        tx,
        hot(
            "SELECT l.entity_id, l.sink_ref, l.state = 'unknown' OR EXISTS (SELECT 1 FROM open_intent i"
            "  WHERE i.workspace_id = l.workspace_id AND i.lane_id = l.lane_id) AS under_way FROM sync_lane l"
            " WHERE l.workspace_id = :ws AND l.sink_id = :sink AND l.entity_id = ANY(CAST(:ids AS uuid[]))"
        ),
        ws=workspace_id,
        sink=sink_id,
        ids=id_array(entity_ids),
    )
    return {row["entity_id"]: There(row["sink_ref"], row["under_way"]) for row in found}


def written_since(tx: Tx, workspace_id: str, lane_id: str, moment: datetime) -> bool:
    """Whether a write of a lane, or what took one back, landed after ``moment``."""
    found = one(
        tx,
        "SELECT 1 AS landed FROM write_log WHERE workspace_id = :ws AND lane_id = :lane AND phase = 'outcome'"
        " AND outcome = 'landed' AND written_at > :moment LIMIT 1",
        ws=workspace_id,
        lane=lane_id,
        moment=moment,
    )
    return found is not None


def look_ahead(tx: Tx, workspace_id: str, entities: Mapping[str, str]) -> None:
    """See at one look which of these (entity -> kind) wait to be compared; ``not_compared`` goes by it from now on.

    For entities that this transaction has read already: who changes after that is looked at again.
    """
    found = rows(
        tx,
        hot(
            "SELECT p.entity_id FROM unnest(CAST(:kinds AS text[]), CAST(:ids AS uuid[])) w(kind, id)"
            " JOIN pending_resolution p ON p.workspace_id = :ws AND p.kind = w.kind AND p.entity_id = w.id"
        ),
        ws=workspace_id,
        kinds=id_array(entities.values()),
        ids=id_array(entities),
    )
    waiting = {row["entity_id"] for row in found}
    _seen(tx).update({entity: entity in waiting for entity in entities})


def _seen(tx: Tx) -> dict[str, bool]:
    """Entity -> whether it waits to be compared, of those that were looked at together."""
    return once(tx, "not_compared", dict[str, bool])


def not_compared(tx: Tx, workspace_id: str, kind: str, entity_ids: Sequence[str]) -> bool:
    """Whether any of these entities waits to be compared with others."""
    seen = _seen(tx)
    if all(entity in seen for entity in entity_ids):
        return any(seen[entity] for entity in entity_ids)
    found = one(
        tx,
        hot(
            "SELECT 1 AS waits FROM pending_resolution WHERE workspace_id = :ws AND kind = :kind"
            " AND entity_id = ANY(CAST(:ids AS uuid[])) LIMIT 1"
        ),
        ws=workspace_id,
        kind=kind,
        ids=id_array(entity_ids),
    )
    return found is not None


def hold_lanes(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> None:
    """Lock every lane of these entities: a write that is being opened is opened before, or sees what comes now."""
    rows(
        tx,
        "SELECT lane_id FROM sync_lane WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[]))"
        " ORDER BY lane_id FOR UPDATE",
        ws=workspace_id,
        ids=id_array(entity_ids),
    )


_ASKED_AGAIN = (
    " ON CONFLICT (workspace_id, entity_id) DO UPDATE SET generation = p.generation + 1,"
    " prio = least(p.prio, excluded.prio)"
)


def release_others(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> None:
    """Ask, with the next statement, for a look at those that are one with entities whose records are there now."""
    later(
        tx,
        hot(
            "INSERT INTO pending_release AS p (workspace_id, entity_id, prio)"
            " SELECT DISTINCT n.workspace_id, n.entity_id, CAST(:prio AS integer) FROM cluster_member m"
            " JOIN cluster_member n ON n.workspace_id = m.workspace_id AND n.cluster_id = m.cluster_id"
            "  AND n.entity_id <> m.entity_id"
            " WHERE m.workspace_id = :ws AND m.entity_id = ANY(CAST(:ids AS uuid[]))"
            f" ORDER BY n.workspace_id, n.entity_id{_ASKED_AGAIN}"
        ),
        ws=workspace_id,
        ids=id_array(entity_ids),
        prio=FRESH,
    )


def release_compared(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> int:
    """Ask for a look at those that waited to be made until these were compared: they, or others that are the same.

    A lane that is about to wait is not seen to do so yet: whoever made it wait looks again (see
    ``release_compared_meanwhile``).
    """
    return execute(
        tx,
        "INSERT INTO pending_release AS p (workspace_id, entity_id, prio)"
        " SELECT DISTINCT l.workspace_id, l.entity_id, CAST(:prio AS integer) FROM ("
        "  SELECT unnest(CAST(:ids AS uuid[])) AS id UNION SELECT n.entity_id FROM cluster_member m"
        "  JOIN cluster_member n ON n.workspace_id = m.workspace_id AND n.cluster_id = m.cluster_id"
        "  WHERE m.workspace_id = :ws AND m.entity_id = ANY(CAST(:ids AS uuid[]))) t JOIN sync_lane l"
        " ON l.workspace_id = :ws AND l.entity_id = t.id"
        "  AND l.state = 'waiting' AND l.reason = :reason"
        f" ORDER BY l.entity_id{_ASKED_AGAIN}",
        ws=workspace_id,
        ids=id_array(entity_ids),
        reason=RESOLUTION_PENDING,
        prio=FRESH,
    )


def release_compared_meanwhile(tx: Tx, workspace_id: str, seen: Iterable[EntityView]) -> int:
    """As ``release_compared``, of those whose lanes have just been made to wait until they are compared; how many.

    Whoever was comparing them then saw no lane that waits. That is over once the kind's lock is had, so this belongs in
    a transaction of its own, which holds no other.
    """
    waiting = {view.entity_id: view for view in seen}
    kinds = sorted({view.entity_type for view in waiting.values()})
    for kind in kinds:
        lock_kind(tx, workspace_id, kind, shared=True)
    members = {member for view in waiting.values() for member in view.members}
    found = rows(
        tx,
        "SELECT entity_id FROM pending_resolution WHERE workspace_id = :ws AND kind = ANY(:kinds)"
        " AND entity_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        kinds=kinds,
        ids=id_array(sorted(members)),
    )
    still = {row["entity_id"] for row in found}
    compared = [entity for entity, view in waiting.items() if still.isdisjoint(view.members)]
    return release_compared(tx, workspace_id, compared) if compared else 0


def release_regrouped(tx: Tx, workspace_id: str, entity_ids: Sequence[str], entity_types: Sequence[str]) -> int:
    """Ask for a look at entities of these types whose cluster changed, and at all that refers to them; how many."""
    return _release_around(tx, workspace_id, entity_ids, entity_types, themselves=True)


def release_referring(tx: Tx, workspace_id: str, entity_ids: Sequence[str], entity_types: Sequence[str]) -> int:
    """Ask for a look at whatever of these types refers to entities; how many."""
    return _release_around(tx, workspace_id, entity_ids, entity_types, themselves=False)


def _release_around(
    tx: Tx, workspace_id: str, entity_ids: Sequence[str], entity_types: Sequence[str], *, themselves: bool
) -> int:
    return execute(
        tx,
        "WITH records AS (SELECT unnest(CAST(:ids AS uuid[])) AS id UNION SELECT record_id FROM adopted_record"
        "  WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[]))),"
        " names AS (SELECT id FROM records UNION SELECT b.token FROM records r CROSS JOIN LATERAL"
        "  (SELECT token FROM business_identifier WHERE workspace_id = :ws AND record_id = r.id OFFSET 0) b),"
        " found AS (SELECT unnest(CAST(:own AS uuid[])) AS id UNION SELECT r.entity_id FROM names n CROSS JOIN LATERAL"
        "  (SELECT entity_id FROM relationship WHERE workspace_id = :ws AND target_id = n.id OFFSET 0) r)"
        " INSERT INTO pending_release AS p (workspace_id, entity_id, prio)"
        " SELECT e.workspace_id, e.entity_id, CAST(:prio AS integer) FROM found f JOIN entity e"
        "  ON e.workspace_id = :ws AND e.entity_id = f.id AND e.entity_type = ANY(CAST(:types AS text[]))"
        f" ORDER BY e.entity_id{_ASKED_AGAIN}",
        ws=workspace_id,
        ids=id_array(entity_ids),
        own=id_array(entity_ids if themselves else ()),
        types=list(entity_types),
        prio=FRESH,
    )
