"""From an event to a write in a simulated FHIR server, and back as an echo."""

from __future__ import annotations

from typing import Any

from connector_runner.outbound.operating import status
from connector_runner.outbound.operating.preview import preview
from connector_runner.outbound.releasing import release
from connector_runner.world import reading
from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment

BOTH_SAID = ["617-555-0199", "ada@example.org"]
PATIENTS = {"entity_types": ["patient"]}
BOTH = {"entity_types": ["patient", "appointment"]}


def spoken(clinic: Clinic, phone: str = "617-555-0199", **more: Any) -> str:
    """A voice agent hears another number for patient p1; the id of the event."""
    said = clinic.say(
        canonical_id="ehr:Patient:p1",
        entity_type="patient",
        confidence=0.5,
        facts={
            "telecom": [
                {"system": "phone", "use": "home", "value": phone},
                {"system": "email", "use": "home", "value": "ada@example.org"},
            ],
            **more,
        },
    )
    return str(said.events[0]["id"])


def phones(resource: dict[str, Any]) -> list[str]:
    return [item["value"] for item in resource.get("telecom", [])]


def test_a_record_goes_to_the_sink_that_opted_in_and_nowhere_else(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr, **BOTH)
    clinic.source("store", store, accept_from=["ehr"], **BOTH)
    clinic.land("ehr", an_appointment("a1"), a_patient())
    assert clinic.flow("store").outcomes["landed"] == 2
    clinic.flow("ehr")

    assert ehr.writes() == []
    [patient] = store.all("Patient")
    [appointment] = store.all("Appointment")
    assert patient["name"] == [{"use": "official", "family": "Okafor", "given": ["Ada"]}]
    assert appointment["participant"][0]["actor"]["reference"] == f"Patient/{patient['id']}"
    assert patient["id"] == clinic.lane("store")["client_ref"]
    assert "MRN" not in patient["id"]
    assert clinic.count("open_intent") == 0
    assert {lane["state"] for lane in clinic.lanes("store")} == {"idle"}


def test_a_sink_that_was_just_switched_on_is_told_of_by_who_has_just_seen_it_off(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """Each process keeps the terms of sinks for a while; what waits for release is asked once, when they change."""
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], enabled=False, **PATIENTS)
    worker = clinic.outbound
    clinic.land("ehr", a_patient())
    with clinic.database.begin(clinic.workspace) as tx:
        assert worker.sinks.terms(tx, clinic.workspace) == []
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    with clinic.database.begin(clinic.workspace) as tx:
        release.request_all(tx, clinic.workspace)
    assert [sink.name for sink in release.release(worker, clinic.workspace).sinks] == ["store"]
    clinic.source("store", store, accept_from=["ehr"], threshold=1.0, **PATIENTS)
    with clinic.database.begin(clinic.workspace) as tx:
        (terms,) = worker.sinks.terms(tx, clinic.workspace)
    assert terms.entity_types["patient"] == 1.0


def test_without_opting_in_nothing_leaves(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, **PATIENTS)
    clinic.land("ehr", a_patient())
    clinic.flow("store")
    assert store.writes() == []
    assert clinic.lanes("store") == []


def test_a_voice_value_leaves_only_after_a_verdict_and_once(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    ehr.put(a_patient(extension=[{"url": "urn:theirs", "valueString": "kept"}]))
    clinic.poll("ehr", "Patient")
    clinic.flow("store")
    ehr_before = len(ehr.writes())

    event = spoken(clinic)
    clinic.land("ehr", a_patient(gender="other", meta={"lastUpdated": "2026-11-20T10:00:00Z", "versionId": "9"}))
    for sink in ("ehr", "store"):
        clinic.flow(sink)
    assert len(ehr.writes()) == ehr_before
    [copy] = store.all("Patient")
    assert phones(copy) == ["617-555-0101"]
    assert clinic.lane("store")["withheld"] == [{"atom": "telecom[email|home]", "code": "below_threshold"}]

    clinic.judge(event)
    for sink in ("ehr", "store"):
        clinic.flow(sink)
    assert phones(ehr.get("Patient/p1")) == phones(store.all("Patient")[0]) == BOTH_SAID
    assert ehr.get("Patient/p1")["extension"] == [{"url": "urn:theirs", "valueString": "kept"}]
    assert len(ehr.writes()) == ehr_before + 1


def test_an_echo_changes_nothing_and_stays_ours(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    clinic.judge(spoken(clinic), kind="automated")
    for sink in ("ehr", "store"):
        clinic.flow(sink)
    writes = len(ehr.writes()), len(store.writes())

    for _ in range(2):
        clinic.poll("ehr", "Patient")
        clinic.poll("store", "Patient")
        for sink in ("ehr", "store"):
            clinic.flow(sink)
    assert (len(ehr.writes()), len(store.writes())) == writes
    with clinic.database.begin(clinic.workspace) as tx:
        view = reading.view(tx, clinic.workspace, "ehr:Patient:p1")
        assert reading.entity_id(tx, clinic.workspace, f"store:Patient:{store.all('Patient')[0]['id']}") == (
            view.entity_id if view else None
        )
    assert view is not None
    phone = view.folded.atoms["telecom[phone|home]"]
    assert {claim.source for claim in (phone.winner, *phone.losers) if claim.value == phone.winner.value} == {
        "voice_agent"
    }
    assert phone.winner.confidence == 0.85
    assert clinic.count("entity") == 1


def test_a_dependency_is_waited_for_and_wakes_what_waits(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **BOTH)
    clinic.land("ehr", an_appointment("a1"))
    clinic.flow("store")
    lane = clinic.lane("store", "appointment")
    assert (lane["state"], lane["reason"], lane["attempts"]) == ("waiting", "dependency", 0)
    assert store.writes() == []

    clinic.land("ehr", a_patient())
    clinic.flow("store")
    assert [entry["resource"].partition("/")[0] for entry in store.writes()] == ["Patient", "Appointment"]
    assert clinic.lane("store", "appointment")["state"] == "idle"


def test_only_what_changed_is_sent_and_foreign_edits_stay(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    clinic.land("ehr", a_patient(meta={"lastUpdated": "2026-11-20T10:00:00Z"}))
    clinic.flow("store")
    [held] = store.all("Patient")
    store.put({**held, "photo": [{"title": "theirs"}], "gender": "unknown"})

    clinic.land("ehr", a_patient(phone="617-555-0777", meta={"lastUpdated": "2026-11-20T11:00:00Z"}))
    done = clinic.flow("store")
    assert done.outcomes["conflict"] == 1, "the version that we knew was stale, and If-Match said so"
    [now] = store.all("Patient")
    assert phones(now) == ["617-555-0777"]
    assert (now["photo"], now["gender"]) == ([{"title": "theirs"}], "unknown")


def test_what_its_source_withdraws_is_taken_back(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    clinic.land("ehr", a_patient(meta={"lastUpdated": "2026-11-20T10:00:00Z"}))
    clinic.flow("store")
    clinic.poll("store", "Patient")
    without = {k: v for k, v in a_patient().items() if k != "telecom"}
    clinic.land("ehr", {**without, "meta": {"lastUpdated": "2026-11-20T11:00:00Z"}})
    clinic.flow("store")
    [now] = store.all("Patient")
    assert "telecom" not in now
    assert now["birthDate"] == "1982-03-04"


def test_a_resource_is_never_emptied(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], entity_types=["patient", "immunization"])
    shot = {
        "resourceType": "Immunization",
        "id": "i1",
        "status": "completed",
        "vaccineCode": {"text": "influenza"},
        "patient": {"reference": "Patient/p1"},
        "occurrenceDateTime": "2026-10-01",
    }
    clinic.land("ehr", a_patient(), {**shot, "meta": {"lastUpdated": "2026-11-20T10:00:00Z"}})
    clinic.flow("store")
    clinic.poll("store", "Immunization")
    clinic.land("ehr", {**shot, "status": "entered-in-error", "meta": {"lastUpdated": "2026-11-20T11:00:00Z"}})
    clinic.flow("store")
    lane = clinic.lane("store", "immunization")
    assert (lane["state"], lane["reason"], lane["reason_detail"]) == ("idle", "entity_not_active", "retracted")
    assert [entry["status"] for entry in store.writes()] == [201, 201]


def test_an_agents_own_patient_is_created_where_it_may(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, client_id=False, **PATIENTS)
    said = clinic.say(
        entity_type="patient",
        confidence=0.5,
        facts={"name": {"family": "Mensah", "given": ["Kofi"]}, "birth_date": "1990-01-02"},
    )
    clinic.flow("ehr")
    assert ehr.writes() == []
    assert clinic.lane("ehr")["reason"] == "below_threshold"
    clinic.judge(said.events[0]["id"])
    clinic.flow("ehr")
    clinic.poll("ehr", "Patient")
    clinic.flow("ehr")
    [made] = ehr.all("Patient")
    assert made["identifier"] == [{"system": "urn:connector-runner:entity", "value": clinic.lane("ehr")["client_ref"]}]
    assert [entry["method"] for entry in ehr.writes()] == ["POST"]
    assert clinic.count("entity") == 1


def test_content_that_is_refused_is_put_aside_and_replayed(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    store.faults({"on": "PUT Patient", "kind": "status", "status": 422, "next": 1})
    clinic.land("ehr", a_patient("p1"), a_patient("p2"))
    clinic.flow("store")
    assert sorted(lane["state"] for lane in clinic.lanes("store")) == ["idle", "quarantined"]
    assert clinic.count("quarantine") == 1
    stuck = next(lane for lane in clinic.lanes("store") if lane["state"] == "quarantined")
    put_back = status.retry(clinic.outbound, clinic.workspace, lane_ids=[stuck["lane_id"]], sink=None, actor="op")
    assert put_back.lanes == 1
    clinic.flow("store")
    assert len(store.all("Patient")) == 2
    with clinic.database.begin(clinic.workspace) as tx:
        assert clinic.outbound.quarantine.count_open(tx, clinic.workspace) == 0


def test_refusal_for_rate_is_no_attempt(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    store.faults({"on": "PUT Patient", "kind": "status", "status": 429, "retry_after": 1, "next": 1})
    clinic.land("ehr", a_patient())
    done = clinic.flow("store")
    assert done.outcomes["refused"] == 1
    lane = clinic.lane("store")
    assert (lane["state"], lane["attempts"], lane["last_status"]) == ("waiting", 0, 429)
    assert clinic.drain("store").outcomes == {}
    clinic.execute("UPDATE sync_lane SET due_at = now()")
    assert clinic.drain("store").outcomes["landed"] == 1


def test_a_refused_credential_pauses_the_sink(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    store.faults({"on": "PUT Patient", "kind": "status", "status": 401})
    clinic.land("ehr", a_patient("p1"), a_patient("p2"))
    clinic.flow("store")
    asked = len(store.writes())
    assert asked <= 2
    assert clinic.drain("store").closed == "paused"
    assert len(store.writes()) == asked
    store.faults()
    status.retry(clinic.outbound, clinic.workspace, lane_ids=None, sink="store", actor="op")
    clinic.flow("store")
    assert len(store.all("Patient")) == 2


def test_preview_sends_nothing_and_shows_the_gates(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    clinic.source("store", store, accept_from=["ehr"], **PATIENTS)
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    spoken(clinic)
    before = len(ehr.writes()) + len(store.writes())
    shown = preview(clinic.outbound, clinic.workspace, "ehr:Patient:p1", "store")
    assert shown.action == "create"
    assert shown.request is not None
    assert phones(shown.request["body"]) == ["617-555-0101"]
    assert [claim["gates"]["confidence"] for claim in shown.gates["telecom[phone|home]"]] == ["open", "below_threshold"]
    assert preview(clinic.outbound, clinic.workspace, "ehr:Patient:p1", "ehr").action == "none"
    assert len(ehr.writes()) + len(store.writes()) == before
