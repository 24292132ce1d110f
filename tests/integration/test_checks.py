"""Checks on the way to a sink: what is wrong stands still with its layer and place, and is never sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connector_runner.kernel import exact_json
from tests.integration.outbound_stack import Clinic, System

PATIENTS: dict[str, Any] = {"entity_types": {"patient": {}, "appointment": {}}}


def patient(clinic: Clinic, **facts: Any) -> str:
    """A patient whom an agent knows, verified."""
    known = {"name": {"family": "Mensah", "given": ["Kofi"]}, "birth_date": "1990-01-02"}
    said = clinic.say(entity_type="patient", confidence=0.5, facts={**known, **facts})
    clinic.judge(said.events[0]["id"])
    return str(said.events[0]["entity_id"])


@pytest.mark.parametrize(
    ("facts", "layer", "place"),
    [
        ({"birth_date": "second of January"}, "syntactic", "Patient.birthDate: bad_date"),
        ({"telecom": [{"system": "phone", "value": "617", "rank": "first"}]}, "syntactic", "Patient.telecom[0].rank"),
        ({"gender": "M"}, "semantic", "Patient.gender: code_not_in_value_set"),
        ({"birth_date": "2999-01-01"}, "semantic", "Patient.birthDate: in_the_future"),
        (
            {"identifier": [{"system": "https://clinic.example/mensah", "value": "1"}]},
            "policy",
            "identifier[0].system: protected_address",
        ),
    ],
)
def test_a_bad_body_is_put_aside_with_its_layer_and_place(
    clinic: Clinic, ehr: System, facts: dict[str, Any], layer: str, place: str
) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    patient(clinic, **facts)
    patient(clinic, name={"family": "Asante", "given": ["Efua"]})
    clinic.flow("ehr")
    bad, good = sorted(clinic.lanes("ehr"), key=lambda lane: lane["state"] != "quarantined")
    assert (bad["state"], bad["reason"]) == ("quarantined", f"invalid_{layer}")
    assert bad["reason_detail"].startswith(place)
    assert not any(str(value) in bad["reason_detail"] for value in facts.values() if isinstance(value, str))
    assert good["state"] == "idle"
    assert [one["name"][0]["family"] for one in ehr.all("Patient")] == ["Asante"]
    with clinic.database.begin(clinic.workspace) as tx:
        [entry] = clinic.outbound.quarantine.list(tx, clinic.workspace, stage="outbound")
        body = clinic.outbound.quarantine.body(tx, clinic.workspace, entry.quarantine_id)
    assert entry.code == f"invalid_{layer}"
    assert exact_json.loads(body or b"")["resourceType"] == "Patient"


def test_once_it_is_right_it_goes(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    entity = patient(clinic, gender="M")
    clinic.flow("ehr")
    assert clinic.lane("ehr")["reason"] == "invalid_semantic"
    said = clinic.say(entity_id=entity, entity_type="patient", confidence=0.5, facts={"gender": "male"})
    clinic.judge(said.events[0]["id"])
    clinic.execute("UPDATE sync_lane SET state = 'ready'")
    clinic.flow("ehr")
    [made] = ehr.all("Patient")
    assert made["gender"] == "male"


def test_a_step_that_rewrites_what_happened_is_not_sent(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    facts = {
        "status": "booked",
        "start": "2026-12-01T09:00:00Z",
        "end": "2026-12-01T09:20:00Z",
        "participant": [{"actor": {"display": "Dr Ada"}, "status": "accepted"}],
    }
    said = clinic.say(entity_type="appointment", confidence=0.5, facts=facts)
    entity = str(said.events[0]["entity_id"])
    clinic.judge(said.events[0]["id"])
    clinic.flow("ehr")
    for status in ("cancelled", "booked"):
        said = clinic.say(entity_id=entity, entity_type="appointment", confidence=0.5, facts={"status": status})
        clinic.judge(said.events[0]["id"])
        clinic.flow("ehr")
    [made] = ehr.all("Appointment")
    lane = clinic.lane("ehr", "appointment")
    assert made["status"] == "cancelled"
    assert (lane["state"], lane["reason"]) == ("quarantined", "invalid_semantic")
    assert lane["reason_detail"] == "Appointment.status: status_transition"


def test_what_the_sink_has_wrong_already_stops_no_change_of_ours(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    entity = patient(clinic)
    clinic.flow("ehr")
    [made] = ehr.all("Patient")
    ehr.put({**made, "contact": [{"gender": "male"}]})
    clinic.poll("ehr", "Patient")
    phone = [{"system": "phone", "use": "home", "value": "617-555-0101"}]
    said = clinic.say(entity_id=entity, entity_type="patient", confidence=0.5, facts={"telecom": phone})
    clinic.judge(said.events[0]["id"])
    clinic.flow("ehr")
    [made] = ehr.all("Patient")
    assert clinic.lane("ehr")["state"] == "idle"
    assert made["telecom"][0]["value"].endswith("0101")
    assert made["contact"] == [{"gender": "male"}]


# the sink's own validation


def validating(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS, capabilities={"validate": True})


def asked(ehr: System) -> list[str]:
    names = [entry["path"].rpartition("/")[2] for entry in ehr.journal()]
    return [name for name in names if name == "$validate"]


def test_a_sink_is_asked_what_it_thinks_before_it_is_written_to(clinic: Clinic, ehr: System) -> None:
    validating(clinic, ehr)
    patient(clinic)
    clinic.flow("ehr")
    assert asked(ehr) == ["$validate"]
    assert len(ehr.all("Patient")) == 1
    assert clinic.lane("ehr")["state"] == "idle"


def test_what_the_sink_would_refuse_is_not_sent(clinic: Clinic, ehr: System) -> None:
    validating(clinic, ehr)
    patient(clinic)
    ehr.faults({"on": "POST Patient", "kind": "status", "status": 422, "code": "invariant", "where": "Patient.name"})
    clinic.flow("ehr")
    lane = clinic.lane("ehr")
    assert (lane["state"], lane["reason"]) == ("quarantined", "invalid_sink")
    assert lane["reason_detail"].startswith("Patient.name: ")
    assert ehr.all("Patient") == []
    assert clinic.count("open_intent") == 0


def test_a_sink_that_cannot_say_it_is_written_to_all_the_same(clinic: Clinic, ehr: System) -> None:
    validating(clinic, ehr)
    patient(clinic)
    ehr.faults({"on": "POST Patient", "kind": "status", "status": 500, "rate": 1})
    clinic.flow("ehr")
    assert len(ehr.all("Patient")) == 1


def test_one_that_is_too_busy_to_say_it_is_left_alone(clinic: Clinic, ehr: System) -> None:
    validating(clinic, ehr)
    patient(clinic)
    ehr.faults({"on": "POST Patient", "kind": "status", "status": 429, "rate": 1})
    clinic.release()
    clinic.drain("ehr", slice_s=1.0)
    assert (clinic.lane("ehr")["state"], ehr.all("Patient")) == ("waiting", [])
    ehr.faults()
    clinic.execute("UPDATE sync_lane SET due_at = clock_timestamp()")
    clinic.outbound = replace(clinic.outbound)
    clinic.flow("ehr")
    assert len(ehr.all("Patient")) == 1
