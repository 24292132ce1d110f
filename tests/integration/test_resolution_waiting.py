"""Who comes while others wait to be compared: taken before those who are only weighed anew, and linked at once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connector_runner.infra.database import Database, execute, rows
from connector_runner.resolution import key_store, service, store
from tests.integration.test_resolution import ADA, NOW, called, events, grouped, say, work_off

KNOWN, NEW = "ehr:Patient:1", "crm:Patient:1"
LATER = NOW + timedelta(hours=1)
OTHER = called("Tuva", "Lindqvist") | {"birthDate": "1971-11-23"}
BOB = ADA | called("Emeka") | {"birthDate": "1979-11-20"}
"""Of Ada's household."""
MOVED = called("Tuva", "Lindqvist") | {
    "birthDate": "1971-06-17",
    "telecom": [{"system": "phone", "value": "+16175550177"}],
    "address": [{"line": ["7 Mill Lane"], "city": "Salem", "state": "MA", "postalCode": "01970"}],
}
"""Nothing of what she was found by before."""


def test_who_changed_goes_before_those_who_are_weighed_anew(database: Database, workspace: str) -> None:
    """When names were counted, a tenth of a million may wait: a newcomer behind them would wait for minutes."""
    older = [say(database, workspace, f"ehr:Patient:{number}", ADA) for number in range(5)]
    work_off(database, workspace)
    with database.begin(workspace) as tx:
        assert store.request_all(tx, workspace, "patient") == len(older)
    changed = say(database, workspace, NEW, OTHER)
    with database.begin(workspace) as tx:
        assert list(store.take(tx, workspace, "patient", 1)) == [changed]
        assert set(store.take(tx, workspace, "patient", 9)) == set(older)


def test_who_is_weighed_anew_and_changes_meanwhile_goes_first(database: Database, workspace: str) -> None:
    entities = [say(database, workspace, f"ehr:Patient:{number}", ADA) for number in range(3)]
    work_off(database, workspace)
    with database.begin(workspace) as tx:
        store.request_all(tx, workspace, "patient")
        store.request(tx, workspace, "patient", [entities[1]])
        assert store.take(tx, workspace, "patient", 1) == {entities[1]: False}


def test_the_next_batch_of_many_who_wait_is_read_from_the_index(database: Database, workspace: str) -> None:
    with database.begin(workspace) as tx:
        execute(
            tx,
            "INSERT INTO pending_resolution (workspace_id, entity_id, kind, identified)"
            " SELECT :ws, gen_random_uuid(), 'patient', n % 10 > 0 FROM generate_series(1, 5000) n",
            ws=workspace,
        )
        plan = rows(
            tx,
            "EXPLAIN SELECT entity_id, identified FROM pending_resolution WHERE workspace_id = :ws AND kind = 'patient'"
            f" ORDER BY {store.IN_TURN} LIMIT 100 FOR UPDATE SKIP LOCKED",
            ws=workspace,
        )
    said = "\n".join(str(row["QUERY PLAN"]) for row in plan)
    assert "pending_resolution_turn" in said
    assert "Sort" not in said


@pytest.mark.parametrize("table", ["pair_evidence", "cluster_member"])
def test_no_index_of_what_is_near_a_record_begins_with_the_workspace_but_the_key(
    database: Database, workspace: str, table: str
) -> None:
    """Of a new workspace the planner expects no row, and takes the newest such index, to walk the workspace by it."""
    with database.begin(workspace) as tx:
        found = rows(
            tx,
            "SELECT a.attname, i.indisprimary FROM pg_index i"
            " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
            " WHERE i.indrelid = CAST(:table AS regclass)",
            table=table,
        )
    assert len(found) == 2
    assert {row["indisprimary"] for row in found if row["attname"] == "workspace_id"} == {True}


@pytest.mark.parametrize("identified", [True, False])
def test_a_newcomer_is_linked_to_one_who_waits_to_be_compared_anew(
    database: Database, workspace: str, identified: bool
) -> None:
    """Left to the turn of who waits, the newcomer would be taken for nobody's record until then, and made in a sink."""
    known = say(database, workspace, KNOWN, ADA)
    work_off(database, workspace)
    say(database, workspace, NEW, ADA)
    _waits_behind(database, workspace, known, identified=identified)
    assert service.resolve(database, workspace, now=NOW, limit=1).made == 1
    assert grouped(database, workspace) == {frozenset({KNOWN, NEW})}
    with database.begin(workspace) as tx:
        assert store.waiting(tx, workspace) == 0, "it has had its turn"
    work_off(database, workspace)
    assert grouped(database, workspace) == {frozenset({KNOWN, NEW})}


def test_a_newcomer_is_held_against_who_waits_as_they_stand_now(database: Database, workspace: str) -> None:
    """By what they were read to be before, a record that was corrected would be linked until its turn comes."""
    known = say(database, workspace, KNOWN, ADA)
    work_off(database, workspace)
    say(database, workspace, NEW, ADA)
    say(database, workspace, KNOWN, OTHER | {"telecom": ADA["telecom"]}, at=LATER)
    _waits_behind(database, workspace, known, identified=False)
    assert service.resolve(database, workspace, now=NOW, limit=1).made == 0
    work_off(database, workspace)
    assert grouped(database, workspace) == {frozenset({KNOWN}), frozenset({NEW})}


def test_a_newcomer_is_not_linked_to_who_was_deleted_meanwhile(database: Database, workspace: str) -> None:
    known = say(database, workspace, KNOWN, ADA)
    work_off(database, workspace)
    say(database, workspace, NEW, ADA)
    _waits_behind(database, workspace, known, identified=False)
    with database.begin(workspace) as tx:
        execute(tx, "UPDATE projection SET status = 'deleted' WHERE entity_id = :id", id=known)
    assert service.resolve(database, workspace, now=NOW, limit=1).made == 0


def test_a_newcomer_joins_no_two_of_whom_one_is_another_person_by_now(database: Database, workspace: str) -> None:
    """With what one of them is now, and the link of what it was, three would be one, and two charts mixed."""
    say(database, workspace, "ehr:Patient:2", ADA)
    corrected = say(database, workspace, KNOWN, ADA)
    work_off(database, workspace)
    say(database, workspace, NEW, BOB)
    say(database, workspace, KNOWN, BOB, at=LATER)
    _waits_behind(database, workspace, corrected, identified=False)
    service.resolve(database, workspace, now=NOW, limit=1)
    assert grouped(database, workspace) == {frozenset({"ehr:Patient:2"}), frozenset({KNOWN, NEW})}


def test_a_newcomer_is_not_linked_to_who_must_never_match_by_now(database: Database, workspace: str) -> None:
    known = say(database, workspace, KNOWN, ADA)
    work_off(database, workspace)
    say(database, workspace, NEW, ADA)
    say(database, workspace, KNOWN, ADA | called("Adaeze", "DONOTUSE"), at=LATER)
    _waits_behind(database, workspace, known, identified=False)
    assert service.resolve(database, workspace, now=NOW, limit=1).made == 0


@pytest.mark.parametrize("along", [service.ALONG, 0])
@pytest.mark.parametrize("by_rules", [True, False])
def test_a_link_stays_where_both_are_found_by_other_keys_now(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch, by_rules: bool, along: int
) -> None:
    """One after the other, no key of the first would bring it to what is stored of the second: parted, and linked anew.

    Sinks would hear of both: what one record lent the other is taken back and written again, or a record made twice.
    """
    monkeypatch.setattr(service, "ALONG", along)
    for name in (KNOWN, NEW):
        say(database, workspace, name, ADA)
    work_off(database, workspace)
    service.recount(database, workspace, now=NOW)
    if by_rules:
        keys = key_store.keys
        monkeypatch.setattr(key_store, "keys", lambda person: frozenset(f"new|{key}" for key in keys(person)))
        monkeypatch.setattr("connector_runner.resolution.evidence.RULES", -1)
        assert service.recount(database, workspace, now=NOW) == 2
    else:
        for name in (KNOWN, NEW):
            say(database, workspace, name, MOVED, at=LATER)
    for _ in range(3):
        service.resolve(database, workspace, now=NOW, limit=1)
        assert grouped(database, workspace) == {frozenset({KNOWN, NEW})}
    assert [event["action"] for event in events(database, workspace)] == ["made"]
    with database.begin(workspace) as tx:
        assert store.waiting(tx, workspace) == 0


def test_a_record_that_is_only_a_phone_is_looked_at_when_another_gives_the_phone_up(
    database: Database, workspace: str
) -> None:
    """While two had it, it was nobody's: now it is the other one's, as it would be had they come like this."""
    only = {"telecom": ADA["telecom"]}
    for name, said in (("ehr:Patient:1", ADA), ("ehr:Patient:2", BOB), ("crm:Patient:9", only)):
        say(database, workspace, name, said)
    work_off(database, workspace)
    assert len(grouped(database, workspace)) == 3
    another = BOB | {"telecom": [{"system": "phone", "value": "+16175550177"}]}
    say(database, workspace, "ehr:Patient:2", another, at=LATER)
    service.resolve(database, workspace, now=NOW)
    assert grouped(database, workspace) == {
        frozenset({"ehr:Patient:1", "crm:Patient:9"}),
        frozenset({"ehr:Patient:2"}),
    }


def _waits_behind(database: Database, workspace: str, entity: str, *, identified: bool) -> None:
    with database.begin(workspace) as tx:
        execute(
            tx,
            "INSERT INTO pending_resolution (workspace_id, entity_id, kind, identified, requested_at)"
            " VALUES (:ws, :id, 'patient', :identified, now() + interval '1 minute')"
            " ON CONFLICT (workspace_id, kind, entity_id) DO UPDATE SET requested_at = excluded.requested_at,"
            "  identified = excluded.identified",
            ws=workspace,
            id=entity,
            identified=identified,
        )
