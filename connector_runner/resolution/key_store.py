"""Rows of blocking keys: who is found under which, and whom they bring together.

A key is put into ``recent_key`` first, and with many others into ``blocking_key`` later (see ``shelve``). The keys of
one record are scattered over an index that has gigabytes for a million: put in one by one, each has a page of its own
read, changed, logged whole and written back; of a tenth of all at once each page gets several.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

from connector_runner.infra.database import Tx, execute, id_array, lock, one, tuples
from connector_runner.resolution.blocking import is_broad, is_loose, keys, place_of
from connector_runner.resolution.clusters import Pair, pair
from connector_runner.resolution.identity import Identity

KEY_CAP: Final = 20
"""A key that more records have brings nobody together: it says too little, and pairs grow with its square."""
BROAD_CAP: Final = 8
"""The same of a broad key: by then another one brings together who is the same, and this one strangers mostly."""

BROAD: Final = 1
"""In a token: strangers have it in common, so it is capped sooner."""
LOOSE: Final = 2
"""In a token: it brings together only those of whom one says no day of birth (see blocking.is_loose)."""
UNDATED: Final = 4
"""In a token, besides the loose one that it goes with: of those only who say no day of birth."""
_FLAGS: Final = BROAD | LOOSE | UNDATED
_BEYOND: Final = 1 << 64
LOWEST: Final = -(1 << 63)
"""No token is below."""
_BOTH: Final = "SELECT workspace_id, token, entity_id FROM {}"
HELD: Final = f"({_BOTH.format('blocking_key')} UNION ALL {_BOTH.format('recent_key')})"
"""All keys, to be read from: ``workspace_id token entity_id``."""
SPEAKS: Final = (
    "NOT EXISTS (SELECT 1 FROM capped_key c WHERE c.workspace_id = :ws AND c.token = {0})"
    " AND NOT EXISTS (SELECT 1 FROM crowded_phone c WHERE c.workspace_id = :ws AND c.token = {0})"
)
"""That a key brings people together."""


def token(kind: str, key: str) -> int:
    """A key as it is stored: half of it a digest of its place, half of itself, with what it is in the last bits."""
    return _token(kind, key, _digest(kind, place_of(key)))


def tokens(person: Identity) -> list[int]:
    """The keys of a record as they are stored; a loose one twice where the record says no day of birth."""
    places: dict[str, int] = {}
    made = []
    for key in keys(person):
        place = place_of(key)
        if place not in places:
            places[place] = _digest(person.kind, place)
        made.append(_token(person.kind, key, places[place]))
        if made[-1] & LOOSE and not person.is_dated:
            made.append(made[-1] | UNDATED)
    return made


def asked(tokens: Iterable[int]) -> set[int]:
    """The keys to look up first for whom these bring together: of a loose one, who has it and says no day of birth."""
    return {value | UNDATED if value & LOOSE else value for value in tokens}


def loose(tokens: Iterable[int]) -> set[int]:
    """The loose keys with which keys of who says no day of birth go."""
    return {value & ~UNDATED for value in tokens if value & UNDATED}


def _token(kind: str, key: str, place: int) -> int:
    # A digest of another length has nothing to do with that of the place, even where the key is its own place.
    found = place << 32 | _digest(kind, key, 8) & ~_FLAGS & 0xFFFFFFFF
    if kind == "patient":
        found |= BROAD * is_broad(key) | LOOSE * is_loose(key)
    return found - _BEYOND if found >= _BEYOND >> 1 else found


def _digest(kind: str, text: str, size: int = 4) -> int:
    return int.from_bytes(blake2b(f"{kind}|{text}".encode("utf-8", "surrogatepass"), digest_size=size).digest(), "big")


def put(tx: Tx, workspace_id: str, held: list[tuple[int, str]]) -> None:
    """Note who has which keys, (key, entity); none of it was noted before."""
    if held:
        execute(
            tx,
            "INSERT INTO recent_key (workspace_id, token, entity_id) SELECT :ws, token, entity_id"
            " FROM unnest(CAST(:tokens AS bigint[]), CAST(:owners AS uuid[])) AS k (token, entity_id)",
            ws=workspace_id,
            **_columns(held),
        )


def take_out(tx: Tx, workspace_id: str, held: list[tuple[int, str]]) -> None:
    """Note that these have these keys no more."""
    if held:
        _lock(tx, workspace_id, shared=True)
        execute(
            tx,
            "WITH gone AS MATERIALIZED (SELECT * FROM unnest(CAST(:tokens AS bigint[]), CAST(:owners AS uuid[]))"
            "  AS k (token, entity_id)), recent AS (DELETE FROM recent_key b USING gone"
            "  WHERE b.workspace_id = :ws AND b.token = gone.token AND b.entity_id = gone.entity_id)"
            " DELETE FROM blocking_key b USING gone"
            " WHERE b.workspace_id = :ws AND b.token = gone.token AND b.entity_id = gone.entity_id",
            ws=workspace_id,
            **_columns(held),
        )


def recent(tx: Tx, workspace_id: str, most: int) -> int:
    """How many keys wait to be shelved, counted up to ``most``."""
    row = one(
        tx,
        "SELECT count(*) AS n FROM (SELECT FROM recent_key WHERE workspace_id = :ws LIMIT :most) k",
        ws=workspace_id,
        most=most,
    )
    return int(row["n"]) if row else 0


def shelve(tx: Tx, workspace_id: str, start: int, some: int, *, doubled: bool = False) -> int | None:
    """Put about so many recent keys, from ``start`` upwards, to all the others; the last of them, None without any.

    ``doubled``: some stand there already, which otherwise is refused (Conflict, once the transaction ends). To look for
    each of them first costs as much as to put it there.
    """
    _lock(tx, workspace_id)
    found = one(
        tx,
        "SELECT max(token) AS last FROM (SELECT token FROM recent_key WHERE workspace_id = :ws AND token >= :start"
        " ORDER BY token LIMIT :some) k",
        ws=workspace_id,
        start=start,
        some=some,
    )
    if found is None or found["last"] is None:
        return None
    execute(
        tx,
        "WITH moved AS (DELETE FROM recent_key WHERE workspace_id = :ws AND token BETWEEN :start AND :last"
        "  RETURNING token, entity_id) INSERT INTO blocking_key (workspace_id, token, entity_id)"
        f" SELECT :ws, token, entity_id FROM moved ORDER BY token, entity_id{' ON CONFLICT DO NOTHING' * doubled}",
        ws=workspace_id,
        start=start,
        last=found["last"],
    )
    return int(found["last"])


def _lock(tx: Tx, workspace_id: str, *, shared: bool = False) -> None:
    """Take no key out while it is shelved: a statement that waited for the row would find it in neither table."""
    lock(tx, f"blocking keys|{workspace_id}", shared=shared)


def _columns(held: list[tuple[int, str]]) -> dict[str, str]:
    """Keys and who has them, in the order of the index: neighbours there are put in one after the other."""
    held.sort()
    return {"tokens": "{" + ",".join([str(value) for value, _ in held]) + "}", "owners": id_array(of for _, of in held)}


def holders(tx: Tx, workspace_id: str, tokens: Iterable[int]) -> dict[int, list[str] | None]:
    """Key -> who has it, of keys that several have; None where more have it than are compared.

    Of who says no day of birth also where it is one alone. A loose key brings together nobody without one of those,
    and is left out then: among a million, most names and postal codes are of too many, and most people are dated.
    """
    found = _holders(tx, workspace_id, asked(tokens))
    met = loose(found)
    return found | _holders(tx, workspace_id, met) if met else found


def _holders(tx: Tx, workspace_id: str, tokens: Iterable[int]) -> dict[int, list[str] | None]:
    found = tuples(
        tx,
        "SELECT t.token, CASE WHEN cardinality(h.ids) <= t.most THEN CAST(h.ids AS text) END FROM (SELECT token,"
        f"  CASE WHEN token & {BROAD} > 0 THEN CAST(:broad AS int) ELSE CAST(:cap AS int) END AS most"
        "  FROM unnest(CAST(:tokens AS bigint[])) AS k (token)) t"
        f" CROSS JOIN LATERAL (SELECT array_agg(entity_id) AS ids FROM (SELECT entity_id FROM {HELD} k"
        "  WHERE k.workspace_id = :ws AND k.token = t.token LIMIT t.most + 1) b"
        f"  HAVING count(*) > CASE WHEN t.token & {UNDATED} > 0 THEN 0 ELSE 1 END) h",
        ws=workspace_id,
        tokens=token_array(tokens),
        broad=BROAD_CAP,
        cap=KEY_CAP,
    )
    return {value: None if ids is None else ids[1:-1].split(",") for value, ids in found}


def brought_together(held_by: Mapping[int, Sequence[str]], among: Collection[str]) -> set[Pair]:
    """The pairs that keys (see holders) bring together of which one is among these."""
    pairs: set[Pair] = set()
    for value, ids in held_by.items():
        if value & UNDATED:
            continue
        undated = held_by.get(value | UNDATED, ()) if value & LOOSE else ids
        for holder in ids:
            if holder in among:
                met = ids if holder in undated else undated
                pairs.update(pair(holder, other) for other in met if other != holder)
    return pairs


def token_array(tokens: Iterable[int]) -> str:
    """Keys as one parameter for ``CAST(… AS bigint[])``."""
    return "{" + ",".join(map(str, sorted(set(tokens)))) + "}"
