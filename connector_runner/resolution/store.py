"""Rows of resolution: who waits to be compared, what identifies whom, and the keys under which they are found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from hashlib import blake2b
from typing import Any

from connector_runner.infra.database import Row, Tx, execute, id_array, one, rows, tuples
from connector_runner.kernel import exact_json
from connector_runner.resolution.identity import Identity, Kind

KEY_CAP = 60
"""A key that more records have brings nobody together: it says too little, and pairs grow with its square."""


def token(kind: str, key: str) -> int:
    """A key as it is stored: a digest, signed as Postgres has it."""
    digest = blake2b(f"{kind}|{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def request(tx: Tx, workspace_id: str, kind: str, entity_ids: Iterable[str]) -> None:
    """Ask for entities to be compared anew."""
    execute(
        tx,
        "INSERT INTO pending_resolution (workspace_id, entity_id, kind)"
        " SELECT :ws, id, :kind FROM unnest(CAST(:ids AS uuid[])) id ORDER BY id"
        " ON CONFLICT (workspace_id, kind, entity_id) DO UPDATE SET requested_at = clock_timestamp()",
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
        "  AND i.entity_id = e.entity_id) ON CONFLICT DO NOTHING",
        ws=workspace_id,
        kinds=list(kinds),
    )


def request_all(tx: Tx, workspace_id: str, kind: str) -> int:
    """Ask for every entity of a kind to be compared anew; how many."""
    return execute(
        tx,
        "INSERT INTO pending_resolution (workspace_id, entity_id, kind) SELECT workspace_id, entity_id, kind"
        " FROM identity WHERE workspace_id = :ws AND kind = :kind ON CONFLICT DO NOTHING",
        ws=workspace_id,
        kind=kind,
    )


def workspaces_waiting(tx: Tx) -> list[str]:
    """Workspaces in which entities wait to be compared; for a sweep."""
    found = rows(tx, "SELECT DISTINCT workspace_id FROM pending_resolution ORDER BY workspace_id")
    return [row["workspace_id"] for row in found]


def waiting(tx: Tx, workspace_id: str) -> int:
    """How many entities wait to be compared."""
    row = one(tx, "SELECT count(*) AS n FROM pending_resolution WHERE workspace_id = :ws", ws=workspace_id)
    return int(row["n"]) if row else 0


def lock_kind(tx: Tx, workspace_id: str, kind: str) -> None:
    """Let one transaction at a time decide who is the same among the records of a kind."""
    execute(tx, "SELECT pg_advisory_xact_lock(hashtextextended(:name, 7))", name=f"resolution|{workspace_id}|{kind}")


def take(tx: Tx, workspace_id: str, kind: str, limit: int) -> list[str]:
    """Take up to ``limit`` entities that wait, those first that have waited longest."""
    found = rows(
        tx,
        "DELETE FROM pending_resolution WHERE workspace_id = :ws AND kind = :kind AND entity_id IN (SELECT entity_id"
        " FROM pending_resolution WHERE workspace_id = :ws AND kind = :kind ORDER BY requested_at, entity_id"
        " LIMIT :n FOR UPDATE SKIP LOCKED) RETURNING entity_id",
        ws=workspace_id,
        kind=kind,
        n=limit,
    )
    return sorted(row["entity_id"] for row in found)


def states(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> list[Row]:
    """Entities as they stand: ``entity_id``, ``canonical_id``, ``entity_type``, ``status``, ``state``."""
    return rows(
        tx,
        "SELECT entity_id, canonical_id, entity_type, status, state FROM projection"
        " WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=id_array(entity_ids),
    )


def identities(tx: Tx, workspace_id: str, entity_ids: Iterable[str]) -> dict[str, Identity]:
    """What identifies these entities, of those that were compared before."""
    found = tuples(
        tx,
        "SELECT entity_id, kind, body FROM identity WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[]))",
        ws=workspace_id,
        ids=id_array(sorted(set(entity_ids))),
    )
    return {entity: _identity(entity, kind, body) for entity, kind, body in found}


def save_identities(tx: Tx, workspace_id: str, people: Sequence[Identity], keys: Mapping[str, Sequence[int]]) -> None:
    """Keep what identifies these entities now, and the keys under which they are found."""
    execute(
        tx,
        "INSERT INTO identity (workspace_id, entity_id, kind, body)"
        " SELECT :ws, entity_id, kind, body FROM jsonb_to_recordset(CAST(:people AS jsonb))"
        "  AS p (entity_id uuid, kind text, body jsonb) ORDER BY entity_id"
        " ON CONFLICT (workspace_id, entity_id) DO UPDATE SET kind = excluded.kind, body = excluded.body",
        ws=workspace_id,
        people=exact_json.dumps([{"entity_id": p.record, "kind": p.kind, "body": _body(p)} for p in people]),
    )
    owners = [entity for entity in sorted(keys) for _ in keys[entity]]
    tokens = [value for entity in sorted(keys) for value in keys[entity]]
    execute(
        tx,
        "WITH wanted AS (SELECT unnest(CAST(:owners AS uuid[])) AS entity_id,"
        "  unnest(CAST(:tokens AS bigint[])) AS token),"
        " gone AS (DELETE FROM blocking_key b WHERE b.workspace_id = :ws AND b.entity_id = ANY(CAST(:ids AS uuid[]))"
        "  AND NOT EXISTS (SELECT 1 FROM wanted w WHERE w.entity_id = b.entity_id AND w.token = b.token))"
        " INSERT INTO blocking_key (workspace_id, token, entity_id) SELECT :ws, token, entity_id FROM wanted"
        " ON CONFLICT DO NOTHING",
        ws=workspace_id,
        owners=id_array(owners),
        tokens="{" + ",".join(map(str, tokens)) + "}",
        ids=id_array(sorted(keys)),
    )


def forget(tx: Tx, workspace_id: str, entity_ids: Sequence[str]) -> None:
    """Drop what identified entities that are not there any more, and all evidence about them."""
    ids = id_array(entity_ids)
    for table in ("identity", "blocking_key"):
        execute(
            tx,
            f"DELETE FROM {table} WHERE workspace_id = :ws AND entity_id = ANY(CAST(:ids AS uuid[]))",
            ws=workspace_id,
            ids=ids,
        )


def holders(tx: Tx, workspace_id: str, tokens: Iterable[int]) -> dict[int, list[str]]:
    """Key -> the entities that have it; a key beyond the cap with one more than the cap."""
    wanted = sorted(set(tokens))
    found: dict[int, list[str]] = {}
    for value, entity in tuples(
        tx,
        "SELECT t.token, b.entity_id FROM unnest(CAST(:tokens AS bigint[])) AS t (token) CROSS JOIN LATERAL ("
        "  SELECT entity_id FROM blocking_key k WHERE k.workspace_id = :ws AND k.token = t.token LIMIT :most) b",
        ws=workspace_id,
        tokens="{" + ",".join(map(str, wanted)) + "}",
        most=KEY_CAP + 1,
    ):
        found.setdefault(value, []).append(entity)
    return found


def _body(person: Identity) -> dict[str, Any]:
    body: dict[str, Any] = {k: value for k, value in asdict(person).items() if value and k not in ("record", "kind")}
    for name, value in body.items():
        if isinstance(value, (set, frozenset)):
            body[name] = sorted(value)
    return body


def _identity(entity_id: str, kind: Kind, body: dict[str, Any]) -> Identity:
    sets: dict[str, Any] = {
        name: frozenset(body[name]) for name in ("family_parts", "phones", "emails", "specialties") if name in body
    }
    pairs = frozenset((system, value) for system, value in body.get("identifiers", ()))
    birth = tuple(body["birth"]) if body.get("birth") else None
    return Identity(**{**body, **sets, "record": entity_id, "kind": kind, "identifiers": pairs, "birth": birth})
