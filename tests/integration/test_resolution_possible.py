"""Possible matches are asked about once, and withdrawn when settled; lone phones, merges at a source, and places."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest

from connector_runner.infra.database import Database, rows
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import derived_id
from connector_runner.resolution import evidence_store, service
from connector_runner.resolution.answering import MatchHandler
from connector_runner.review import queue
from connector_runner.review.categories import priority_of
from connector_runner.review.items import MATCH, Answer, Item, Refused
from tests.integration.test_resolution import ADA, NOW, WORLD, called, events, grouped, say, work_off

LATER = NOW + timedelta(hours=1)
TWIN = ADA | called("Chioma")
ONLY_PHONE: dict[str, Any] = {"telecom": ADA["telecom"]}


def open_items(database: Database, workspace: str) -> list[Any]:
    with database.begin(workspace) as tx:
        return rows(tx, "SELECT * FROM review_item WHERE kind = 'match' AND status = 'pending'")


def answer(database: Database, workspace: str, item_id: str, action: Any) -> Item | Refused:
    with database.begin(workspace) as tx:
        handlers = {MATCH: MatchHandler()}
        return queue.decide(
            tx,
            handlers,
            workspace,
            item_id,
            Answer(action, "ruth", "asked", {"name": {}} if action == "corrected" else None),
            now=NOW,
        )


@pytest.fixture
def twins(database: Database, workspace: str) -> tuple[str, str]:
    """Two records that differ in the given name alone."""
    ids = say(database, workspace, "ehr:Patient:1", ADA), say(database, workspace, "crm:Patient:1", TWIN)
    work_off(database, workspace)
    return ids


def test_a_person_is_asked_once_about_a_pair(database: Database, workspace: str, twins: tuple[str, str]) -> None:
    (item,) = open_items(database, workspace)
    assert {item["entity_id"], item["other_id"]} == set(twins)
    assert (item["entity_type"], item["reason"], item["analysis"]["held"]) == (
        "patient",
        "possible_match",
        "given_name",
    )
    assert (item["category"], item["priority"]) == ("identity", priority_of("identity", None, NOW))
    assert item["priority"] > priority_of("allergy", None, NOW), "the danger to somebody's life goes first"
    say(database, workspace, "ehr:Patient:1", ADA | {"gender": "female"}, at=LATER)
    work_off(database, workspace)
    assert [row["id"] for row in open_items(database, workspace)] == [item["id"]]


def test_an_answer_about_a_record_that_was_adopted_meanwhile_is_refused(
    database: Database, workspace: str, twins: tuple[str, str]
) -> None:
    (item,) = open_items(database, workspace)
    with database.begin(workspace) as tx:
        WORLD.adopt(tx, workspace, "crm:Patient:1", twins[0], derived_id(workspace, "crm"), now=NOW)
    refused = answer(database, workspace, item["id"], "rejected")
    assert isinstance(refused, Refused)
    assert (refused.code, "outbound undo" in refused.message) == ("one_entity", True)
    work_off(database, workspace)
    assert open_items(database, workspace) == [], "nobody is asked any more"


@pytest.mark.parametrize("other", ["ehr:Practitioner:1", "ehr:Appointment:1"])
def test_a_patient_is_neither_a_practitioner_nor_an_appointment(database: Database, workspace: str, other: str) -> None:
    """Two of different types in one cluster would be folded together, each under the lock of its own kind."""
    patient, another = (say(database, workspace, name, ADA) for name in ("ehr:Patient:1", other))
    work_off(database, workspace)
    with pytest.raises(BadRecord, match="of one type") as refused, database.begin(workspace) as tx:
        service.decide(tx, workspace, patient, another, same=True, actor="nurse", reason="x", now=NOW)
    assert refused.value.code == "other_kind"
    with database.begin(workspace) as tx:
        service.decide(tx, workspace, patient, another, same=False, actor="nurse", reason="x", now=NOW)
    work_off(database, workspace)
    assert {len(group) for group in grouped(database, workspace)} == {1}


def test_what_links_by_itself_is_not_asked_about(database: Database, workspace: str) -> None:
    for name in ("ehr:Patient:1", "crm:Patient:1"):
        say(database, workspace, name, ADA)
    work_off(database, workspace)
    assert open_items(database, workspace) == []


def test_two_clusters_are_one_question(database: Database, workspace: str, twins: tuple[str, str]) -> None:
    say(database, workspace, "ehr:Patient:2", ADA)
    say(database, workspace, "crm:Patient:2", TWIN)
    work_off(database, workspace)
    assert len(grouped(database, workspace)) == 2
    assert len(open_items(database, workspace)) == 1


def test_an_answer_of_same_joins_and_is_not_asked_again(
    database: Database, workspace: str, twins: tuple[str, str]
) -> None:
    answer(database, workspace, open_items(database, workspace)[0]["id"], "approved")
    work_off(database, workspace)
    assert grouped(database, workspace) == {frozenset({"ehr:Patient:1", "crm:Patient:1"})}
    assert events(database, workspace)[0]["method"] == "person"
    assert open_items(database, workspace) == []


def test_an_answer_of_different_sticks_for_their_clusters(
    database: Database, workspace: str, twins: tuple[str, str]
) -> None:
    answer(database, workspace, open_items(database, workspace)[0]["id"], "rejected")
    say(database, workspace, "ehr:Patient:2", ADA)
    say(database, workspace, "crm:Patient:1", TWIN | {"gender": "female"}, at=LATER)
    work_off(database, workspace)
    assert len(grouped(database, workspace)) == 2
    assert open_items(database, workspace) == []


def test_a_match_cannot_be_corrected(database: Database, workspace: str, twins: tuple[str, str]) -> None:
    found = answer(database, workspace, open_items(database, workspace)[0]["id"], "corrected")
    assert isinstance(found, Refused)
    assert found.code == "not_correctable"


def test_a_question_is_withdrawn_when_it_asks_itself_no_more(
    database: Database, workspace: str, twins: tuple[str, str]
) -> None:
    other = called("Tuva", "Lindqvist") | {"birthDate": "1990-07-08"}
    say(database, workspace, "crm:Patient:1", other, at=LATER)
    work_off(database, workspace)
    assert open_items(database, workspace) == []


def test_rejecting_after_accepting_parts_them_again(database: Database, workspace: str, twins: tuple[str, str]) -> None:
    """hapi-fhir#4745: a reject after an accept failed."""
    answer(database, workspace, open_items(database, workspace)[0]["id"], "approved")
    work_off(database, workspace)
    with database.begin(workspace) as tx:
        service.decide(tx, workspace, *twins, same=False, actor="ruth", reason="twins after all", now=LATER)
    service.resolve(database, workspace, now=LATER)
    assert len(grouped(database, workspace)) == 2


@pytest.mark.parametrize("seed", range(4))
def test_a_lone_phone_is_of_the_one_cluster_that_holds_it(database: Database, workspace: str, seed: int) -> None:
    said = [("ehr:Patient:1", ADA), ("crm:Patient:1", ADA), ("crm:Patient:9", ONLY_PHONE)]
    chance = random.Random(seed)
    chance.shuffle(said)
    for canonical, facts in said:
        say(database, workspace, canonical, facts)
        if chance.random() < 0.5:
            service.resolve(database, workspace, now=NOW)
    work_off(database, workspace)
    assert grouped(database, workspace) == {frozenset({"ehr:Patient:1", "crm:Patient:1", "crm:Patient:9"})}
    assert "only_phone" in {event["rule"] for event in events(database, workspace)}
    say(database, workspace, "ehr:Patient:2", ADA | called("Emeka") | {"birthDate": "1979-11-20"})
    service.resolve(database, workspace, now=NOW)
    assert frozenset({"crm:Patient:9"}) in grouped(database, workspace)
    assert frozenset({"ehr:Patient:1", "crm:Patient:1"}) in grouped(database, workspace)


def test_two_lone_phones_say_nothing_of_each_other(database: Database, workspace: str) -> None:
    for name in ("ehr:Patient:1", "crm:Patient:1"):
        say(database, workspace, name, ONLY_PHONE)
    work_off(database, workspace)
    assert len(grouped(database, workspace)) == 2


@pytest.mark.parametrize("kind", ["replaced-by", "replaces"])
def test_a_merge_at_the_source_is_a_link_whatever_the_records_say(
    database: Database, workspace: str, kind: str
) -> None:
    """hapi-fhir#4287: a merge in one direction and its mirror are the same link."""
    link = {"link": [{"other": {"reference": "Patient/2"}, "type": kind}]}
    say(database, workspace, "ehr:Patient:1", called("A. Dae", "Okafor-Bright") | {"birthDate": "1928-03-04"} | link)
    say(database, workspace, "ehr:Patient:2", ADA)
    work_off(database, workspace)
    assert grouped(database, workspace) == {frozenset({"ehr:Patient:1", "ehr:Patient:2"})}
    (made,) = events(database, workspace)
    assert (made["method"], made["rule"]) == ("rule", "identifier")


CLINIC: dict[str, Any] = {
    "name": "Harbor Family Clinic",
    "address": {"line": ["40 Wharf Road"], "city": "Boston", "state": "MA", "postalCode": "02118"},
}
NUMBER = {"identifier": [{"system": "urn:sites", "value": "S-17"}]}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (CLINIC, CLINIC, True),
        (CLINIC, CLINIC | {"name": "Harbor Clinic"}, True),
        (CLINIC, CLINIC | {"name": "Dr Lin Dermatology"}, False),
        (CLINIC, {"name": CLINIC["name"]}, False),
        (CLINIC, CLINIC | {"address": CLINIC["address"] | {"line": ["42 Wharf Road"]}}, False),
        (NUMBER | {"name": "Main site"}, NUMBER | {"name": "Headquarters"}, True),
    ],
)
def test_places_are_told_by_identifier_or_address(
    database: Database, workspace: str, one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    say(database, workspace, "ehr:Location:1", one)
    say(database, workspace, "crm:Location:1", other)
    work_off(database, workspace)
    with database.begin(workspace) as tx:
        found = dict(evidence_store.every_cluster(tx, workspace, "location"))
    assert (found["ehr:Location:1"] == found["crm:Location:1"]) is same
