"""An entity whose record another adopts: what it had elsewhere, and what was under way for it, goes with the record."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.infra.database import rows
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import entity_id_of
from connector_runner.outbound.planning import duplicate_search
from connector_runner.outbound.planning.duplicate_search import decide as decide_duplicate
from connector_runner.review import items
from connector_runner.world import reading
from tests.integration.merging_stack import (
    EHR,
    STORE,
    VOICE,
    a_contact,
    clinic,
    compare,
    content,
    decide,
    lane_of,
    one_person_in_both,
    said,
    settle,
    state,
    two_systems,
)
from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment, eventually
from tests.integration.test_drain import BOTH, PATIENTS, phones

__all__ = ["clinic"]

CALL, SECOND = VOICE


def called(clinic: Clinic, name: str, phone: str, person: dict[str, Any]) -> None:
    telecom = [{"system": "phone", "use": "home", "value": phone}]
    facts = {"name": person, "birth_date": "1982-03-04", "telecom": telecom}
    outcome = clinic.say(canonical_id=name, entity_type="patient", confidence=0.5, facts=facts)
    clinic.judge(str(outcome.events[0]["id"]))


def adopt(clinic: Clinic, record: str, name: str) -> None:
    with clinic.database.begin(clinic.workspace) as tx:
        entity = entity_id_of(clinic.workspace, name)
        clinic.outbound.world.adopt(tx, clinic.workspace, record, entity, clinic.ids["store"], now=utc_now())


def test_what_was_made_elsewhere_of_an_adopted_record_goes_with_it(clinic: Clinic, ehr: System, store: System) -> None:
    two_systems(clinic, ehr, store, **BOTH)
    store.put(a_contact())
    settle(clinic)
    [made] = ehr.all("Patient")
    said(clinic, CALL)
    decide(clinic, CALL, STORE, same=False)
    adopt(clinic, STORE, CALL)
    ehr.put(made | {"telecom": [{"system": "phone", "use": "home", "value": "617-555-0666"}]})
    ehr.put(an_appointment("a1", made["id"]))
    clinic.poll("ehr", "Appointment")
    settle(clinic, 3)
    assert [each["id"] for each in ehr.all("Patient")] == [made["id"]], "nobody is made twice"
    with clinic.database.begin(clinic.workspace) as tx:
        people = rows(tx, "SELECT canonical_id FROM entity WHERE entity_type = 'patient'")
        here = reading.entity_id(tx, clinic.workspace, f"ehr:Patient:{made['id']}")
    assert [each["canonical_id"] for each in people] == [CALL]
    assert here == entity_id_of(clinic.workspace, CALL)
    assert "+16175550666" in state(clinic, CALL)
    assert phones(store.get("Patient/c1")) == ["617-555-0666", "ada@example.org"]
    assert eventually(lambda: bool(settle(clinic, 1) or store.all("Appointment")))
    [booked] = store.all("Appointment")
    assert booked["participant"][0]["actor"]["reference"] == "Patient/c1"


def test_what_waited_for_an_adopted_entity_is_not_made_beside_the_adopters(
    clinic: Clinic, ehr: System, store: System
) -> None:
    two_systems(clinic, ehr, store)
    store.put(a_contact())
    clinic.poll("store", "Patient")
    clinic.release()
    waits = lane_of(clinic, "ehr", STORE)
    assert waits is not None
    said(clinic, CALL)
    adopt(clinic, STORE, CALL)
    clinic.execute("UPDATE sync_lane SET state = 'ready', due_at = clock_timestamp()")
    settle(clinic, 3)
    assert len(ehr.all("Patient")) == 1
    assert [each["id"] for each in store.all("Patient")] == ["c1"]


def test_a_record_that_counts_for_one_is_not_given_to_another(clinic: Clinic, store: System) -> None:
    """Who says of a second caller that they are the first says that the two are one, and may take that back."""
    clinic.source("store", store, **PATIENTS)
    common = {"family": "Garcia", "given": ["Maria"]}
    called(clinic, CALL, "617-555-0199", common)
    compare(clinic)
    clinic.flow("store")
    [made] = store.all("Patient")
    called(clinic, SECOND, "617-555-0202", common)
    compare(clinic)
    clinic.flow("store")
    lane = lane_of(clinic, "store", SECOND)
    assert lane is not None
    assert lane["reason"] == "possible_duplicate"
    decide_duplicate(clinic.outbound, clinic.workspace, lane["lane_id"], f"Patient/{made['id']}", actor="op")
    compare(clinic)
    clinic.flow("store")
    records = [lane["sink_ref"] for lane in clinic.lanes("store") if lane["sink_ref"]]
    assert records == [f"Patient/{made['id']}"], "one lane for one record"
    assert phones(store.get(records[0])) == ["617-555-0202"]
    decide(clinic, CALL, SECOND, same=False)
    clinic.flow("store")
    assert sorted(map(phones, store.all("Patient"))) == [["617-555-0199"], ["617-555-0202"]]


def test_what_was_lent_by_a_write_whose_answer_was_lost_is_taken_back_with_it(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """By whoever looks at the lane next; no look at the entity needs to come in between."""
    one_person_in_both(clinic, ehr, store)
    before = content(store.get("Patient/c1"))
    decide(clinic, EHR, STORE, same=True)
    store.faults({"on": "PUT Patient", "kind": "drop_answer", "next": 1})
    clinic.release()
    clinic.drain("store")
    assert content(store.get("Patient/c1")) != before
    decide(clinic, EHR, STORE, same=False)
    clinic.release()
    assert eventually(lambda: bool(clinic.drain("store")) and content(store.get("Patient/c1")) == before)


def test_what_a_poll_saw_before_it_was_known_to_have_landed_is_nobodys_own_word(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """The answer to a create is lost: what it carried of the other one looks like the store's own word for a while."""
    two_systems(clinic, ehr, store)
    ehr.put(a_patient())
    ehr.put(a_patient("p2", "617-555-0102"))
    clinic.poll("ehr", "Patient")
    second = "ehr:Patient:p2"
    decide(clinic, EHR, second, same=False)
    before = [content(ehr.get(f"Patient/{each}")) for each in ("p1", "p2")]
    apart = [state(clinic, name) for name in (EHR, second)]
    decide(clinic, EHR, second, same=True)
    store.faults(*({"on": f"{verb} Patient", "kind": "drop_answer", "next": 1} for verb in ("PUT", "POST")))
    clinic.release()
    clinic.drain("store")
    clinic.poll("store", "Patient")
    clinic.flow("ehr")
    assert eventually(lambda: bool(settle(clinic, 1)) or {each["state"] for each in clinic.lanes("store")} == {"idle"})
    decide(clinic, EHR, second, same=False)
    settle(clinic, 3)
    assert [content(ehr.get(f"Patient/{each}")) for each in ("p1", "p2")] == before
    assert [state(clinic, name) for name in (EHR, second)] == apart
    assert sorted(map(phones, store.all("Patient"))) == [["617-555-0101"], ["617-555-0102"]]


@pytest.mark.parametrize("born", ["2015-03-04", None])
def test_a_number_of_the_family_adopts_nobody_of_another_name(clinic: Clinic, store: System, born: str | None) -> None:
    """Twins under one number of their insurance, or a caller who says no day of birth."""
    number = [{"system": "urn:insurer", "value": "FAM-778"}]
    clinic.source("store", store, **PATIENTS)
    name = [{"family": "Okafor", "given": ["Ngozi"]}]
    store.put(a_patient("c1", "617-555-0777", name=name, birthDate="2015-03-04", identifier=number))
    for _ in range(2):
        clinic.poll("store", "Patient")
    compare(clinic)
    before = content(store.get("Patient/c1"))
    said(clinic, CALL, "617-555-0199", birth_date=born, identifier=number)
    compare(clinic)
    for _ in range(2):
        clinic.flow("store")
    assert content(store.get("Patient/c1")) == before, "Ngozi's chart"
    lane = lane_of(clinic, "store", CALL)
    assert lane is not None
    assert lane["reason"] == "possible_duplicate"


def test_the_name_of_a_source_is_no_pattern(clinic: Clinic, ehr: System, store: System) -> None:
    """In LIKE an underscore is any character: Patient/p1 of one clinic is not Patient/p1 of the other."""
    clinic.source("clinic-a", ehr, accept_from=["clinic_a"], **BOTH)
    incomplete = {"entity_types": {"patient": {"required": ["address"]}, "appointment": {}}}
    clinic.source("clinic_a", store, accept_from=["clinic-a"], **incomplete)
    stranger = [{"family": "Lindqvist", "given": ["Tuva"]}]
    store.put(a_patient("p1", "617-555-0999", name=stranger, birthDate="1955-01-30"))
    ehr.put(a_patient("p1"))
    ehr.put(an_appointment("a1", "p1"))
    for name in ("clinic-a", "clinic_a"):
        clinic.poll(name, "Patient")
    clinic.poll("clinic-a", "Appointment")
    decide(clinic, "clinic-a:Patient:p1", "clinic_a:Patient:p1", same=False)
    for _ in range(3):
        for name in ("clinic-a", "clinic_a"):
            clinic.flow(name)
        compare(clinic)
    booked = {each["participant"][0]["actor"]["reference"] for each in store.all("Appointment")}
    assert "Patient/p1" not in booked, "that is Tuva Lindqvist's chart"


def never_compared(clinic: Clinic, store: System) -> None:
    """A call of somebody who is for certain whom the store has, and of whom resolution has not heard."""
    clinic.source("store", store, **PATIENTS)
    store.put(a_contact())
    for _ in range(2):
        clinic.poll("store", "Patient")
    compare(clinic)
    said(clinic, CALL, "617-555-0888")
    clinic.execute("DELETE FROM pending_resolution")


def is_adopted(clinic: Clinic) -> bool:
    with clinic.database.begin(clinic.workspace) as tx:
        return bool(rows(tx, "SELECT 1 FROM adopted_record WHERE record_key = :key", key=STORE))


def test_who_is_told_apart_while_the_sink_is_searched_is_not_adopted(
    clinic: Clinic, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was looked up what people said of them; an adopted record is not given back by a word."""
    never_compared(clinic, store)
    judge = duplicate_search.judge

    def told_apart_meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(duplicate_search, "judge", judge)
        decide(clinic, CALL, STORE, same=False)
        return judge(*arguments)

    monkeypatch.setattr(duplicate_search, "judge", told_apart_meanwhile)
    for _ in range(2):
        clinic.flow("store")
    assert not is_adopted(clinic)
    assert len(store.all("Patient")) == 2, "two people"


def test_of_whom_a_person_is_being_asked_is_not_adopted(clinic: Clinic, store: System) -> None:
    never_compared(clinic, store)
    one, other = (entity_id_of(clinic.workspace, name) for name in (CALL, STORE))
    with clinic.database.begin(clinic.workspace) as tx:
        items.ask(
            tx, clinic.workspace, kind=items.MATCH, entity_id=one, entity_type="patient", other_id=other,
            reason="possible_match", priority=70, now=utc_now(),
        )  # fmt: skip
    clinic.flow("store")
    assert not is_adopted(clinic)
    lane = lane_of(clinic, "store", CALL)
    assert lane is not None
    assert lane["reason"] == "possible_duplicate"


def test_who_is_for_certain_in_the_sink_is_adopted(clinic: Clinic, store: System) -> None:
    never_compared(clinic, store)
    clinic.flow("store")
    assert is_adopted(clinic)
