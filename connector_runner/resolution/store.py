"""Rows of resolution: who waits to be compared, what identifies whom, and the keys under which they are found."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from typing import Any, Final

import orjson

from connector_runner.infra.database import Row, Tx, array_of, execute, id_array, lock, one, rows, tuples
from connector_runner.kernel import exact_json
from connector_runner.resolution import key_store
from connector_runner.resolution.identity import Identity, Kind

_FIELDS: Final = tuple(field.name for field in fields(Identity) if field.name not in ("record", "kind"))
_SETS: Final = frozenset({"family_parts", "phones", "emails", "charts", "specialties"})
_AMONG: Final = "WHERE workspace_id = :ws AND kind = :kind AND entity_id = ANY(CAST(:ids AS uuid[]))"
IN_TURN: Final = "identified, requested_at, entity_id"
"""Who changed goes first, by how long they wait; behind them who is only weighed anew, as when names were counted."""


def request(tx: Tx, workspace_id: str, kind: str, entity_ids: Iterable[str]) -> None:
    """Ask for entities to be compared anew."""
    execute(
        tx,
        "INSERT INTO pending_resolution (workspace_id, entity_id, kind)"
        " SELECT :ws, id, :kind FROM unnest(CAST(:ids AS uuid[])) id ORDER BY id"
        # Since when it waits stays: else who changes again and again is passed for ever, and what waits for all that
        # had landed by some time (outbound/lanes/sweep_store) would take it for compared.
        " ON CONFLICT (workspace_id, kind, entity_id) DO UPDATE SET identified = false",
        ws=workspace_id,
        kind=kind,
        ids=id_array(sorted(set(entity_ids))),
    )


def request_unseen(tx: Tx, workspace_id: str, kinds: Sequence[str]) -> int:
    """Ask for every entity of these kinds that was never compared; how many."""
    return execute(
        tx,
        "INSERT INTO pending_resolution (workspace_id, entity_id, kind)"
        " SELECT e.workspace_id, e.entity_id, e.entity_type FROM entity e WHERE e.workspace_id = :ws"
        " AND e.entity_type = ANY(:kinds) AND NOT EXISTS (SELECT 1 FROM identity i WHERE i.workspace_id = :ws"
        "  AND i.entity_id = e.entity_id OFFSET 0) ON CONFLICT DO NOTHING",
        ws=workspace_id,
        kinds=list(kinds),
    )


_WEIGHED: Final = (
    " AND (EXISTS (SELECT 1 FROM pair_evidence p WHERE p.workspace_id = :ws AND p.one = i.entity_id)"
    " OR EXISTS (SELECT 1 FROM pair_evidence p WHERE p.workspace_id = :ws AND p.other = i.entity_id))"
)


def request_all(tx: Tx, workspace_id: str, kind: str, *, weighed: bool = False) -> int:
    """Ask for every entity of a kind to be compared anew; how many.

    ``weighed``: only those of whose likeness to anybody evidence is kept.
    """
    return execute(
        tx,
        "INSERT INTO pending_resolution (workspace_id, entity_id, kind, identified)"
        " SELECT workspace_id, entity_id, kind, true FROM identity i WHERE workspace_id = :ws AND kind = :kind"
        f"{_WEIGHED if weighed else ''} ON CONFLICT DO NOTHING",
        ws=workspace_id,
        kind=kind,
    )


def request_anew(tx: Tx, workspace_id: str, kind: str) -> int:
    """Ask for every entity of a kind to be read and compared anew, as by other rules; how many."""
    return execute(
        tx,
        "INSERT INTO pending_resolution (workspace_id, entity_id, kind)"
        " SELECT workspace_id, entity_id, kind FROM identity WHERE workspace_id = :ws AND kind = :kind"
        " ON CONFLICT (workspace_id, kind, entity_id) DO UPDATE SET identified = false",
        ws=workspace_id,
        kind=kind,
    )


def request_named(
    tx: Tx, workspace_id: str, kind: str, field: str, names: Iterable[str], *, weighed: bool = False
) -> int:
    """As ``request_all``, for entities with one of these given or family names."""
    return execute(
        tx,
        "INSERT INTO pending_resolution (workspace_id, entity_id, kind, identified)"
        " SELECT workspace_id, entity_id, kind, true FROM identity i WHERE workspace_id = :ws AND kind = :kind"
        f" AND body->>:field = ANY(:names){_WEIGHED if weighed else ''} ON CONFLICT DO NOTHING",
        ws=workspace_id,
        kind=kind,
        field=field,
        names=sorted(names),
    )


def workspaces(tx: Tx) -> list[str]:
    """Ids of active workspaces; for a sweep."""
    return [row["workspace_id"] for row in rows(tx, "SELECT workspace_id FROM workspace WHERE status = 'active'")]


def workspaces_waiting(tx: Tx) -> list[str]:
    """Workspaces in which entities wait to be compared; for a sweep."""
    found = rows(tx, "SELECT DISTINCT workspace_id FROM pending_resolution ORDER BY workspace_id")
    return [row["workspace_id"] for row in found]


def waiting(tx: Tx, workspace_id: str) -> int:
    """How many entities wait to be compared."""
    row = one(tx, "SELECT count(*) AS n FROM pending_resolution WHERE workspace_id = :ws", ws=workspace_id)
    return int(row["n"]) if row else 0


def records(tx: Tx, workspace_id: str, entity_type: str) -> int:
    """How many entities of a type there are, deleted ones among them."""
    row = one(
        tx,
        "SELECT count(*) AS n FROM entity WHERE workspace_id = :ws AND entity_type = :type",
        ws=workspace_id,
        type=entity_type,
    )
    return int(row["n"]) if row else 0


def lock_kind(tx: Tx, workspace_id: str, kind: str, *, shared: bool = False) -> None:
    """Let one transaction at a time decide who is the same among the records of a kind.

    ``shared``: with others that only want nobody to be deciding.
    """
    lock(tx, f"resolution|{workspace_id}|{kind}", shared=shared)


def take(tx: Tx, workspace_id: str, kind: str, limit: int) -> dict[str, bool]:
    """Take up to ``limit`` entities that wait, in turn (see IN_TURN); whether each is identified as it stands."""
    found = {
        row["entity_id"]: row["identified"]
        for row in rows(
            tx,
            "SELECT entity_id, identified FROM pending_resolution WHERE workspace_id = :ws AND kind = :kind"
            f" ORDER BY {IN_TURN} LIMIT :n FOR UPDATE SKIP LOCKED",
            ws=workspace_id,
            kind=kind,
            n=limit,
        )
    }
    _taken(tx, workspace_id, kind, found)
    return found


def take_along(tx: Tx, workspace_id: str, kind: str, entity_ids: Collection[str], limit: int) -> dict[str, bool]:
    """As ``take``, of these entities alone."""
    if not entity_ids:
        return {}
    found = dict(
        tuples(
            tx,
            f"SELECT entity_id, identified FROM pending_resolution {_AMONG}"
            " ORDER BY entity_id LIMIT :n FOR UPDATE SKIP LOCKED",
            ws=workspace_id,
            kind=kind,
            ids=id_array(sorted(entity_ids)),
            n=limit,
        )
    )
    _taken(tx, workspace_id, kind, found)
    return found


def _taken(tx: Tx, workspace_id: str, kind: str, found: Collection[str]) -> None:
    if found:
        # By their ids, not by a join: of a queue that has just filled the planner takes a row at most to be there.
        execute(tx, f"DELETE FROM pending_resolution {_AMONG}", ws=workspace_id, kind=kind, ids=id_array(found))


def take_unidentified(tx: Tx, workspace_id: str, kind: str, limit: int, after: str) -> list[str]:
    """Up to ``limit`` entities that wait and are not identified as they stand, in the order of their ids.

    Those only with ids beyond ``after``. They go on waiting, identified.
    """
    found = rows(
        tx,
        "SELECT entity_id FROM pending_resolution WHERE workspace_id = :ws AND kind = :kind AND entity_id > :after"
        " AND NOT identified ORDER BY entity_id LIMIT :n FOR UPDATE SKIP LOCKED",
        ws=workspace_id,
        kind=kind,
        n=limit,
        after=after,
    )
    ids = [row["entity_id"] for row in found]
    if ids:
        identified = f"UPDATE pending_resolution SET identified = true {_AMONG}"
        execute(tx, identified, ws=workspace_id, kind=kind, ids=id_array(ids))
    return ids


def waiting_among(tx: Tx, workspace_id: str, kind: str, entity_ids: Iterable[str]) -> set[str]:
    """Which of these entities wait to be compared."""
    found = rows(
        tx,
        f"SELECT entity_id FROM pending_resolution {_AMONG}",
        ws=workspace_id,
        kind=kind,
        ids=id_array(sorted(set(entity_ids))),
    )
    return {row["entity_id"] for row in found}


def canonical_ids(tx: Tx, workspace_id: str, entity_ids: Iterable[str]) -> dict[str, str]:
    """Entity -> canonical id, of those that are there."""
    return dict(
        tuples(
            tx,
            "SELECT entity_id, canonical_id FROM entity WHERE workspace_id = :ws"
            " AND entity_id = ANY(CAST(:ids AS uuid[]))",
            ws=workspace_id,
            ids=id_array(sorted(set(entity_ids))),
        )
    )


def states(tx: Tx, workspace_id: str, entity_ids: Sequence[str], kind: str) -> list[Row]:
    """Those of these entities that are of a kind, as they stand: ``entity_id canonical_id status state``."""
    return rows(
        tx,
        "SELECT entity_id, canonical_id, status, state FROM projection"
        " WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[])) AND entity_type = :kind",
        ws=workspace_id,
        kind=kind,
        ids=id_array(entity_ids),
    )


def found_under(tx: Tx, workspace_id: str, entity_ids: Iterable[str], kind: Kind) -> dict[Identity, list[int]]:
    """As ``identities``, each with the keys under which it is found."""
    found = tuples(
        tx,
        "SELECT entity_id, CAST(body AS text), tokens FROM identity WHERE workspace_id = :ws"
        " AND entity_id = ANY(CAST(:ids AS uuid[])) AND kind = :kind",
        ws=workspace_id,
        kind=kind,
        ids=id_array(sorted(set(entity_ids))),
    )
    return {_identity(entity, kind, orjson.loads(body)): tokens for entity, body, tokens in found}


def identities(tx: Tx, workspace_id: str, entity_ids: Iterable[str], kind: Kind) -> dict[str, Identity]:
    """What identifies these entities, of those of a kind that were compared before."""
    found = tuples(
        tx,
        "SELECT entity_id, CAST(body AS text) FROM identity WHERE workspace_id = :ws"
        " AND entity_id = ANY(CAST(:ids AS uuid[])) AND kind = :kind",
        ws=workspace_id,
        kind=kind,
        ids=id_array(sorted(set(entity_ids))),
    )
    # It holds no fractions, which alone the product's own reader is there for.
    return {entity: _identity(entity, kind, orjson.loads(body)) for entity, body in found}


def only_phones(tx: Tx, workspace_id: str, entity_ids: Iterable[str]) -> set[str]:
    """Which of these entities are nothing but a phone (see Identity.is_only_phone)."""
    found = rows(
        tx,
        "SELECT entity_id FROM identity WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[]))"
        " AND body ? 'phones' AND jsonb_array_length(body->'identifiers') < 2"
        " AND NOT body ?| ARRAY['given', 'family', 'birth', 'emails', 'street', 'postal_code']",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
    )
    return {row["entity_id"] for row in found}


def of_other_kind(tx: Tx, workspace_id: str, kind: str, entity_ids: Sequence[str]) -> set[str]:
    """Which of these entities are compared with others of another kind."""
    found = rows(
        tx,
        "SELECT entity_id FROM identity WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[]))"
        " AND kind <> :kind",
        ws=workspace_id,
        kind=kind,
        ids=id_array(entity_ids),
    )
    return {row["entity_id"] for row in found}


def kinds_of(tx: Tx, workspace_id: str, entity_ids: Sequence[str], kinds: Sequence[str]) -> list[tuple[str, str]]:
    """(kind, entity) of those of these entities that are of one of the kinds, or were when they were compared."""
    return list(
        tuples(
            tx,
            "SELECT entity_type, entity_id FROM entity WHERE workspace_id = :ws AND entity_type = ANY(:kinds)"
            " AND entity_id = ANY(CAST(:ids AS uuid[])) UNION SELECT kind, entity_id FROM identity"
            " WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[]))",
            ws=workspace_id,
            kinds=list(kinds),
            ids=id_array(entity_ids),
        )
    )


@dataclass(frozen=True, slots=True)
class Saved:
    """What saving changed: keys that a record got, keys that one lost, and how many records more there are."""

    added: Set[int] = frozenset()
    removed: Set[int] = frozenset()
    more: int = 0

    def __add__(self, other: Saved) -> Saved:
        return Saved(self.added | other.added, self.removed | other.removed, self.more + other.more)


def save_identities(tx: Tx, workspace_id: str, kind: str, found_under: Mapping[Identity, Sequence[int]]) -> Saved:
    """Keep what identifies these entities now, and the keys under which they are found.

    Under the lock of the kind, so nobody else saves them meanwhile: what a record did not have, nobody has put there.
    """
    wanted = {person.record: set(tokens) for person, tokens in found_under.items()}
    held = _held(tx, workspace_id, wanted)
    people = sorted(found_under, key=lambda person: person.record)
    execute(
        tx,
        "INSERT INTO identity AS i (workspace_id, entity_id, kind, body, tokens)"
        " SELECT :ws, entity_id, :kind, CAST(body AS jsonb), CAST(tokens AS bigint[]) FROM unnest("
        "  CAST(:ids AS uuid[]), CAST(:bodies AS text[]), CAST(:tokens AS text[])) AS p (entity_id, body, tokens)"
        " ON CONFLICT (workspace_id, entity_id) DO UPDATE SET kind = excluded.kind, body = excluded.body,"
        "  tokens = excluded.tokens"
        "  WHERE (i.kind, i.body, i.tokens) IS DISTINCT FROM (excluded.kind, excluded.body, excluded.tokens)",
        ws=workspace_id,
        kind=kind,
        ids=id_array(person.record for person in people),
        bodies=array_of(exact_json.dumps(body_of(person)) for person in people),
        tokens=array_of(key_store.token_array(wanted[person.record]) for person in people),
    )
    none: tuple[str, set[int]] = ("", set())
    gained = [(value, of) for of, tokens in wanted.items() for value in tokens - held.get(of, none)[1]]
    lost = [(value, of) for of, (_, tokens) in held.items() for value in tokens - wanted[of]]
    key_store.put(tx, workspace_id, gained)
    key_store.take_out(tx, workspace_id, lost)
    more = sum(held.get(of, none)[0] != kind for of in wanted)
    return Saved({value for value, _ in gained}, {value for value, _ in lost}, more)


def _held(tx: Tx, workspace_id: str, entity_ids: Iterable[str]) -> dict[str, tuple[str, set[int]]]:
    """Entity -> its kind and keys, of those that were compared before."""
    found = tuples(
        tx,
        "SELECT entity_id, kind, tokens FROM identity WHERE workspace_id = :ws"
        " AND entity_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=id_array(sorted(entity_ids)),
    )
    return {entity: (kind, set(tokens)) for entity, kind, tokens in found}


def forget(tx: Tx, workspace_id: str, entity_ids: Sequence[str], kind: str) -> Saved:
    """Drop what identified entities that are of a kind no more, or not there."""
    found = list(
        tuples(
            tx,
            "DELETE FROM identity WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[])) AND kind = :kind"
            " RETURNING entity_id, tokens",
            ws=workspace_id,
            kind=kind,
            ids=id_array(entity_ids),
        )
    )
    lost = [(value, entity) for entity, tokens in found for value in tokens]
    key_store.take_out(tx, workspace_id, lost)
    return Saved(frozenset(), {value for value, _ in lost}, -len(found))


def body_of(person: Identity) -> dict[str, Any]:
    """What identifies an entity, as it is stored."""
    body: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(person, name)
        if value:
            body[name] = sorted(value) if isinstance(value, frozenset) else value
    return body


def _identity(entity_id: str, kind: Kind, body: dict[str, Any]) -> Identity:
    # Whoever is compared with many is read as often: this is a good part of what a pair of strangers costs.
    for name in _SETS & body.keys():
        body[name] = frozenset(body[name])
    if "identifiers" in body:
        body["identifiers"] = frozenset(map(tuple, body["identifiers"]))
    if "birth" in body:
        body["birth"] = tuple(body["birth"])
    return Identity(entity_id, kind, **body)
