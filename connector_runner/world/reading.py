"""Reading entities: the projection as stored, and the fold with its winners and losers laid open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from connector_runner.infra.database import Row, Tx, hot, id_array, one, rows
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import entity_id_of, is_uuid, parse_canonical_id
from connector_runner.world import history, relationships, store
from connector_runner.world.events import RecordVersion, SentValue, StoredEvent
from connector_runner.world.fold import Folded, fold, overtaken


@dataclass(frozen=True, slots=True)
class Member:
    """Another entity that is the same as the one that is viewed, with the source records that count for it."""

    entity_id: str
    canonical_id: str
    revision: int
    status: str
    records: dict[str, str]


@dataclass(frozen=True, slots=True)
class EntityView:
    """One entity with everything that its state rests on; its state is that of its whole cluster, where asked for.

    ``records`` are the source records that count for the entity itself: record key -> data source id. ``others`` are
    those that it is one with, in id order; ``events`` and ``folded`` are then of all of them.
    """

    entity_id: str
    entity_type: str
    canonical_id: str
    revision: int
    folded: Folded
    events: tuple[StoredEvent, ...]
    records: dict[str, str]
    after: dict[str, Any] | None = None
    """Of an entity as it once stood: the state that came of it."""
    others: tuple[Member, ...] = ()
    lent: frozenset[str] = frozenset()
    """Own records, by their ids, that were last sent a value which nobody says who this is a view of.

    Those that are there: one that was deleted holds nothing any more.
    """
    overtaken: tuple[SentValue, ...] = ()
    """What own records were last sent, and had been rejected by the time it landed."""
    relays: frozenset[str] = frozenset()
    """Events that records were sent a value for which another's word had left in the event's record."""

    @property
    def now(self) -> dict[str, Any]:
        """The facts that hold, whenever this is a view of."""
        return self.state if self.after is None else self.after

    @property
    def state(self) -> dict[str, Any]:
        """The facts that hold."""
        return self.folded.state

    @property
    def members(self) -> tuple[str, ...]:
        """The entities that this is a view of, in id order; of one alone just itself."""
        return tuple(sorted((self.entity_id, *(other.entity_id for other in self.others))))

    @property
    def own_status(self) -> str:
        """What the entity's own records say of it as a whole, whatever the others are."""
        return self.folded.statuses.get(self.entity_id, self.folded.status)

    @property
    def stamp(self) -> str:
        """Differs whenever an entity was folded anew, or the cluster has others in it."""
        known = [(self.entity_id, self.revision), *((each.entity_id, each.revision) for each in self.others)]
        return ",".join(f"{entity}:{revision}" for entity, revision in sorted(known))


def entity_id(tx: Tx, workspace_id: str, name: str) -> str:
    """The entity that an entity id or a canonical id names; an adopted record names its adopter.

    Raises BadRecord when ``name`` is neither.
    """
    record_id = _record_id(workspace_id, name)
    return store.adopted(tx, [record_id]).get(record_id, record_id)


def _record_id(workspace_id: str, name: str) -> str:
    if is_uuid(name):
        return name
    parse_canonical_id(name)
    return entity_id_of(workspace_id, name)


def row(tx: Tx, workspace_id: str, name: str) -> Row | None:
    """The projection of an entity, or None."""
    return one(tx, hot("SELECT * FROM projection WHERE entity_id = :id"), id=entity_id(tx, workspace_id, name))


# Of those who are one with an entity, itself among them, by id; nothing for one that is in no cluster. Step by step:
# joined, and planned while the tables were small, this would read every entity there is for each.
_STAMPS = (
    "(SELECT string_agg(n.entity_id || ':' || x.revision, ',' ORDER BY n.entity_id)"
    " FROM (SELECT cluster_id FROM cluster_member WHERE entity_id = e.entity_id OFFSET 0) m"
    " CROSS JOIN LATERAL (SELECT entity_id FROM cluster_member WHERE cluster_id = m.cluster_id OFFSET 0) n"
    " CROSS JOIN LATERAL (SELECT revision FROM entity WHERE entity_id = n.entity_id OFFSET 0) x)"
)
STAMP = f"coalesce({_STAMPS}, e.entity_id || ':' || e.revision)"
"""SQL of ``EntityView.stamp`` of the entity ``e``, together with those that it is one with."""
# Without the stored projection, which is large, and which a view folds anew. Who is in no cluster pays one look into
# an index for it; the others are read with those that they are one with.
_VIEWED = (
    "SELECT entity_id, entity_type, canonical_id, revision,"
    " (SELECT jsonb_object_agg(record_id, jsonb_build_array(record_key, data_source_id))"
    "  FROM adopted_record a WHERE a.entity_id = e.entity_id) AS adopted,"
    " (SELECT cluster_id FROM cluster_member m WHERE m.entity_id = e.entity_id) AS cluster_id FROM entity e"
)
_NAMED = (
    f"SELECT v.* FROM (SELECT CAST(:id AS uuid) AS id) i CROSS JOIN LATERAL {store.HOLDER}"
    f" CROSS JOIN LATERAL ({_VIEWED} WHERE e.entity_id = h.id OFFSET 0) v"
)


def view(tx: Tx, workspace_id: str, name: str, *, together: bool = True) -> EntityView | None:
    """Fold an entity and show how it came out; None when there is no such entity. ``together`` as in ``views``."""
    stored = one(tx, hot(_NAMED), id=_record_id(workspace_id, name))
    return None if stored is None else _views(tx, [stored], together)[0]


def views(tx: Tx, entity_ids: Sequence[str], *, together: bool = True) -> list[EntityView]:
    """The views of several entities, those that exist, in id order.

    ``together``: of the person, folded over all that are the same; else of each by itself, as it is stored.
    """
    return _views(tx, _stored(tx, entity_ids), together)


def _stored(tx: Tx, entity_ids: Sequence[str]) -> list[Row]:
    return rows(
        tx,
        # One by one: planned while the table was small, this would read every entity there is.
        hot(
            "SELECT v.* FROM unnest(CAST(:ids AS uuid[])) AS i (id) CROSS JOIN LATERAL"
            f" ({_VIEWED} WHERE e.entity_id = i.id OFFSET 0) v ORDER BY v.entity_id"
        ),
        ids=id_array(entity_ids),
    )


def _in_clusters(tx: Tx, cluster_ids: Iterable[str]) -> list[Row]:
    return rows(
        tx,
        hot(
            "SELECT v.* FROM unnest(CAST(:ids AS uuid[])) AS c (id) CROSS JOIN LATERAL"
            " (SELECT entity_id FROM cluster_member WHERE cluster_id = c.id OFFSET 0) n CROSS JOIN LATERAL"
            f" ({_VIEWED} WHERE e.entity_id = n.entity_id OFFSET 0) v ORDER BY v.entity_id"
        ),
        ids=id_array(sorted(set(cluster_ids))),
    )


def _views(tx: Tx, stored: Sequence[Row], together: bool) -> list[EntityView]:
    known = {entity["entity_id"]: entity for entity in stored}
    clusters: dict[str, list[str]] = {}
    found_in = {entity["cluster_id"] for entity in stored if entity["cluster_id"]} if together else set()
    for member in _in_clusters(tx, found_in) if found_in else ():
        known[member["entity_id"]] = member
        clusters.setdefault(member["cluster_id"], []).append(member["entity_id"])
    wanted = {entity["entity_id"]: clusters.get(known[entity["entity_id"]]["cluster_id"], ()) for entity in stored}
    events: dict[str, list[StoredEvent]] = {entity: [] for entity in known}
    for event in store.events_of(tx, list(known)):
        events[event.entity_id].append(event)
    adopted = {record: entity for entity, row in known.items() for record in row["adopted"] or ()}
    versions, sent = history.of_records(tx, [event for found in events.values() for event in found], adopted)
    gone = history.deleted(versions) if sent else ()
    there = [value for value in sent if value.record_id not in gone]
    folds: dict[tuple[str, ...], tuple[Folded, tuple[StoredEvent, ...]]] = {}
    answer = []
    for entity, cluster in wanted.items():
        members = tuple(cluster) or (entity,)
        if members not in folds:
            found = sorted((event for member in members for event in events[member]), key=lambda event: event.id)
            folds[members] = _folded(found, versions, sent), tuple(found)
        folded, said = folds[members]
        row = known[entity]
        last = _last_sent(entity, events[entity], there, adopted)
        answer.append(
            EntityView(
                entity_id=entity,
                entity_type=row["entity_type"],
                canonical_id=row["canonical_id"],
                revision=row["revision"],
                folded=folded,
                events=said,
                records=_records(events[entity]) | _adopted(row),
                lent=_lent(said, last),
                overtaken=tuple(overtaken(said, last)),
                relays=frozenset(value.relayed_by for value in sent if value.relayed_by is not None),
                others=tuple(_member(known[m], events[m], folded) for m in members if m != entity),
            )
        )
    return answer


def _folded(events: Sequence[StoredEvent], versions: Sequence[RecordVersion], sent: Sequence[SentValue]) -> Folded:
    mine = {event.record_id for event in events if event.record_id}
    return fold(
        events,
        [version for version in versions if version.record_id in mine],
        [value for value in sent if value.record_id in mine],
    )


def _adopted(row: Row) -> dict[str, str]:
    return dict((row["adopted"] or {}).values())


def _last_sent(
    entity_id: str, own: Sequence[StoredEvent], sent: Sequence[SentValue], adopted: Mapping[str, str]
) -> list[SentValue]:
    """What an entity's own records were last sent, atom by atom."""
    if not sent:
        return []
    mine = {event.record_id for event in own if event.record_id}
    mine |= {record for record, entity in adopted.items() if entity == entity_id}
    latest: dict[tuple[str, str], SentValue] = {}
    for value in sorted((value for value in sent if value.record_id in mine), key=lambda value: value.sent_at):
        latest[value.record_id, value.atom] = value
    return list(latest.values())


def _lent(said: Sequence[StoredEvent], last: Sequence[SentValue]) -> frozenset[str]:
    known = {event.id for event in said} if last else frozenset()
    return frozenset(value.record_id for value in last if value.event_id not in known)


def _member(row: Row, events: Sequence[StoredEvent], folded: Folded) -> Member:
    return Member(
        entity_id=row["entity_id"],
        canonical_id=row["canonical_id"],
        revision=row["revision"],
        status=folded.statuses.get(row["entity_id"], folded.status),
        records=_records(events) | _adopted(row),
    )


def past(tx: Tx, view: EntityView) -> Callable[[int], EntityView]:
    """The entity as it stood when so many of its events, in the order in which they came, were all that there was.

    ``view`` with as many events as it has is the entity now. Records that count for it do so all along.
    """
    events = sorted(view.events, key=lambda event: (event.ingested_at, event.id))
    versions, sent = history.of_records(tx, events)

    def after(count: int) -> EntityView:
        known = events[:count]
        until = known[-1].ingested_at
        folded = fold(known, [version for version in versions if version.seen_at <= until], sent)
        return replace(view, events=tuple(known), folded=folded, after=view.state)

    return after


def before_deletion(tx: Tx, view: EntityView) -> tuple[EntityView, datetime] | None:
    """An entity that was deleted as it stood until then, and when that was: with the last of those that it is one with.

    None where any of them is there, or was entered in error.
    """
    if {view.own_status, view.folded.status} != {"deleted"}:
        return None
    versions, sent = history.of_records(tx, view.events)
    gone = history.deleted(versions)
    records: dict[str, set[str]] = {}
    for each in view.events:
        if each.record_id is not None:
            records.setdefault(each.entity_id, set()).add(each.record_id)
    deleted = [entity for entity, status in view.folded.statuses.items() if status == "deleted"]
    until = max(
        gone[entity] if entity in gone else max(gone[record] for record in records[entity] if record in gone)
        for entity in deleted
    )
    known = [each for each in view.events if each.ingested_at <= until]
    folded = fold(known, [version for version in versions if version.seen_at < until], sent)
    return replace(view, events=tuple(known), folded=folded, after=view.state), until


def last_said(tx: Tx, workspace_id: str, entity_ids: Sequence[str], name: str) -> dict[str, Any]:
    """Entity -> the fact ``name`` in the last version of its own record that is no deletion; without it, None.

    Of one that was entered in error nothing.
    """
    found = rows(
        tx,
        "SELECT DISTINCT ON (v.record_id) v.record_id AS entity_id, e.fact FROM record_version v CROSS JOIN LATERAL"
        "  (SELECT CASE WHEN event_type NOT LIKE '%.retracted' THEN facts->:name END AS fact FROM event"
        "   WHERE workspace_id = :ws AND id = v.event_id OFFSET 0) e"
        " WHERE v.workspace_id = :ws AND v.record_id = ANY(CAST(:ids AS uuid[])) AND NOT v.deleted"
        # As RecordVersion.order.
        " ORDER BY v.record_id, v.era DESC, coalesce(v.order_version, 0) DESC, v.order_at DESC, v.n DESC",
        ws=workspace_id,
        ids=id_array(entity_ids),
        name=name,
    )
    return {row["entity_id"]: row["fact"] for row in found}


def _records(events: Sequence[StoredEvent]) -> dict[str, str]:
    return {e.record_key: e.data_source_id for e in events if e.record_key and e.data_source_id}


def event(tx: Tx, event_id: str) -> Row | None:
    """One event as stored, or None.

    Raises BadRecord when ``event_id`` is not an event id.
    """
    if not is_uuid(event_id):
        raise BadRecord("an event id is a UUID", code="event_id")
    return one(tx, "SELECT * FROM event WHERE id = :id", id=event_id)


def targets(tx: Tx, workspace_id: str, entity_ids: Sequence[str], *names: str) -> dict[str, list[str]]:
    """Entity -> the ids of what it refers to under any of ``names``: records, or tokens of identifiers.

    From the states: the ``relationship`` view is quick from a target to who refers to it, and not the other way.
    """
    states = store.states_of(tx, entity_ids)
    return {entity: targets_in(workspace_id, state, *names) for entity, state in states.items()}


def targets_in(workspace_id: str, state: dict[str, Any], *names: str) -> list[str]:
    """The same of one state."""
    return sorted({target for field, target, _ in relationships.targets(workspace_id, state) if field in names})


def related(tx: Tx, workspace_id: str, view: EntityView) -> list[Row]:
    """Relationships of an entity, out and in, with the entity at the other end where it has arrived.

    Together: out is what the state of all refers to; in is whatever refers to it, or to another that is the same.
    """
    out = sorted(relationships.targets(workspace_id, view.now))
    return rows(
        tx,
        # Entities are looked up one by one: joined, the planner would read all of them under row-level security.
        "WITH us AS (SELECT unnest(CAST(:ids AS uuid[])) AS id),"
        " records AS (SELECT id FROM us UNION SELECT a.record_id FROM us CROSS JOIN LATERAL"
        "  (SELECT record_id FROM adopted_record WHERE entity_id = us.id OFFSET 0) a),"
        " ends AS MATERIALIZED ("
        " SELECT 'out' AS direction, r.name, coalesce(a.entity_id, b.record_id, r.target_id) AS other_id"
        " FROM unnest(CAST(:names AS text[]), CAST(:targets AS uuid[]), CAST(:tokens AS boolean[]))"
        "  AS r (name, target_id, by_identifier)"
        " LEFT JOIN business_identifier b ON r.by_identifier AND b.token = r.target_id"
        " CROSS JOIN LATERAL (SELECT coalesce(b.record_id, r.target_id) AS id OFFSET 0) t"
        " LEFT JOIN LATERAL (SELECT entity_id FROM adopted_record WHERE record_id = t.id OFFSET 0) a ON true"
        " UNION ALL"
        " SELECT 'in', r.name, r.entity_id FROM ("
        "  SELECT id AS target_id FROM records UNION SELECT b.token FROM records CROSS JOIN LATERAL"
        "   (SELECT token FROM business_identifier WHERE record_id = records.id OFFSET 0) b) t"
        " CROSS JOIN LATERAL (SELECT name, entity_id FROM relationship WHERE target_id = t.target_id OFFSET 0) r)"
        " SELECT direction, name, other_id, e.entity_type, e.canonical_id FROM ends"
        " LEFT JOIN LATERAL (SELECT entity_type, canonical_id FROM entity WHERE entity_id = other_id OFFSET 0) e"
        " ON true ORDER BY 1 DESC, 2, 3",
        ids=id_array(view.members),
        names=[name for name, _, _ in out],
        targets=[target for _, target, _ in out],
        tokens=[by_identifier for _, _, by_identifier in out],
    )
