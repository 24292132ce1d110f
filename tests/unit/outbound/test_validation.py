"""Each rule of validation, with the smallest body that breaks it, and what must pass all the same."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from connector_runner.kernel import exact_json
from connector_runner.outbound.validation import POLICY, SEMANTIC, SINK, SYNTACTIC, check, refused_by_sink
from connector_runner.settings import PROJECT_ROOT
from tests.unit.outbound.validated import APPOINTMENT, NOW, OBSERVATION, ORDER, PATIENT, changed, found

CANARY = "Quatermass"


@pytest.mark.parametrize("body", [PATIENT, APPOINTMENT, OBSERVATION, ORDER], ids=lambda body: body["resourceType"])
def test_what_is_right_passes(body: dict[str, Any]) -> None:
    assert found(body) == []


SYNTACTIC_RULES = [
    (PATIENT, "resourceType", "Person of interest", "resourceType", "unknown_type"),
    (PATIENT, "favouriteColour", CANARY, "Patient", "unknown_element"),
    (PATIENT, "name.0.nick", CANARY, "Patient.name[0]", "unknown_element"),
    (PATIENT, "_name", [{"extension": []}], "Patient", "unknown_element"),
    (PATIENT, "name", {"family": CANARY}, "Patient.name", "wrong_type"),
    (PATIENT, "name.0", CANARY, "Patient.name[0]", "wrong_type"),
    (PATIENT, "name.0.family", 5, "Patient.name[0].family", "wrong_type"),
    (PATIENT, "name.0.given", ["Ada", 5], "Patient.name[0].given[1]", "wrong_type"),
    (PATIENT, "telecom.0.rank", True, "Patient.telecom[0].rank", "wrong_type"),
    (PATIENT, "telecom.0.rank", Decimal("1.5"), "Patient.telecom[0].rank", "wrong_type"),
    (PATIENT, "active", "true", "Patient.active", "wrong_type"),
    (PATIENT, "managingOrganization", [], "Patient.managingOrganization", "wrong_type"),
    (PATIENT, "_birthDate", {"surprise": 1}, "Patient._birthDate", "wrong_type"),
    (PATIENT, "name", [], "Patient.name", "empty"),
    (PATIENT, "name.0", {}, "Patient.name[0]", "empty"),
    (PATIENT, "gender", "", "Patient.gender", "empty"),
    (PATIENT, "birthDate", "1982-13-45", "Patient.birthDate", "bad_date"),
    (PATIENT, "birthDate", "1983-02-29", "Patient.birthDate", "bad_date"),
    (PATIENT, "birthDate", "4 March 1982", "Patient.birthDate", "bad_date"),
    (APPOINTMENT, "start", "2026-12-01T09:00", "Appointment.start", "bad_date"),
    (APPOINTMENT, "start", "2026-12-01", "Appointment.start", "bad_date"),
    (APPOINTMENT, "status", ..., "Appointment.status", "required"),
    (APPOINTMENT, "participant", ..., "Appointment.participant", "required"),
    (APPOINTMENT, "participant.0.status", ..., "Appointment.participant[0].status", "required"),
    (ORDER, "medicationCodeableConcept", ..., "MedicationRequest.medication", "required"),
    (ORDER, "medicationReference", {"reference": "Medication/m"}, "MedicationRequest.medication[x]", "two_values"),
    (OBSERVATION, "valueString", "70 kg", "Observation.value[x]", "two_values"),
    (PATIENT, "contained", [{"resourceType": "Nonsense"}], "Patient.contained[0]", "unknown_type"),
    (
        ORDER,
        "dosageInstruction.0.timing.repeat.period",
        "1",
        "MedicationRequest.dosageInstruction[0].timing.repeat.period",
        "wrong_type",
    ),
]


@pytest.mark.parametrize(("base", "place", "value", "path", "code"), SYNTACTIC_RULES)
def test_what_is_no_r4_is_told_with_its_place(
    base: dict[str, Any], place: str, value: Any, path: str, code: str
) -> None:
    assert found(changed(base, place, value))[0] == (SYNTACTIC, path, code)


PERIOD = {"start": "2026-03-02", "end": "2026-03-01"}
CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
CONDITION = {
    "resourceType": "Condition",
    "subject": {"reference": "Patient/p1"},
    "clinicalStatus": {"coding": [{"system": CLINICAL, "code": "active"}]},
}
SEMANTIC_RULES = [
    # references
    (PATIENT, "managingOrganization.reference", "Patient/p2", "Patient.managingOrganization", "reference_type"),
    (PATIENT, "managingOrganization.reference", "o1", "Patient.managingOrganization", "bad_reference"),
    (PATIENT, "managingOrganization.reference", "Organization/a b", "Patient.managingOrganization", "bad_reference"),
    (PATIENT, "managingOrganization.reference", "urn:uuid:7", "Patient.managingOrganization", "bad_reference"),
    (PATIENT, "managingOrganization.reference", "#c", "Patient.managingOrganization", "reference_not_contained"),
    (PATIENT, "managingOrganization", {"type": "Organization"}, "Patient.managingOrganization", "empty_reference"),
    (
        PATIENT,
        "managingOrganization",
        {"reference": "Organization/o1", "type": "Patient"},
        "Patient.managingOrganization",
        "reference_type_differs",
    ),
    (APPOINTMENT, "slot", [{"reference": "Schedule/s"}], "Appointment.slot[0]", "reference_type"),
    (
        APPOINTMENT,
        "participant.0.actor.reference",
        "https://ehr.example/fhir/Observation/1",
        "Appointment.participant[0].actor",
        "reference_type",
    ),
    # codes of required value sets
    (PATIENT, "gender", "F", "Patient.gender", "code_not_in_value_set"),
    (PATIENT, "name.0.use", "legal", "Patient.name[0].use", "code_not_in_value_set"),
    (PATIENT, "telecom.0.system", "mail", "Patient.telecom[0].system", "code_not_in_value_set"),
    (APPOINTMENT, "status", "canceled", "Appointment.status", "code_not_in_value_set"),
    (APPOINTMENT, "participant.0.status", "yes", "Appointment.participant[0].status", "code_not_in_value_set"),
    (ORDER, "intent", "wish", "MedicationRequest.intent", "code_not_in_value_set"),
    (
        CONDITION,
        "clinicalStatus.coding.0.code",
        "cured",
        "Condition.clinicalStatus.coding[0].code",
        "code_not_in_value_set",
    ),
    # dates in order
    (PATIENT, "name.0.period", PERIOD, "Patient.name[0].period", "per-1"),
    (PATIENT, "birthDate", "2026-03-09", "Patient.birthDate", "in_the_future"),
    (PATIENT, "deceasedDateTime", "1970-01-01", "Patient.deceasedDateTime", "x-deceased"),
    (APPOINTMENT, "end", "2026-12-01T08:59:00Z", "Appointment.end", "x-order"),
    (APPOINTMENT, "end", "2026-12-01T09:30:00+02:00", "Appointment.end", "x-order"),
    (APPOINTMENT, "end", ..., "Appointment.start", "app-2"),
    (APPOINTMENT, "minutesDuration", 0, "Appointment.minutesDuration", "x-minutes"),
    (APPOINTMENT, "cancelationReason", {"text": "rain"}, "Appointment.cancelationReason", "app-4"),
    (APPOINTMENT, "participant.0.actor", ..., "Appointment.participant[0]", "app-1"),
    # quantities
    (OBSERVATION, "valueQuantity.code", "pounds", "Observation.valueQuantity.code", "x-ucum"),
    (OBSERVATION, "valueQuantity.system", ..., "Observation.valueQuantity.code", "qty-3"),
    (OBSERVATION, "dataAbsentReason", {"text": "x"}, "Observation.dataAbsentReason", "obs-6"),
    (OBSERVATION, "referenceRange", [{"type": {"text": "x"}}], "Observation.referenceRange[0]", "obs-3"),
    (
        OBSERVATION,
        "referenceRange",
        [{"low": {"value": 2}, "high": {"value": Decimal("1.5")}, "age": {"low": {"value": 9}, "high": {"value": 1}}}],
        "Observation.referenceRange[0].age",
        "rng-2",
    ),
    # the rest
    (PATIENT, "telecom.0.system", ..., "Patient.telecom[0].system", "cpt-2"),
    (PATIENT, "photo", [{"data": "AAAA"}], "Patient.photo[0].contentType", "att-1"),
    (PATIENT, "contact", [{"gender": "male"}], "Patient.contact[0]", "pat-1"),
    (
        ORDER,
        "dosageInstruction.0.timing.repeat.periodUnit",
        ...,
        "MedicationRequest.dosageInstruction[0].timing.repeat.periodUnit",
        "tim-2",
    ),
    (
        ORDER,
        "dosageInstruction.0.timing.repeat.frequency",
        0,
        "MedicationRequest.dosageInstruction[0].timing.repeat.frequency",
        "x-frequency",
    ),
    ({"resourceType": "Organization"}, "active", True, "Organization", "org-1"),
    (
        {**APPOINTMENT, "resourceType": "Appointment"},
        "status",
        "fulfilled",
        None,
        None,
    ),
]


@pytest.mark.parametrize(("base", "place", "value", "path", "code"), SEMANTIC_RULES)
def test_what_cannot_be_meant_is_told_with_its_place(
    base: dict[str, Any], place: str, value: Any, path: str | None, code: str | None
) -> None:
    expected = [] if path is None else [(SEMANTIC, path, code)]
    assert found(changed(base, place, value))[:1] == expected


def test_start_and_end_are_needed_by_a_booked_appointment_only() -> None:
    body = {key: value for key, value in APPOINTMENT.items() if key not in ("start", "end")}
    assert found(body) == [(SEMANTIC, "Appointment.start", "app-3")]
    assert found({**body, "status": "waitlist"}) == []


def test_exact_decimals_extensions_and_contained_resources_pass() -> None:
    extension = {"url": "urn:x", "valueDecimal": Decimal("1.50")}
    body = {
        **PATIENT,
        "_birthDate": {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime"}]},
        "name": [{"given": ["Ada", None], "_given": [None, {"extension": [extension]}]}],
        "contained": [{"resourceType": "Organization", "id": "c", "name": "Clinic"}],
        "managingOrganization": {"reference": "#c"},
        "multipleBirthInteger": 2,
    }
    assert found(body) == []


def test_a_later_layer_is_asked_only_when_those_before_found_nothing() -> None:
    body = changed(changed(PATIENT, "gender", "F"), "birthDate", "yesterday")
    assert {layer for layer, *_ in found(body)} == {SYNTACTIC}
    assert {layer for layer, *_ in found(changed(PATIENT, "gender", "F"), written=frozenset())} == {SEMANTIC}


# what the sink has wrong already


def test_only_what_changes_is_judged() -> None:
    before = changed(PATIENT, "gender", "F")
    before = changed(before, "telecom.0.system", ...)
    assert found(before) != []
    assert found({**before, "active": True}, before) == []
    both = {**before, "telecom": [*before["telecom"], {"system": "email", "value": "a@b.example", "use": "job"}]}
    assert found(both, before) == [(SEMANTIC, "Patient.telecom[1].use", "code_not_in_value_set")]


def test_a_change_must_not_take_away_what_is_required() -> None:
    body = {key: value for key, value in APPOINTMENT.items() if key != "participant"}
    assert found(body, APPOINTMENT) == [(SYNTACTIC, "Appointment.participant", "required")]


def test_a_resource_stays_itself() -> None:
    assert found({**PATIENT, "id": "p2"}, PATIENT) == [(SEMANTIC, "Patient", "another_resource")]


def test_a_change_across_elements_counts_though_one_of_them_stays() -> None:
    assert found({**APPOINTMENT, "end": "2026-12-01T08:00:00Z"}, APPOINTMENT) == [
        (SEMANTIC, "Appointment.end", "x-order")
    ]


# policy


def test_elements_of_others_are_not_changed() -> None:
    mine = frozenset({"telecom"})
    assert found({**PATIENT, "telecom": [{"system": "email", "value": "x"}]}, PATIENT, written=mine) == []
    for body in ({**PATIENT, "gender": "male"}, {k: v for k, v in PATIENT.items() if k != "gender"}):
        assert found(body, PATIENT, written=mine) == [(POLICY, "", "foreign_field")]
    created = {"resourceType": "Patient", "id": "x", "identifier": [], "telecom": [{"system": "sms", "value": "1"}]}
    assert found({k: v for k, v in created.items() if v != []}, written=mine) == []
    assert found({**PATIENT}, written=mine) == [(POLICY, "", "foreign_field")]


def test_no_problem_quotes_a_value_or_a_foreign_name() -> None:
    for base, place, value, *_ in (*SYNTACTIC_RULES, *SEMANTIC_RULES):
        planted = json.loads(json.dumps(value, default=str).replace("x", CANARY)) if value is not ... else ...
        body = changed(base, place, planted)
        spoiled = {**body, CANARY: CANARY, f"_{CANARY}": {"id": CANARY}}
        for one in (body, spoiled):
            for problem in check(one, before=None, now=NOW):
                assert CANARY.lower() not in f"{problem.path} {problem.code} {problem.message}".lower()


# JSON Schema, for what is not FHIR

SCHEMA = json.dumps(
    {
        "type": "object",
        "required": ["email"],
        "additionalProperties": False,
        "properties": {
            "email": {"type": "string", "minLength": 3},
            "tier": {"enum": ["gold", "silver"]},
            "score": {"type": "number"},
            "properties": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }
)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, []),
        ({"score": Decimal("1.50")}, []),
        ({"email": ...}, [(SYNTACTIC, "email", "required")]),
        ({"email": 5}, [(SYNTACTIC, "email", "wrong_type")]),
        ({"email": ""}, [(SYNTACTIC, "email", "empty")]),
        ({CANARY: 1}, [(SYNTACTIC, "", "unknown_element")]),
        ({"properties": {CANARY: 1}}, [(SYNTACTIC, "properties.*", "wrong_type")]),
        ({"tier": CANARY}, [(SEMANTIC, "tier", "code_not_in_value_set")]),
    ],
)
def test_what_is_not_fhir_goes_by_its_schema(more: dict[str, Any], expected: list[Any]) -> None:
    body = {"resourceType": "contact", "email": "a@b.example", **more}
    body = {key: value for key, value in body.items() if value is not ...}
    assert found(body, fhir=False, schema=SCHEMA) == expected


def test_what_is_not_fhir_and_has_no_schema_is_left_to_the_sink() -> None:
    assert found({"resourceType": "contact", "anything": 1}, fhir=False) == []


def test_the_sinks_own_no_is_a_problem_of_the_last_layer() -> None:
    [problem] = refused_by_sink("invariant")
    assert (problem.layer, problem.reason, problem.code, problem.wait) == (SINK, "invalid_sink", "invariant", False)


def test_a_patient_is_checked_in_less_than_0_4_ms() -> None:
    path = PROJECT_ROOT / "tests" / "mappings" / "fhir_r4" / "patient" / "input.json"
    body = exact_json.loads(path.read_bytes())
    body["gender"] = "female"
    assert found(body) == []
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(100):
            check(body, before=None, now=NOW)
        best = min(best, (time.process_time() - started) / 100)
    assert best < 0.0004
