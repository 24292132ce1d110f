"""A population that is there already, put beside the product: what identifies people and their keys, by COPY.

It stands for records that were landed and compared one by one, which a million of would take an hour. Nobody of it is
linked, and no evidence is kept; names, keys that are capped and phones of many are counted as the product counts them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from connector_runner.infra.database import Database, Tx, copy_rows, execute
from connector_runner.kernel import exact_json
from connector_runner.kernel.ids import entity_id_of
from connector_runner.resolution import key_store, population_store, store
from connector_runner.resolution.crowds import MANY_NAMES, phone_token
from connector_runner.resolution.identity import Identity, Kind, identity_of
from connector_runner.unification.loader import load_mappings
from connector_runner.unification.model import MappingContext

from .landing import Arrival

_MAPPINGS = Path(__file__).resolve().parents[2] / "mappings"
_CHUNK = 20_000
_RECENT = 20
"""The keys of one record in so many are not shelved yet: half of what may wait (see service.RECENT_KEYS_EACH)."""
_KIND: Final[Kind] = "patient"
_TABLES = ("identity", "blocking_key", "recent_key", "capped_key", "crowded_phone", "name_share", "pair_evidence")


def seed(database: Database, workspace: str, arrivals: Iterable[Arrival]) -> None:
    """Have the patients of ``arrivals`` compared, so to say; once a workspace."""
    people = _identities(workspace, arrivals)
    given_on: dict[int, set[str]] = defaultdict(set)
    while some := list(islice(people, _CHUNK)):
        for person in some:
            for number in person.phones:
                given_on[phone_token(_KIND, number)].add(person.given[:3])
        _copy(database, workspace, some)
    crowded = [[workspace, token] for token, names in given_on.items() if len(names) > MANY_NAMES]
    with database.begin(workspace) as tx:
        _count(tx, workspace, crowded)


def analyze(database: Database) -> None:
    """What autovacuum does in time."""
    with database.engine.connect() as connection:
        for table in _TABLES:
            connection.exec_driver_sql(f"VACUUM ANALYZE {table}")


def _identities(workspace: str, arrivals: Iterable[Arrival]) -> Iterator[Identity]:
    mapping = load_mappings(_MAPPINGS).inbound("fhir_r4", "Patient")
    assert mapping is not None
    for arrival in arrivals:
        facts = mapping.map(arrival.resource, MappingContext(arrival.source)).facts
        yield identity_of(entity_id_of(workspace, arrival.name), _KIND, facts, arrival.name)


def _copy(database: Database, workspace: str, people: list[Identity]) -> None:
    # All of it is made before: a transaction that lies idle for long is ended.
    under = {person.record: sorted(key_store.tokens(person)) for person in people}
    bodies = [
        (person.record, exact_json.dumps(store.body_of(person)), key_store.token_array(under[person.record]))
        for person in people
    ]
    lately = set(list(under)[::_RECENT])
    found = sorted((token, record, record in lately) for record, tokens in under.items() for token in tokens)
    with database.begin(workspace) as tx:
        execute(tx, "CREATE TEMP TABLE seeded (entity_id uuid, body jsonb, tokens bigint[]) ON COMMIT DROP")
        execute(tx, "CREATE TEMP TABLE seeded_key (token bigint, entity_id uuid, recent bool) ON COMMIT DROP")
        copy_rows(tx, "seeded", ["entity_id", "body", "tokens"], bodies)
        copy_rows(tx, "seeded_key", ["token", "entity_id", "recent"], found)
        execute(
            tx,
            "INSERT INTO identity (workspace_id, entity_id, kind, body, tokens)"
            " SELECT :ws, entity_id, :kind, body, tokens FROM seeded",
            ws=workspace,
            kind=_KIND,
        )
        for table, which in (("blocking_key", "NOT recent"), ("recent_key", "recent")):
            put = f"INSERT INTO {table} SELECT :ws, token, entity_id FROM seeded_key WHERE {which}"
            execute(tx, put, ws=workspace)
        population_store.grow(tx, workspace, _KIND, len(people))


def _count(tx: Tx, workspace: str, crowded: list[list[object]]) -> None:
    execute(
        tx,
        f"INSERT INTO capped_key SELECT workspace_id, token FROM {key_store.HELD} k WHERE workspace_id = :ws"
        # Everybody in the sandbox says when they were born; a loose key is capped only where somebody does not.
        f" AND token & {key_store.LOOSE} = 0"
        f" GROUP BY 1, 2 HAVING count(*) > CASE WHEN token & {key_store.BROAD} > 0 THEN CAST(:broad AS int)"
        " ELSE CAST(:cap AS int) END"
        " ON CONFLICT DO NOTHING",
        ws=workspace,
        broad=key_store.BROAD_CAP,
        cap=key_store.KEY_CAP,
    )
    execute(tx, "CREATE TEMP TABLE seeded_phone (workspace_id uuid, token bigint) ON COMMIT DROP")
    copy_rows(tx, "seeded_phone", ["workspace_id", "token"], crowded)
    execute(tx, "INSERT INTO crowded_phone SELECT * FROM seeded_phone ON CONFLICT DO NOTHING")
    population_store.count_again(tx, workspace, _KIND, now=datetime.now(UTC), slack=0.0)
    execute(tx, "DELETE FROM pending_resolution WHERE workspace_id = :ws AND identified", ws=workspace)
