"""Records that are one person come into one cluster, in whatever order, by whatever worker; and come apart again."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from connector_runner.connectors.base import SourceRecord
from connector_runner.infra.database import Database, execute, one, rows
from connector_runner.intake.landing import Intake, Origin
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import derived_id, entity_id_of
from connector_runner.resolution import evidence_store, link_store, service, store
from connector_runner.resolution.service import subscriber
from connector_runner.resolution.thresholds import thresholds
from connector_runner.resolution.weights import shipped
from connector_runner.unification.loader import load_mappings
from connector_runner.world.service import World

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
WORLD = World(subscribers=(subscriber,))
PHONE = "+16175550101"
MAPPINGS = load_mappings(ROOT / "mappings")
ADA: dict[str, Any] = {
    "name": [{"family": "Okafor", "given": ["Adaeze"]}],
    "birthDate": "1982-03-04",
    "telecom": [{"system": "phone", "value": PHONE}],
    "address": [{"line": ["12 Elm Street"], "city": "Boston", "state": "MA", "postalCode": "02118"}],
}


class Rejected:
    def put(self, *_: object, **__: Any) -> None:
        raise AssertionError("nothing here is to be put aside")


def called(given: str, family: str = "Okafor") -> dict[str, Any]:
    return {"name": [{"family": family, "given": [given]}]}


def say(database: Database, workspace: str, canonical: str, said: dict[str, Any], *, at: datetime = NOW) -> str:
    """Land a patient as a source tells of it; its entity."""
    source, kind, number = canonical.split(":")
    body = {"resourceType": kind, "id": number, **said}
    record = SourceRecord(kind, number, json.dumps(body).encode(), body, last_updated=at)
    intake = Intake(WORLD, MAPPINGS, Rejected())
    origin = Origin(data_source_id=derived_id(workspace, source), name=source, system="fhir_r4")
    database.retrying(workspace, lambda tx: intake.land(tx, workspace, origin, [record], now=at))
    return entity_id_of(workspace, canonical)


def work_off(database: Database, workspace: str) -> None:
    service.work_off(database, workspace, now=NOW)


def grouped(database: Database, workspace: str) -> set[frozenset[str]]:
    found: dict[str, set[str]] = {}
    with database.begin(workspace) as tx:
        for canonical, cluster in evidence_store.every_cluster(tx, workspace, "patient"):
            found.setdefault(cluster, set()).add(canonical)
    return {frozenset(members) for members in found.values()}


def events(database: Database, workspace: str) -> list[Any]:
    with database.begin(workspace) as tx:
        return link_store.link_events(tx, workspace, None, 100)


def test_two_records_of_one_person_are_linked_with_the_evidence(database: Database, workspace: str) -> None:
    say(database, workspace, "ehr:Patient:1", ADA)
    say(database, workspace, "crm:Patient:1", ADA | {"gender": "female"})
    work_off(database, workspace)
    assert grouped(database, workspace) == {frozenset({"ehr:Patient:1", "crm:Patient:1"})}
    (made,) = events(database, workspace)
    assert (made["action"], made["method"], made["rule"]) == ("made", "rule", "phone")
    assert made["features"]["birth"]["level"] == "equal"
    assert made["version"] == shipped().version


def test_comparing_again_says_nothing_new(database: Database, workspace: str) -> None:
    for canonical in ("ehr:Patient:1", "crm:Patient:1"):
        say(database, workspace, canonical, ADA)
    work_off(database, workspace)
    with database.begin(workspace) as tx:
        store.request_all(tx, workspace, "patient")
    work_off(database, workspace)
    assert len(events(database, workspace)) == 1


def test_two_workers_that_meet_one_person_at_once_end_with_one_cluster(database: Database, workspace: str) -> None:
    names = [f"ehr:Patient:{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: say(database, workspace, name, ADA), names))
        list(pool.map(lambda _: service.resolve(database, workspace, now=NOW, limit=2), range(8)))
    assert grouped(database, workspace) == {frozenset(names)}


PEOPLE: Sequence[tuple[str, dict[str, Any]]] = (
    ("ehr:Patient:1", ADA),
    ("crm:Patient:1", ADA | {"telecom": []}),
    ("crm:Patient:2", {"name": ADA["name"], "telecom": ADA["telecom"], "birthDate": "1982-04-03"}),
    ("ehr:Patient:2", ADA | called("Chioma")),
    ("ehr:Patient:3", ADA | called("Emeka") | {"birthDate": "1979-11-20"}),
    ("crm:Patient:3", called("Emeka") | {"telecom": ADA["telecom"], "birthDate": "1979-11-20"}),
    ("crm:Patient:4", {"telecom": ADA["telecom"]}),
)


@pytest.mark.parametrize("seed", range(5))
def test_any_order_in_any_batches_gives_the_same_clusters(database: Database, workspace: str, seed: int) -> None:
    chance = random.Random(seed)
    people = list(PEOPLE)
    chance.shuffle(people)
    for canonical, facts in people:
        say(database, workspace, canonical, facts)
        if chance.random() < 0.5:
            service.resolve(database, workspace, now=NOW, limit=chance.choice([1, 2, 5]))
    work_off(database, workspace)
    found = grouped(database, workspace)
    assert frozenset({"ehr:Patient:1", "crm:Patient:1", "crm:Patient:2"}) in found
    assert frozenset({"ehr:Patient:2"}) in found
    assert frozenset({"ehr:Patient:3", "crm:Patient:3"}) in found
    assert frozenset({"crm:Patient:4"}) in found


def test_a_corrected_record_leaves_a_cluster_that_held_only_by_its_error(database: Database, workspace: str) -> None:
    say(database, workspace, "ehr:Patient:1", ADA)
    say(database, workspace, "ehr:Patient:2", ADA)
    work_off(database, workspace)
    assert len(grouped(database, workspace)) == 1
    other = called("Tuva", "Lindqvist") | {"birthDate": "1990-07-08"}
    say(database, workspace, "ehr:Patient:2", other, at=NOW + timedelta(hours=1))
    work_off(database, workspace)
    assert len(grouped(database, workspace)) == 2
    assert [event["action"] for event in events(database, workspace)] == ["parted", "made"]


def test_a_link_that_a_person_took_back_stays_so_whatever_is_said_again(database: Database, workspace: str) -> None:
    one_id, other_id = (say(database, workspace, name, ADA) for name in ("ehr:Patient:1", "ehr:Patient:2"))
    work_off(database, workspace)
    with database.begin(workspace) as tx:
        service.decide(tx, workspace, one_id, other_id, same=False, actor="ruth", reason="twins", now=NOW)
    work_off(database, workspace)
    assert len(grouped(database, workspace)) == 2
    say(database, workspace, "ehr:Patient:2", ADA | {"gender": "female"}, at=NOW + timedelta(hours=1))
    work_off(database, workspace)
    assert len(grouped(database, workspace)) == 2
    with database.begin(workspace) as tx:
        label = one(tx, "SELECT same, actor, reason, bits FROM match_label")
    assert label is not None
    assert (label["same"], label["actor"], label["reason"]) == (False, "ruth", "twins")
    assert label["bits"] > thresholds(0).link


def test_a_person_may_join_what_no_rule_would_and_part_it_again(database: Database, workspace: str) -> None:
    stranger = called("Tuva", "Lindqvist") | {"birthDate": "1990-07-08"}
    one_id, other_id = (
        say(database, workspace, name, facts) for name, facts in (("ehr:Patient:1", ADA), ("ehr:Patient:2", stranger))
    )
    for same, clusters in ((True, 1), (False, 2), (True, 1)):
        with database.begin(workspace) as tx:
            service.decide(tx, workspace, one_id, other_id, same=same, actor="ruth", reason="married", now=NOW)
        work_off(database, workspace)
        assert len(grouped(database, workspace)) == clusters
    assert [event["method"] for event in events(database, workspace)] == ["person"] * 3


def test_a_word_about_a_record_and_its_adopter_is_refused_with_what_can_be_done(
    database: Database, workspace: str
) -> None:
    one_id, other_id = (say(database, workspace, name, ADA) for name in ("ehr:Patient:1", "ehr:Patient:2"))
    third = say(database, workspace, "crm:Patient:3", called("Tuva", "Lindqvist"))
    with database.begin(workspace) as tx:
        WORLD.adopt(tx, workspace, "ehr:Patient:2", one_id, derived_id(workspace, "ehr"), now=NOW)
    work_off(database, workspace)
    for pair, same, said in (
        ((one_id, other_id), False, "adopted by the other"),
        ((other_id, one_id), True, "one entity already"),
        ((one_id, one_id), True, "one entity already"),
    ):
        with database.begin(workspace) as tx, pytest.raises(BadRecord, match=said) as refused:
            service.decide(tx, workspace, *pair, same=same, actor="ruth", reason="twins", now=NOW)
        assert refused.value.code == "one_entity"
    assert "outbound undo" in service.NOT_BY_A_LINK
    with database.begin(workspace) as tx:
        assert one(tx, "SELECT 1 FROM match_label") is None
        service.decide(tx, workspace, other_id, third, same=True, actor="ruth", reason="married", now=NOW)
    work_off(database, workspace)
    assert grouped(database, workspace) == {frozenset({"ehr:Patient:1", "crm:Patient:3"})}, "said of the adopter"


@pytest.mark.parametrize("statement", ["UPDATE {} SET actor = 'x'", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("table", ["link_event", "match_label"])
def test_links_and_labels_cannot_be_changed(database: Database, workspace: str, table: str, statement: str) -> None:
    one_id, other_id = (say(database, workspace, name, ADA) for name in ("ehr:Patient:1", "ehr:Patient:2"))
    work_off(database, workspace)
    with database.begin(workspace) as tx:
        service.decide(tx, workspace, one_id, other_id, same=True, actor="ruth", reason="seen", now=NOW)
    with pytest.raises(DBAPIError), database.begin(workspace) as tx:
        execute(tx, statement.format(table))


LETTERS = str.maketrans("0123456789-", "ghijklmnopq")


def test_a_phone_of_hundreds_brings_nobody_together(database: Database, workspace: str) -> None:
    """Every pair of 150 records would be 11,175; a key of so many is passed over."""
    for number in range(150):
        name = called(derived_id(workspace, f"given{number}").translate(LETTERS), f"{number}".translate(LETTERS) * 3)
        say(database, workspace, f"ehr:Patient:{number}", name | {"telecom": ADA["telecom"]})
    work_off(database, workspace)
    with database.begin(workspace) as tx:
        pairs = rows(tx, "SELECT count(*) AS n FROM pair_evidence")[0]["n"]
    assert pairs < 1000
    assert len(grouped(database, workspace)) == 150


def test_one_workspace_links_nothing_of_another(
    database: Database, workspace: str, new_workspace: Callable[[], str]
) -> None:
    other = new_workspace()
    say(database, workspace, "ehr:Patient:1", ADA)
    say(database, other, "ehr:Patient:1", ADA)
    work_off(database, workspace)
    work_off(database, other)
    with database.begin(other) as tx:
        assert rows(tx, "SELECT 1 FROM pair_evidence") == []
        assert len(rows(tx, "SELECT 1 FROM identity")) == 1


def test_junk_links_nobody(database: Database, workspace: str) -> None:
    junk = called("John", "Doe") | {"telecom": [{"system": "phone", "value": "0000000000"},
            {"system": "email", "value": "test@test.com"}], "birthDate": "1900-01-01"}  # fmt: skip
    for number in range(4):
        say(database, workspace, f"ehr:Patient:{number}", junk)
        say(database, workspace, f"crm:Patient:{number}", {"active": True})
    work_off(database, workspace)
    assert len(grouped(database, workspace)) == 8


@pytest.mark.parametrize("same", [True, False])
def test_a_persons_word_about_a_record_holds_for_whoever_adopts_it(
    database: Database, workspace: str, same: bool
) -> None:
    stranger = called("Tuva", "Lindqvist") | {"birthDate": "1990-07-08"}
    known, found = (say(database, workspace, f"{source}:Patient:1", ADA) for source in ("ehr", "crm"))
    if same:
        found = say(database, workspace, "crm:Patient:1", stranger, at=NOW + timedelta(minutes=1))
    adopter = say(database, workspace, "voice:Patient:1", called("Ada", "Ekwueme"))
    with database.begin(workspace) as tx:
        service.decide(tx, workspace, known, found, same=same, actor="ruth", reason="seen", now=NOW)
    work_off(database, workspace)
    assert (frozenset({"ehr:Patient:1", "crm:Patient:1"}) in grouped(database, workspace)) is same
    with database.begin(workspace) as tx:
        WORLD.adopt(tx, workspace, "crm:Patient:1", adopter, derived_id(workspace, "crm"), now=NOW)
    for _ in range(2):
        work_off(database, workspace)
        assert (grouped(database, workspace) == {frozenset({"ehr:Patient:1", "voice:Patient:1"})}) is same
    with database.begin(workspace) as tx:
        labels = rows(tx, "SELECT one, other, same, actor, at FROM match_label ORDER BY id")
    assert [{row["one"], row["other"]} for row in labels] == [{known, found}, {known, adopter}]
    assert {(row["same"], row["actor"], row["at"]) for row in labels} == {(same, "ruth", NOW)}
