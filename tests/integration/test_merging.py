"""One person in two systems: what each is sent, that a record is made once, and that coming apart undoes it all."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from connector_runner.infra.database import execute, rows
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import entity_id_of
from connector_runner.observability import entities as query
from connector_runner.outbound.lanes.lane import HELD_AS_MEMBER, MADE_AS_MEMBER
from connector_runner.outbound.operating.parting import MADE_FOR_ANOTHER, NOT_TAKEN_BACK
from connector_runner.outbound.planning.members import DUPLICATE_IN_SINK, RESOLUTION_PENDING
from connector_runner.outbound.releasing import release, release_store
from connector_runner.outbound.releasing.regrouping import subscriber as sinks_hear
from connector_runner.outbound.releasing.release import subscriber as request_release
from connector_runner.resolution import service
from connector_runner.world import reading
from connector_runner.world.service import World
from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment, once_planned
from tests.integration.test_drain import BOTH, PATIENTS, phones

EHR, STORE = "ehr:Patient:p1", "store:Patient:c1"
MAIL = {"system": "email", "use": "home", "value": "ada@example.org"}


@pytest.fixture
def clinic(clinic: Clinic) -> Clinic:
    """Whose entities are compared when they change, as in production."""
    world = World([request_release, service.subscriber])
    return replace(clinic, outbound=replace(clinic.outbound, world=world))


def decide(clinic: Clinic, one: str, other: str, *, same: bool) -> None:
    """A person says that two are the same, or not; all that waits is compared."""
    with clinic.database.begin(clinic.workspace) as tx:
        ids = [reading.entity_id(tx, clinic.workspace, name) for name in (one, other)]
        service.decide(tx, clinic.workspace, ids[0], ids[1], same=same, actor="nurse", reason="seen", now=utc_now())
    compare(clinic)


def compare(clinic: Clinic) -> None:
    while service.resolve(clinic.database, clinic.workspace, now=utc_now(), tell=sinks_hear).more:
        pass


def state(clinic: Clinic, name: str, *, together: bool = True) -> str:
    with clinic.database.begin(clinic.workspace) as tx:
        view = reading.view(tx, clinic.workspace, name, together=together)
        stored = reading.row(tx, clinic.workspace, name)
    assert view is not None
    assert stored is not None
    if not together:
        assert exact_json.dumps(stored["state"]) == exact_json.dumps(view.state)
    return exact_json.dumps(view.state)


def content(resource: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key != "meta"}


def everything(system: System) -> dict[str, Any]:
    return {each["id"]: content(each) for each in system.all("Patient")}


def lane_of(clinic: Clinic, sink: str, name: str) -> dict[str, Any] | None:
    entity = entity_id_of(clinic.workspace, name)
    return next((dict(lane) for lane in clinic.lanes(sink) if lane["entity_id"] == entity), None)


def two_systems(clinic: Clinic, ehr: System, store: System, **more: Any) -> None:
    clinic.source("ehr", ehr, accept_from=["store"], **(more or PATIENTS))
    clinic.source("store", store, accept_from=["ehr"], **(more or PATIENTS))


def a_contact(record_id: str = "c1", **more: Any) -> dict[str, Any]:
    """The person as the store has them: an older phone, and a mail address."""
    number = {"identifier": [{"system": "urn:crm", "value": record_id}], "birthDate": "1982-03-04"}
    return a_patient(record_id, "617-555-0888", **number | more) | {
        "telecom": [{"system": "phone", "use": "home", "value": "617-555-0888"}, MAIL],
    }


def poll(clinic: Clinic) -> None:
    for name in ("ehr", "store"):
        clinic.poll(name, "Patient")


def settle(clinic: Clinic, rounds: int = 2) -> None:
    for _ in range(rounds):
        poll(clinic)
        compare(clinic)
        for name in ("ehr", "store"):
            clinic.flow(name)
        clinic.project()


def one_person_in_both(clinic: Clinic, ehr: System, store: System, **more: Any) -> None:
    """Apart: nobody links them but a person, whose word the rules do not outrank."""
    two_systems(clinic, ehr, store, **more)
    store.put(a_contact())
    ehr.put(a_patient())
    poll(clinic)
    decide(clinic, EHR, STORE, same=False)
    compare(clinic)


@pytest.mark.parametrize("direction", [(EHR, STORE), (STORE, EHR)], ids=["one", "other"])
def test_merged_written_and_reverted_leaves_both_systems_as_if_never_merged(
    clinic: Clinic, ehr: System, store: System, direction: tuple[str, str]
) -> None:
    two_systems(clinic, ehr, store)
    store.put(a_contact())
    ehr.put(a_patient())
    poll(clinic)
    decide(clinic, *direction, same=False)
    apart = {name: state(clinic, name, together=False) for name in (EHR, STORE)}
    before = {"ehr": content(ehr.get("Patient/p1")), "store": content(store.get("Patient/c1"))}

    for _ in range(2):  # a second merge works as the first
        decide(clinic, *direction, same=True)
        settle(clinic)
        assert state(clinic, EHR) == state(clinic, STORE) != apart[EHR]
        assert phones(store.get("Patient/c1")) == ["617-555-0101", "ada@example.org"]
        assert phones(ehr.get("Patient/p1")) == ["617-555-0101", "ada@example.org"]
        assert {name: state(clinic, name, together=False) for name in (EHR, STORE)} == apart, "lent is not said"

        decide(clinic, *direction, same=False)
        settle(clinic)
        assert content(ehr.get("Patient/p1")) == before["ehr"]
        assert content(store.get("Patient/c1")) == before["store"]
        for name in (EHR, STORE):
            assert state(clinic, name) == state(clinic, name, together=False) == apart[name]
    with clinic.database.begin(clinic.workspace) as tx:
        repairs = rows(tx, "SELECT actor FROM audit_log WHERE action = 'outbound.repair'")
    assert repairs
    written = len(ehr.writes()), len(store.writes())
    settle(clinic)
    assert (len(ehr.writes()), len(store.writes())) == written, "it stays so"
    assert {lane["state"] for name in ("ehr", "store") for lane in clinic.lanes(name)} == {"idle"}


def test_a_record_is_made_once_and_those_that_refer_to_any_member_name_it(
    clinic: Clinic, ehr: System, store: System
) -> None:
    one_person_in_both(clinic, ehr, store, **BOTH)
    decide(clinic, EHR, STORE, same=True)
    ehr.put(an_appointment("a1"))
    clinic.poll("ehr", "Appointment")
    settle(clinic)
    assert [each["id"] for each in store.all("Patient")] == ["c1"]
    [made] = store.all("Appointment")
    assert made["participant"][0]["actor"]["reference"] == "Patient/c1"


def test_a_create_that_a_merge_withheld_happens_when_it_is_reverted(clinic: Clinic, ehr: System, store: System) -> None:
    two_systems(clinic, ehr, store)
    store.put(a_contact())
    ehr.put(a_patient())
    poll(clinic)
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    assert [each["id"] for each in store.all("Patient")] == ["c1"]
    assert [each["id"] for each in ehr.all("Patient")] == ["p1"]
    decide(clinic, EHR, STORE, same=False)
    settle(clinic)
    assert len(store.all("Patient")) == len(ehr.all("Patient")) == 2


def said(clinic: Clinic, name: str, phone: str = "617-555-0199", **more: Any) -> str:
    """A conversation with somebody; verified by a person."""
    outcome = clinic.say(
        canonical_id=name,
        entity_type="patient",
        confidence=0.5,
        facts={
            "name": {"family": "Okafor", "given": ["Ada"]},
            "birth_date": "1982-03-04",
            "telecom": [{"system": "phone", "use": "home", "value": phone}],
            **more,
        },
    )
    event = str(outcome.events[0]["id"])
    clinic.judge(event)
    return event


VOICE = ("voice:Person:v1", "voice:Person:v2")


def two_calls(clinic: Clinic, store: System) -> list[str]:
    """Two calls of one person, whom the store does not know; the entity with the smaller id first."""
    clinic.source("store", store, **PATIENTS)
    for number, name in enumerate(VOICE):
        said(clinic, name, f"617-555-020{number}")
    return sorted(VOICE, key=lambda name: entity_id_of(clinic.workspace, name))


def test_of_two_that_are_one_and_not_there_the_smaller_is_made(clinic: Clinic, store: System) -> None:
    small, large = two_calls(clinic, store)
    decide(clinic, small, large, same=True)
    clinic.flow("store")
    assert len(store.all("Patient")) == 1
    lanes = clinic.lanes("store")
    assert [lane["entity_id"] for lane in lanes if lane["sink_ref"]] == [entity_id_of(clinic.workspace, small)]
    other = lane_of(clinic, "store", large)
    assert other is None or other["reason"] in (HELD_AS_MEMBER, MADE_AS_MEMBER)


def test_nobody_is_made_before_it_was_compared(clinic: Clinic, store: System) -> None:
    small, large = two_calls(clinic, store)
    clinic.flow("store")
    assert store.all("Patient") == []
    assert {(lane["state"], lane["reason"]) for lane in clinic.lanes("store")} == {("waiting", RESOLUTION_PENDING)}
    assert all(lane["attempts"] == 0 for lane in clinic.lanes("store")), "waiting is no attempt"
    decide(clinic, small, large, same=False)
    clinic.flow("store")
    assert len(store.all("Patient")) == 2


def test_who_was_compared_while_a_drain_decided_to_wait_for_it_is_looked_at_again(
    clinic: Clinic, store: System
) -> None:
    """Its lane does not wait yet when the waiting are woken, and would then wait for nothing."""
    small, large = two_calls(clinic, store)
    clinic.flow("store")
    with clinic.database.begin(clinic.workspace) as tx:
        execute(tx, "UPDATE sync_lane SET state = 'leased', lease_until = now() + interval '1 minute'")
        execute(tx, "DELETE FROM pending_release")
    decide(clinic, small, large, same=False)
    with clinic.database.begin(clinic.workspace) as tx:
        assert len(rows(tx, "SELECT entity_id FROM pending_release")) == 2


def test_who_was_compared_while_release_decided_to_wait_for_it_is_looked_at_at_once(
    clinic: Clinic, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lane is not there yet when the waiting are woken, and would then wait for nothing until its next recheck."""
    clinic.source("store", store, **PATIENTS)
    said(clinic, VOICE[0], "617-555-0200")
    want = release_store.want

    def compared_meanwhile(*arguments: Any) -> Any:
        compare(clinic)
        return want(*arguments)

    monkeypatch.setattr(release_store, "want", compared_meanwhile)
    assert release.release(clinic.outbound, clinic.workspace).more
    monkeypatch.setattr(release_store, "want", want)
    assert {lane["state"] for lane in clinic.lanes("store")} == {"waiting"}
    assert not release.release(clinic.outbound, clinic.workspace).more
    assert {lane["state"] for lane in clinic.lanes("store")} == {"ready"}


def test_who_waits_to_be_compared_still_is_not_looked_at_again_and_again(clinic: Clinic, store: System) -> None:
    small, large = two_calls(clinic, store)
    decide(clinic, small, large, same=True)
    said(clinic, large, "617-555-0299")
    assert not release.release(clinic.outbound, clinic.workspace).more
    with clinic.database.begin(clinic.workspace) as tx:
        assert rows(tx, "SELECT 1 FROM pending_release") == []


def test_a_link_between_planning_and_sending_stops_the_create(
    clinic: Clinic, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = two_calls(clinic, store)
    decide(clinic, small, large, same=False)
    once_planned(monkeypatch, lambda: decide(clinic, small, large, same=True))
    clinic.flow("store")
    assert len(store.all("Patient")) == 1


def test_two_that_were_made_before_the_link_are_shown_and_kept_in_step(clinic: Clinic, store: System) -> None:
    small, large = two_calls(clinic, store)
    decide(clinic, small, large, same=False)
    clinic.flow("store")
    assert len(store.all("Patient")) == 2
    decide(clinic, small, large, same=True)
    clinic.flow("store")
    assert {tuple(phones(each)) for each in store.all("Patient")} == {("617-555-0201",)}, "the later word, in both"
    assert not [each for each in store.writes() if each["method"] == "DELETE"]
    for lane in clinic.lanes("store"):
        assert DUPLICATE_IN_SINK in {item["code"] for item in lane["withheld"]}
    with clinic.database.begin(clinic.workspace) as tx:
        asked = rows(tx, "SELECT entity_id, other_id, reason FROM review_item")
    assert [item["reason"] for item in asked] == [DUPLICATE_IN_SINK]
    decide(clinic, small, large, same=False)
    clinic.flow("store")
    assert {tuple(phones(each)) for each in store.all("Patient")} == {("617-555-0200",), ("617-555-0201",)}


def test_what_somebody_changed_since_is_left_and_a_person_is_asked(clinic: Clinic, ehr: System, store: System) -> None:
    one_person_in_both(clinic, ehr, store)
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    contact = store.get("Patient/c1")
    edited = [{**each, "value": "617-555-0333"} if each["system"] == "phone" else each for each in contact["telecom"]]
    store.put({**contact, "telecom": edited})
    decide(clinic, EHR, STORE, same=False)
    for name in ("ehr", "store"):
        clinic.flow(name)
    assert phones(store.get("Patient/c1")) == ["617-555-0333", "ada@example.org"]
    assert [(code, place) for code, place in _asked(clinic) if code == NOT_TAKEN_BACK and "phone" in place]


def _asked(clinic: Clinic) -> list[tuple[str, str]]:
    with clinic.database.begin(clinic.workspace) as tx:
        return [
            (row["code"], row["place"])
            for row in rows(tx, "SELECT code, place FROM quarantine WHERE stage = 'repair' AND status = 'open'")
        ]


def test_what_a_withdrawn_verdict_leaves_of_a_record_that_was_made_for_another_is_for_a_person(
    clinic: Clinic, store: System
) -> None:
    """Made for the smaller, of the other's verified word; its own was never verified."""
    clinic.source("store", store, **PATIENTS)
    small, large = sorted(VOICE, key=lambda name: entity_id_of(clinic.workspace, name))
    clinic.say(canonical_id=small, entity_type="patient", confidence=0.5, facts={"gender": "female"})
    said(clinic, large)
    decide(clinic, small, large, same=True)
    clinic.flow("store")
    assert [lane["entity_id"] for lane in clinic.lanes("store") if lane["sink_ref"]] == [
        entity_id_of(clinic.workspace, small)
    ]
    decide(clinic, small, large, same=False)
    clinic.flow("store")
    assert len(store.all("Patient")) == 2, "the other has one of its own now"
    assert [code for code, _ in _asked(clinic)] == [MADE_FOR_ANOTHER]


def test_what_the_sink_says_of_its_own_accord_is_not_taken_back_as_lent(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """Users of both type in the same number: whose word is the later does not make it a loan."""
    one_person_in_both(clinic, ehr, store)
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    for system, ref in ((ehr, "Patient/p1"), (store, "Patient/c1")):
        held = system.get(ref)
        typed = [{**each, "value": "617-555-0444"} if each["system"] == "phone" else each for each in held["telecom"]]
        system.put({**held, "telecom": typed})
    settle(clinic)
    decide(clinic, EHR, STORE, same=False)
    settle(clinic)
    assert phones(ehr.get("Patient/p1")) == ["617-555-0444"]
    assert "617-555-0444" in state(clinic, EHR)
    assert phones(store.get("Patient/c1")) == ["617-555-0444", "ada@example.org"]


def test_a_crash_after_any_step_of_the_way_back_ends_in_the_same_place(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_person_in_both(clinic, ehr, store)
    settle(clinic)
    before = [everything(system) for system in (ehr, store)]
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    decide(clinic, EHR, STORE, same=False)
    # The answer to the first write of the way back is lost, and so is that of a later one.
    store.faults({"on": "PUT Patient", "kind": "drop_answer", "next": 1})
    ehr.faults({"on": "PUT Patient", "kind": "reset", "next": 1})
    for _ in range(6):
        settle(clinic, 1)
        time.sleep(0.4)
    assert [everything(system) for system in (ehr, store)] == before


def test_no_member_is_lost_where_words_contradict_each_other(clinic: Clinic, ehr: System, store: System) -> None:
    one_person_in_both(clinic, ehr, store)
    ehr.put(a_patient("p2"))
    poll(clinic)
    third = "ehr:Patient:p2"
    decide(clinic, third, EHR, same=False)
    decide(clinic, third, STORE, same=True)
    decide(clinic, EHR, STORE, same=True)
    # The three cannot be one: a person keeps two of them apart. The later word joined what it could.
    with clinic.database.begin(clinic.workspace) as tx:
        together = {name: reading.view(tx, clinic.workspace, name) for name in (EHR, STORE, third)}
        assert all(view is not None for view in together.values())
        assert not any(
            {entity_id_of(clinic.workspace, EHR), entity_id_of(clinic.workspace, third)} <= set(view.members)
            for view in together.values()
            if view is not None
        )
        members = {name: view.members for name, view in together.items() if view is not None}
    for name, found in members.items():
        assert entity_id_of(clinic.workspace, name) in found, "each is a member of what it is seen as"


def test_any_member_shows_the_person(clinic: Clinic, ehr: System, store: System) -> None:
    one_person_in_both(clinic, ehr, store)
    decide(clinic, EHR, STORE, same=True)
    with clinic.database.begin(clinic.workspace) as tx:
        shown = [query.show(tx, clinic.workspace, name) for name in (EHR, STORE)]
    for field in ("state", "provenance", "members", "display_name", "phone", "email", "record_status"):
        assert shown[0][field] == shown[1][field]
    assert (shown[0]["phone"], shown[0]["email"]) == ("+16175550101", "ada@example.org")
    assert [[each["canonical_id"] for each in one["linked_entities"]] for one in shown] == [[STORE], [EHR]]
    said_by = {atom: claim["record_key"] for atom, claim in shown[0]["provenance"].items()}
    assert (said_by["telecom[phone|home]"], said_by["telecom[email|home]"]) == (EHR, STORE)
