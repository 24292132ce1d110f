"""What a migration makes of rows that are there already."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from connector_runner.infra import migrations
from connector_runner.infra.database import Database, execute, one, rows
from connector_runner.kernel.ids import entity_id_of, new_id
from connector_runner.world import reading
from tests.conftest import Administration

PATIENT, DOCTOR = "ehr:Patient:1", "ehr:Practitioner:1"
VISITS = 2_500  # more than go on one page


@pytest.fixture
def url(administration: Administration) -> Iterator[str]:
    """An empty database."""
    name = f"upgrade_{secrets.token_hex(4)}"
    yield administration.create(name)
    administration.drop(name)


def relate(database: Database, workspace: str, visits: int) -> set[tuple[str, str, str, bool]]:
    """Rows as they were before relationships were kept a page at a time; what they say."""
    said = [
        (entity_id_of(workspace, f"ehr:Encounter:{visit}"), name, entity_id_of(workspace, target), by_identifier)
        for visit in range(visits)
        for name, target, by_identifier in (("patient", PATIENT, False), ("participant", DOCTOR, True))
    ]
    with database.begin(workspace) as tx:
        for entity, name, target, by_identifier in said:
            execute(
                tx,
                "INSERT INTO relationship (workspace_id, entity_id, name, target_id, by_identifier)"
                " VALUES (:ws, :entity, :name, :target, :by)",
                ws=workspace,
                entity=entity,
                name=name,
                target=target,
                by=by_identifier,
            )
    return set(said)


def related(database: Database, workspace: str) -> list[tuple[str, str, str, bool]]:
    with database.begin(workspace) as tx:
        found = rows(tx, "SELECT entity_id, name, target_id, by_identifier FROM relationship")
    return [(row["entity_id"], row["name"], row["target_id"], row["by_identifier"]) for row in found]


def test_relationships_of_before_are_on_pages_each_once_and_in_their_workspace(url: str) -> None:
    migrations.upgrade(url, to="0006")
    database, mine, other = Database(url), new_id(), new_id()
    said = {mine: relate(database, mine, VISITS), other: relate(database, other, 3)}
    migrations.upgrade(url)
    for workspace, expected in said.items():
        found = related(database, workspace)
        assert len(found) == len(expected)
        assert set(found) == expected
    with database.begin(mine) as tx:
        pages = one(tx, "SELECT count(*) AS n, max(cardinality(entity_ids)) AS longest FROM relationship_page")
        back = rows(tx, "SELECT 1 FROM relationship WHERE target_id = :id", id=entity_id_of(mine, PATIENT))
    assert pages is not None
    assert (pages["n"], pages["longest"] <= 2_000) == (4, True)
    assert len(back) == VISITS
    with database.begin(new_id()) as tx:
        assert rows(tx, "SELECT 1 FROM relationship_page") == []
    database.dispose()


def test_the_state_that_an_entity_had_is_still_told(url: str) -> None:
    migrations.upgrade(url, to="0009")
    database, workspace = Database(url), new_id()
    entity = entity_id_of(workspace, PATIENT)
    with database.begin(workspace) as tx:
        execute(
            tx,
            "INSERT INTO entity (workspace_id, entity_id, entity_type, canonical_id, state, provenance, confidence,"
            " event_count, first_seen_at, last_event_at, updated_at) VALUES (:ws, :id, 'patient', :name,"
            """ '{"gender": "female"}', '{"by": []}', 0.9, 1, now(), now(), now())""",
            ws=workspace,
            id=entity,
            name=PATIENT,
        )
    migrations.upgrade(url)
    with database.begin(workspace) as tx:
        told = reading.row(tx, workspace, PATIENT)
    assert told is not None
    assert (told["state"], told["provenance"]) == ({"gender": "female"}, {"by": []})
    database.dispose()


def test_what_was_compared_before_knows_its_keys_and_is_counted(url: str) -> None:
    migrations.upgrade(url, to="0027")
    database, mine, other = Database(url), new_id(), new_id()
    held = {mine: {PATIENT: [3, -5, 8], DOCTOR: []}, other: {PATIENT: [3]}}
    for workspace, people in held.items():
        with database.begin(workspace) as tx:
            for name, tokens in people.items():
                entity = entity_id_of(workspace, name)
                execute(tx, "INSERT INTO identity VALUES (:ws, :id, 'patient', '{}')", ws=workspace, id=entity)
                for token in tokens:
                    execute(tx, "INSERT INTO blocking_key VALUES (:ws, :key, :id)", ws=workspace, key=token, id=entity)
    with database.begin(mine) as tx:
        execute(
            tx,
            "INSERT INTO population (workspace_id, kind, size, counted, counted_at, rules)"
            " VALUES (:ws, 'patient', 1414, 1300, now(), 'patient-2/1')",
            ws=mine,
        )
    migrations.upgrade(url)
    for workspace, people in held.items():
        with database.begin(workspace) as tx:
            kept = {row["entity_id"]: row["tokens"] for row in rows(tx, "SELECT entity_id, tokens FROM identity")}
            counted = one(tx, "SELECT size, records, counted, rules FROM population WHERE kind = 'patient'")
        assert kept == {entity_id_of(workspace, name): sorted(tokens) for name, tokens in people.items()}
        before = (1414, 1300, "patient-2/1") if workspace == mine else (1000, None, None)
        assert counted is not None
        assert (counted["size"], counted["counted"], counted["rules"]) == before
        assert counted["records"] == len(people)
    database.dispose()
