"""What was found before does not tell on what is found now: crowds, keys, counts and evidence follow the records."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from connector_runner.infra.database import Database, Row, execute, one, rows
from connector_runner.kernel.ids import derived_id, entity_id_of
from connector_runner.resolution import population_store, service, store
from connector_runner.resolution.clusters import pair
from connector_runner.resolution.grouping import Weighed, group
from connector_runner.resolution.judging import Judging
from tests.integration.test_resolution import ADA, NOW, WORLD, called, grouped, say, work_off

LATER = NOW + timedelta(hours=1)
ON_PHONE: dict[str, Any] = {"telecom": ADA["telecom"]}
PAIR = frozenset({"ehr:Patient:1", "crm:Patient:1"})


def _counted(database: Database, workspace: str) -> set[str]:
    """What the evidence that the two are one person rests on."""
    one, other = (entity_id_of(workspace, name) for name in PAIR)
    with database.begin(workspace) as tx:
        found = rows(tx, "SELECT one, other, weights FROM pair_evidence")
    return next(set(row["weights"]) for row in found if {row["one"], row["other"]} == {one, other})


def test_a_phone_is_of_many_as_long_as_it_is(database: Database, workspace: str) -> None:
    for name in ("ehr:Patient:1", "crm:Patient:1"):
        say(database, workspace, name, called("Adaeze") | ON_PHONE)
    work_off(database, workspace)
    assert "phone" in _counted(database, workspace)
    for number, given in enumerate(("Bo", "Carla", "Dmitri"), start=2):
        say(database, workspace, f"ehr:Patient:{number}", called(given, f"{given}sen") | ON_PHONE)
    work_off(database, workspace)
    assert "phone" not in _counted(database, workspace)
    for number, given in enumerate(("Bo", "Carla", "Dmitri"), start=2):
        say(database, workspace, f"ehr:Patient:{number}", called(given, f"{given}sen"), at=LATER)
    work_off(database, workspace)
    assert "phone" in _counted(database, workspace)


def test_a_key_brings_people_together_again_when_fewer_have_it(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cap in ("KEY_CAP", "BROAD_CAP"):
        monkeypatch.setattr(f"connector_runner.resolution.key_store.{cap}", 3)
    for name in ("ehr:Patient:1", "crm:Patient:1"):
        say(database, workspace, name, {"name": ADA["name"], "birthDate": "1982-03-04"})
    work_off(database, workspace)
    expected = _evidence(database, workspace)
    assert expected == 1
    others = [f"ehr:Patient:{number}" for number in range(2, 5)]
    for name in others:
        say(database, workspace, name, {"name": ADA["name"], "birthDate": "1982-03-04"})
        service.resolve(database, workspace, now=NOW)
    work_off(database, workspace)
    assert _evidence(database, workspace) == 0
    for number, name in enumerate(others):
        say(database, workspace, name, called(f"Quin{'abc'[number]}", "Thistlewood"), at=LATER)
    while service.resolve(database, workspace, now=NOW).compared:
        pass
    assert _evidence(database, workspace, "ehr:Patient:1") == 1


def test_a_loose_key_does_not_hold_two_dated_records_together_when_the_other_is_capped(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector_runner.resolution.key_store.KEY_CAP", 3)
    mail = {"telecom": [{"system": "email", "value": "front.desk@clinic.example.org"}]}
    for name, born in (("ehr:Patient:1", "1941-02-03"), ("crm:Patient:1", "1985-10-11")):
        say(database, workspace, name, {"name": ADA["name"], "birthDate": born} | mail)
    work_off(database, workspace)
    assert _evidence(database, workspace) == 1
    for number, given in enumerate(("Bo", "Carla"), start=2):
        say(database, workspace, f"ehr:Patient:{number}", called(given, f"{given}sen") | mail)
    while service.resolve(database, workspace, now=NOW).compared:
        pass
    assert _evidence(database, workspace) == 0


def test_how_many_records_are_kept_is_put_right_when_they_are_counted(database: Database, workspace: str) -> None:
    def kept() -> list[int]:
        with database.begin(workspace) as tx:
            return [row["records"] for row in rows(tx, "SELECT records FROM population WHERE kind = 'patient'")]

    for number in range(3):
        say(database, workspace, f"ehr:Patient:{number}", called("Ada", f"Number{'abc'[number]}"))
    service.resolve(database, workspace, now=NOW)
    assert kept() == [3]
    with database.begin(workspace) as tx:
        execute(tx, "UPDATE population SET records = 40")
    work_off(database, workspace)
    assert kept() == [3]


def _evidence(database: Database, workspace: str, canonical: str | None = None) -> int:
    with database.begin(workspace) as tx:
        found = rows(tx, "SELECT one, other FROM pair_evidence")
    entity = entity_id_of(workspace, canonical) if canonical else None
    return sum(entity is None or entity in (row["one"], row["other"]) for row in found)


def test_a_pair_that_was_refused_first_is_marked_as_the_link_that_it_is(database: Database, workspace: str) -> None:
    """Marked as both, it was by chance taken for no link, and made once more with every look."""
    here = called("Emeka") | {"birthDate": "1982-03-04", "address": ADA["address"]}
    for name in PAIR:
        say(database, workspace, name, here)
    work_off(database, workspace)
    said = called("Emeka", "Okafor-Bright") | {"birthDate": "1982-03-04", "address": [{"postalCode": "02139"}]}
    say(database, workspace, "ehr:Patient:2", said)
    say(database, workspace, "ehr:Patient:1", {}, at=LATER)
    service.identify(database, workspace, "patient")
    service.resolve(database, workspace, now=NOW, limit=1)
    assert True in {how["refused"] for how in _marks(database, workspace)}, "of one who is one with a record of nobody"
    service.resolve(database, workspace, now=NOW)
    assert [(how["linked"], how["refused"]) for how in _marks(database, workspace)] == [(True, False)]


def _marks(database: Database, workspace: str) -> list[Row]:
    with database.begin(workspace) as tx:
        return rows(tx, "SELECT linked, refused FROM pair_evidence")


def test_a_record_that_another_entity_adopted_leaves_its_cluster_to_the_adopter(
    database: Database, workspace: str
) -> None:
    one, other = (say(database, workspace, name, ADA) for name in ("ehr:Patient:1", "crm:Patient:1"))
    third = say(database, workspace, "ehr:Patient:9", called("Tuva", "Lindqvist") | {"birthDate": "1990-07-08"})
    with database.begin(workspace) as tx:
        service.decide(tx, workspace, one, other, same=True, actor="ruth", reason="seen", now=NOW)
    work_off(database, workspace)
    assert PAIR in grouped(database, workspace)
    source = derived_id(workspace, "crm")
    database.retrying(workspace, lambda tx: WORLD.adopt(tx, workspace, "crm:Patient:1", third, source, now=LATER))
    work_off(database, workspace)
    assert grouped(database, workspace) == {frozenset({"ehr:Patient:1", "ehr:Patient:9"})}, "a person's word is kept"
    with database.begin(workspace) as tx:
        for table in ("identity", "cluster_member", "blocking_key"):
            assert not rows(tx, f"SELECT 1 FROM {table} WHERE entity_id = :id", id=other)


def test_a_record_taken_back_leaves_its_cluster(database: Database, workspace: str) -> None:
    for name in ("ehr:Patient:1", "crm:Patient:1"):
        entity = say(database, workspace, name, ADA)
    work_off(database, workspace)
    with database.begin(workspace) as tx:
        execute(tx, "UPDATE entity SET status = 'deleted' WHERE entity_id = :id", id=entity)
        store.request(tx, workspace, "patient", [entity])
    work_off(database, workspace)
    assert PAIR not in grouped(database, workspace)


def test_who_waits_under_a_kind_that_is_not_its_own_keeps_its_cluster(database: Database, workspace: str) -> None:
    for name in ("ehr:Patient:1", "crm:Patient:1"):
        entity = say(database, workspace, name, ADA)
    work_off(database, workspace)
    with database.begin(workspace) as tx:
        store.request(tx, workspace, "practitioner", [entity])
    work_off(database, workspace)
    assert PAIR in grouped(database, workspace)
    with database.begin(workspace) as tx:
        assert {row["kind"] for row in rows(tx, "SELECT kind FROM identity")} == {"patient"}


def test_ties_fall_by_the_names_that_records_have_everywhere() -> None:
    """Entities have other ids in each workspace; what is one and what is not must be the same in all of them."""
    evidence = [Weighed("a", "b", 6.0), Weighed("b", "c", 6.0), Weighed("a", "c", -20.0)]
    for names in ({"a": "x:1", "b": "x:2", "c": "x:3"}, {"c": "x:1", "b": "x:2", "a": "x:3"}):
        found = group(names, evidence, {}, threshold=2.5)
        together = {frozenset(n for e, n in names.items() if found.of[e] == c) for c in found.of.values()}
        assert together == {frozenset({"x:1", "x:2"}), frozenset({"x:3"})}


@pytest.mark.parametrize(
    ("records", "size"), [(0, 1000), (1000, 1000), (1150, 1000), (5800, 5657), (1_000_000, 1_024_000)]
)
def test_a_population_is_taken_in_steps(records: int, size: int) -> None:
    assert population_store.size_step(records) == size


def test_a_count_asks_for_those_only_whom_a_step_concerns(database: Database, workspace: str) -> None:
    """A name that is commoner says less: who is like nobody stays so. One that is rarer may tell two of one person."""
    adas = [f"ehr:Patient:{number}" for number in range(5)]
    for number, name in enumerate(adas[:4]):
        say(database, workspace, name, called("Ada", f"Family{'abcd'[number]}"))
    work_off(database, workspace)
    assert service.recount(database, workspace, now=NOW, slack=0.0) == 0
    for name in (adas[4], "crm:Patient:4"):
        say(database, workspace, name, called("Ada", "Other") | ON_PHONE)
        service.resolve(database, workspace, now=NOW)
    assert service.recount(database, workspace, now=NOW, slack=0.0) == 2
    assert service.recount(database, workspace, now=NOW, slack=0.0) == 0
    service.resolve(database, workspace, now=NOW)
    for number, name in enumerate(adas[:3]):
        say(database, workspace, name, called("Bo", f"Family{'abc'[number]}"), at=LATER)
    while service.resolve(database, workspace, now=NOW).compared:
        pass
    assert service.recount(database, workspace, now=NOW, slack=0.0) == 3, "Adas; of Bos none is like another"


def test_a_kind_without_a_record_is_not_counted(database: Database, workspace: str) -> None:
    """To count it, all records of the other kinds would be read: a second for a million."""
    say(database, workspace, "ehr:Patient:1", ADA)
    service.resolve(database, workspace, now=NOW)
    service.recount(database, workspace, now=NOW)
    with database.begin(workspace) as tx:
        assert [row["kind"] for row in rows(tx, "SELECT kind FROM population")] == ["patient"]


def test_new_rules_have_everybody_read_and_compared_anew(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        say(database, workspace, f"ehr:Patient:{number}", ADA)
    work_off(database, workspace)
    service.recount(database, workspace, now=NOW)
    assert service.recount(database, workspace, now=NOW) == 0
    monkeypatch.setattr("connector_runner.resolution.evidence.RULES", -1)
    assert service.recount(database, workspace, now=NOW) == 3
    with database.begin(workspace) as tx:
        assert [row["identified"] for row in rows(tx, "SELECT identified FROM pending_resolution")] == [False] * 3
    assert service.recount(database, workspace, now=NOW) == 0


MANY_HAVE: dict[str, Any] = {"name": ADA["name"], "address": [{"postalCode": "02118"}]}


def _capped(database: Database, workspace: str) -> int:
    with database.begin(workspace) as tx:
        return len(rows(tx, "SELECT 1 FROM capped_key"))


def _work(database: Database, workspace: str) -> int:
    compared = 0
    while done := service.resolve(database, workspace, now=NOW).compared:
        compared += done
    return compared


def test_a_name_of_many_is_of_too_many_as_long_as_one_of_them_says_no_day_of_birth(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dated people need more than a name in common: to count all who have it for each of them costs what they are."""
    monkeypatch.setattr("connector_runner.resolution.key_store.BROAD_CAP", 3)
    for number in range(1, 6):
        say(
            database,
            workspace,
            f"ehr:Patient:{number}",
            MANY_HAVE | {"birthDate": f"{1940 + 9 * number}-0{number}-1{number}"},
        )
    _work(database, workspace)
    assert _capped(database, workspace) == 0
    say(database, workspace, "crm:Patient:1", MANY_HAVE)
    assert _work(database, workspace) == 1, "those who have the name already need not be compared for it"
    assert _capped(database, workspace) == 3, "both names, each with the postal code"
    assert _evidence(database, workspace, "crm:Patient:1") == 0
    say(database, workspace, "crm:Patient:1", MANY_HAVE | {"birthDate": "1931-12-24"}, at=LATER)
    assert _work(database, workspace) == 1, "nobody is brought together by the name again, however few have it"
    assert _capped(database, workspace) == 0


@pytest.mark.parametrize("place", [0, -1])
def test_who_says_no_day_of_birth_meets_those_of_a_name_again_when_fewer_have_it(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """Whichever side of its pairs who says none is: an entity is named first or last in them by its id."""
    monkeypatch.setattr("connector_runner.resolution.key_store.BROAD_CAP", 3)
    dated = sorted((f"ehr:Patient:{number}" for number in range(4)), key=lambda name: entity_id_of(workspace, name))
    undated = dated.pop(place)
    say(database, workspace, undated, MANY_HAVE)
    for number, name in enumerate(dated, start=1):
        say(database, workspace, name, MANY_HAVE | {"birthDate": f"{1940 + 9 * number}-0{number}-1{number}"})
        _work(database, workspace)
    assert _capped(database, workspace) == 3
    assert _evidence(database, workspace, undated) == 0, "what was found among fewer is gone"
    say(database, workspace, dated[1], called("Tuva", "Lindqvist") | {"birthDate": "1990-07-08"}, at=LATER)
    _work(database, workspace)
    assert _capped(database, workspace) == 0
    assert _evidence(database, workspace, undated) == 2


def test_two_who_say_no_day_of_birth_do_not_keep_a_name_that_too_many_have_since(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have the keys of the undated as well, which are of two only, and bring nobody together by themselves.

    The others come all at once: were one compared with the two while few had the name, that alone asked for them.
    """
    monkeypatch.setattr("connector_runner.resolution.key_store.BROAD_CAP", 3)
    for name in PAIR:
        say(database, workspace, name, MANY_HAVE)
    _work(database, workspace)
    assert PAIR in grouped(database, workspace)
    for number in range(2, 5):
        born = f"{1940 + 9 * number}-0{number}-1{number}"
        say(database, workspace, f"ehr:Patient:{number}", MANY_HAVE | {"birthDate": born})
    _work(database, workspace)
    assert _evidence(database, workspace, "crm:Patient:1") == 0
    assert PAIR not in grouped(database, workspace), "as if those with the name had come first"


def test_a_common_name_says_less_by_itself_and_within_a_cluster(
    database: Database, new_workspace: Callable[[], str]
) -> None:
    """Both look up how common names are, each for itself: without that every name is taken for a rare one."""
    bits = []
    for given in ("Adaeze", "Bo"):
        workspace = new_workspace()
        for name in PAIR:
            say(database, workspace, name, ADA)
        for number in range(2, 12):
            say(database, workspace, f"ehr:Patient:{number}", called(given, f"Family{'abcdefghijkl'[number]}"))
        work_off(database, workspace)
        two = pair(*(entity_id_of(workspace, name) for name in PAIR))
        with database.begin(workspace) as tx:
            row = one(
                tx, "SELECT bits FROM pair_evidence WHERE one = :one AND other = :other", one=two[0], other=two[1]
            )
            within = Judging(tx, workspace, "patient", {}).among(two)(two)
        assert row is not None
        assert within is not None
        assert within.bits == row["bits"]
        bits.append(row["bits"])
    assert bits[0] < bits[1] - 1
