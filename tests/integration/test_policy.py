"""Policy from a record to what a sink was sent: over all records of a patient, at release and again at the drain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connector_runner.infra.database import rows
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.operating import policies
from connector_runner.outbound.releasing.regrouping import subscriber as sinks_hear
from connector_runner.outbound.releasing.release import subscriber as request_release
from connector_runner.policy.settings import PolicySettings
from connector_runner.resolution import service
from connector_runner.world import reading
from connector_runner.world.service import World
from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment, once_planned
from tests.integration.test_drain import BOTH, spoken
from tests.integration.test_gates import a_consent, at, where

ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
ASKING = {"accept_from": ["ehr"], "consent": "opt_out", **BOTH}
TESTER = "+16175550142"


@pytest.fixture
def compared(clinic: Clinic) -> Clinic:
    """Whose entities are compared when they change, as in production."""
    world = World([request_release, service.subscriber])
    return replace(clinic, outbound=replace(clinic.outbound, world=world))


def same(clinic: Clinic, one: str, other: str, *, are: bool = True) -> None:
    """A person says whether two are the same."""
    with clinic.database.begin(clinic.workspace) as tx:
        ids = [reading.entity_id(tx, clinic.workspace, name) for name in (one, other)]
        service.decide(tx, clinic.workspace, *ids, same=are, actor="nurse", reason="seen", now=utc_now())
    compare(clinic)


def compare(clinic: Clinic) -> None:
    while service.resolve(clinic.database, clinic.workspace, now=utc_now(), tell=sinks_hear).more:
        pass


def lay_down(clinic: Clinic, **document: Any) -> policies.Applied:
    policy = PolicySettings.model_validate(document)
    return policies.apply(clinic.database, clinic.workspace, policy, actor="test", now=utc_now())


def refusals(clinic: Clinic) -> list[dict[str, Any]]:
    with clinic.database.begin(clinic.workspace) as tx:
        found = rows(tx, "SELECT detail FROM audit_log WHERE action = 'policy.refused' ORDER BY n")
    return [row["detail"] for row in found]


def labelled(*codes: str, **more: Any) -> dict[str, Any]:
    marks = [{"system": ACT, "code": code} for code in codes]
    return a_patient(meta={"lastUpdated": "2026-11-20T10:00:00Z", "security": marks}, **more)


def in_crm(record_id: str = "c9") -> dict[str, Any]:
    """The same person as the CRM has them: under another name, so that only a person knows."""
    return {"resourceType": "Patient", "id": record_id, "name": [{"family": "Quist", "given": ["Theodora"]}]}


def two_systems(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("crm", ehr)
    clinic.source("store", store, **ASKING)


def of_crm(status: str = "active", kind: str = "permit", at: int = 10) -> dict[str, Any]:
    return a_consent(status, kind, at, patient={"reference": "Patient/c9"})


def test_a_refusal_on_the_crms_record_stops_the_appointment_of_the_ehrs(
    compared: Clinic, ehr: System, store: System
) -> None:
    clinic = compared
    two_systems(clinic, ehr, store)
    clinic.land("ehr", at(10), an_appointment("a1"))
    clinic.land("crm", in_crm(), of_crm(kind="deny"))
    compare(clinic)
    clinic.release()
    assert {(lane["state"], lane["reason"]) for lane in clinic.lanes("store")} == {
        ("ready", None),
        ("waiting", "dependency"),
    }
    same(clinic, "ehr:Patient:p1", "crm:Patient:c9")
    clinic.flow("store")
    assert store.writes() == []
    assert where(clinic, "appointment") == ("idle", "consent_withdrawn")
    same(clinic, "ehr:Patient:p1", "crm:Patient:c9", are=False)
    clinic.flow("store")
    assert len(store.all("Appointment")) == 1


def test_a_record_of_several_patients_is_each_ones(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    group = an_appointment("a1")
    group["participant"].append({"actor": {"reference": "Patient/p2"}, "status": "accepted"})
    clinic.land("ehr", at(10), a_patient("p2"), group, an_appointment("a2"))
    clinic.release()
    clinic.land("ehr", a_consent(kind="deny", patient={"reference": "Patient/p2"}))
    clinic.flow("store")
    assert len(store.all("Appointment")) == 1, "that of the first alone"
    assert [each["reason"] for each in refusals(clinic)] == ["consent_withdrawn"] * 2
    clinic.land("ehr", a_consent(at=11, patient={"reference": "Patient/p2"}))
    clinic.flow("store")
    assert (len(store.all("Patient")), len(store.all("Appointment"))) == (2, 2)


def test_withdrawn_on_another_record_between_release_and_drain(
    compared: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = compared
    two_systems(clinic, ehr, store)
    clinic.land("ehr", at(10))
    clinic.land("crm", in_crm())
    same(clinic, "ehr:Patient:p1", "crm:Patient:c9")
    clinic.flow("store")
    before = len(store.writes())
    assert before
    clinic.land("ehr", an_appointment("a1"))
    clinic.release()
    assert clinic.lane("store", "appointment")["state"] == "ready"
    once_planned(monkeypatch, lambda: clinic.land("crm", of_crm("inactive")))
    done = clinic.flow("store")
    assert done.outcomes["outdated"] == 1
    assert len(store.writes()) == before
    lane = clinic.lane("store", "appointment")
    assert (lane["state"], lane["reason"], lane["attempts"]) == ("idle", "consent_withdrawn", 0)
    assert lane["reason_detail"].startswith("consent:")
    found = [each for each in refusals(clinic) if each["reason"] == "consent_withdrawn"]
    assert {(each["sink"], each["rests_on"]) for each in found} == {("store", lane["reason_detail"])}
    clinic.land("crm", of_crm(at=12))
    clinic.flow("store")
    assert len(store.all("Appointment")) == 1


def test_a_refusal_is_audited_once_and_not_at_every_look(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    clinic.land("ehr", a_consent(kind="deny"), at(10))
    clinic.flow("store")
    clinic.land("ehr", at(11, phone="617-555-0777"))
    clinic.flow("store")
    assert [each["reason"] for each in refusals(clinic)] == ["consent_withdrawn"]


def test_a_label_asks_for_consent_and_holds_for_all_that_is_about_the_patient(
    clinic: Clinic, ehr: System, store: System
) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    clinic.land("ehr", labelled("42CFRPart2"), an_appointment("a1"), a_patient("p2"))
    clinic.flow("store")
    assert [each["identifier"][0]["value"] for each in store.all("Patient")] == ["MRN-p2"]
    assert where(clinic, "appointment") == ("idle", "sensitivity_label")
    clinic.land("ehr", a_consent())
    clinic.flow("store")
    assert (len(store.all("Patient")), len(store.all("Appointment"))) == (2, 1)


def test_a_label_that_is_given_later_stops_what_waits(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    clinic.land("ehr", at(9))
    clinic.flow("store")
    clinic.land("ehr", an_appointment("a1"))
    clinic.release()
    clinic.land("ehr", labelled("PSY"))
    clinic.flow("store")
    assert where(clinic, "appointment") == ("idle", "sensitivity_label")
    clinic.land("ehr", at(11))
    clinic.flow("store")
    assert len(store.all("Appointment")) == 1, "the label was taken back"


def test_the_label_of_one_record_is_not_that_of_its_patient(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    marked = {"meta": {"security": [{"system": ACT, "code": "HIV"}]}}
    clinic.land("ehr", at(10), an_appointment("a1", **marked), an_appointment("a2"))
    clinic.flow("store")
    assert (len(store.all("Patient")), len(store.all("Appointment"))) == (1, 1)


def test_whose_number_is_a_test_callers_never_leaves(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    clinic.land("ehr", at(10, phone="(617) 555-0142"), an_appointment("a1"), a_patient("p2"))
    clinic.release()
    applied = lay_down(clinic, test_callers=[TESTER])
    assert (applied.changed, applied.marked) == (True, 1)
    clinic.flow("store")
    assert [each["identifier"][0]["value"] for each in store.all("Patient")] == ["MRN-p2"]
    assert where(clinic, "appointment") == ("idle", "test_caller")
    clinic.land("ehr", a_patient("p3", phone="617-555-0142"))
    clinic.flow("store")
    assert len(store.all("Patient")) == 1
    again = lay_down(clinic, test_callers=[TESTER])
    assert (again.changed, again.version) == (False, applied.version)
    lay_down(clinic)
    clinic.flow("store")
    assert (len(store.all("Patient")), len(store.all("Appointment"))) == (3, 1)


def test_a_test_callers_number_is_known_where_an_agent_writes_it(clinic: Clinic, store: System) -> None:
    clinic.source("store", store, threshold=0.4, **BOTH)
    lay_down(clinic, test_callers=[TESTER], without_review={"voice_agent": ["patient"]})
    facts = {"name": {"family": "Okafor"}, "telecom": [{"value": "617.555.0142 (mobile)"}]}
    clinic.say(canonical_id="voice_agent:Patient:v1", entity_type="patient", confidence=0.5, facts=facts)
    clinic.flow("store")
    with clinic.database.begin(clinic.workspace) as tx:
        assert [row["test_caller"] for row in rows(tx, "SELECT test_caller FROM patient_mark")] == [True]
    assert store.writes() == []


def test_a_policy_laid_down_after_planning_still_counts(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    clinic.land("ehr", at(10))
    clinic.release()
    once_planned(monkeypatch, lambda: lay_down(clinic, rules=[{"name": "stop", "actions": ["write"]}]))
    done = clinic.flow("store")
    assert done.outcomes["outdated"] == 1
    assert (where(clinic), store.writes()) == (("idle", "workspace_rule"), [])
    assert clinic.lane("store")["reason_detail"] == "rule:stop"


def test_a_rule_keeps_back_a_field_and_sends_the_rest(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    lay_down(clinic, rules=[{"name": "no-phone", "actions": ["write"], "sinks": ["store"], "fields": ["telecom"]}])
    clinic.land("ehr", at(10))
    clinic.flow("store")
    patient = store.all("Patient")[0]
    assert patient["name"][0]["family"] == "Okafor"
    assert "telecom" not in patient
    assert {(each["atom"], each["code"]) for each in clinic.lane("store")["withheld"]} == {
        ("telecom[phone|home]", "workspace_rule")
    }


def test_what_a_rule_keeps_back_is_not_taken_from_a_sink_that_has_it(
    clinic: Clinic, ehr: System, store: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    clinic.land("ehr", at(10))
    clinic.flow("store")
    before = store.all("Patient")[0]["telecom"]
    stated = [{"name": "no-phone", "actions": ["write"], "sinks": ["store"], "fields": ["telecom"]}]
    clinic.land("ehr", at(11, telecom=[], birthDate="1990-01-01"))
    clinic.release()
    once_planned(monkeypatch, lambda: lay_down(clinic, rules=stated))
    clinic.flow("store")
    patient = store.all("Patient")[0]
    assert (patient["birthDate"], patient["telecom"]) == ("1990-01-01", before), "nor when the rule came after planning"
    clinic.land("ehr", at(12, phone="617-555-0777", birthDate="1991-01-01"))
    clinic.flow("store")
    patient = store.all("Patient")[0]
    assert (patient["birthDate"], patient["telecom"]) == ("1991-01-01", before)


def test_what_a_source_may_do_without_review_is_a_setting(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, threshold=0.4, **BOTH)
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    spoken(clinic)
    clinic.flow("ehr")
    before = len(ehr.writes())
    assert {each["code"] for each in clinic.lane("ehr")["withheld"]} == {"not_reviewed"}
    lay_down(clinic, without_review={"voice_agent": ["patient.address"]})
    clinic.flow("ehr")
    assert len(ehr.writes()) == before
    lay_down(clinic, without_review={"voice_agent": ["patient.telecom"]})
    clinic.flow("ehr")
    assert len(ehr.writes()) == before + 1


def test_a_source_may_need_review_of_what_else_is_believed(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **ASKING)
    lay_down(clinic, without_review={"ehr": ["patient"]})
    clinic.land("ehr", at(10), an_appointment("a1"))
    clinic.flow("store")
    assert (len(store.all("Patient")), len(store.all("Appointment"))) == (1, 0)
    assert where(clinic, "appointment") == ("idle", "not_reviewed")
