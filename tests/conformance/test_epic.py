"""The quirks of Epic: each is handled, and each test fails when the handling is taken away."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from connector_runner.connectors import registry
from connector_runner.connectors.epic import sink as epic_sink
from connector_runner.connectors.epic import source as epic_source
from connector_runner.connectors.epic.settings import EpicSettings
from connector_runner.connectors.exports import ExportDue
from connector_runner.connectors.fhir import vendor_client
from connector_runner.connectors.fhir.ehr import EHRSettings
from connector_runner.connectors.fhir.profile import Measured
from connector_runner.connectors.fhir.sink import FHIRSink
from connector_runner.connectors.settings import parse
from connector_runner.connectors.sinks import Capabilities, Found, Json, Outcome
from connector_runner.kernel.errors import BadRecord, Misconfigured, RateLimited, RunnerError
from connector_runner.sandbox import launch
from tests.conformance.adapters import bodies
from tests.conformance.adapters.epic import ADAPTER
from tests.conformance.clinic import Clinic, Listed, read_all, read_on
from tests.conformance.conftest import Say, clinic_of
from tests.conformance.quirks import Quirk, attribute, offers, plain_client, profile, rules_but
from tests.conformance.test_writing import OURS, look

AT = datetime(2026, 1, 1, tzinfo=UTC)
MRN = "urn:test:cap"


def a_parameter_that_is_ignored_is_noticed(clinic: Clinic) -> None:
    """Unknown parameters are passed over with warning 4122, so that a filter only seems to work.

    Source: reference of error codes, fhir.epic.com/Specifications (4122); CapabilityStatement of May 2026:
    ``_lastUpdated`` on DocumentReference and MeasureReport only.
    """
    clinic.vendor(versions=True)
    clinic.measured = {"Practitioner": Measured("last_updated", (), AT)}
    people = [
        {**one, "identifier": [{"system": MRN, "value": one["id"]}]} for one in clinic.records("Practitioner")[:3]
    ]
    clinic.switch("POST", "reset", {"empty": True})
    clinic.vendor(versions=True)
    clinic.put(*people)
    cursor: dict[str, Any] = {}
    for _ in range(4):
        _, cursor = read_on(clinic.source(searches={"Practitioner": [f"identifier={MRN}|"]}), "Practitioner", cursor)
    assert "last_updated" in cursor.get("demoted", {})


def more_patients_than_a_search_shows_are_all_read(clinic: Clinic) -> None:
    """A search for patients gives 100 at most, and says so as an error or beside the first 100.

    Source: error codes 4127 and 59133, fhir.epic.com/Specifications: "logged whenever Patient.Search exceeds 100".
    """
    crowd = [
        {
            "resourceType": "Patient",
            "id": f"crowd-{n}",
            "birthDate": f"{1930 + n % 60}-0{1 + n % 9}-11",
            "identifier": [{"system": MRN, "value": str(n)}],
        }
        for n in range(130)
    ]
    clinic.put(*crowd)
    clinic.measured = {"Patient": Measured("whole", (), AT)}
    for as_entry in (False, True):
        clinic.vendor(cap_as_entry=as_entry)
        found, _ = read_all(clinic.source(searches={"Patient": [f"identifier={MRN}|"]}, page_size=40), "Patient")
        assert len(found) == len(crowd)


def patients_are_read_by_roster(clinic: Clinic) -> None:
    """There is no listing of patients: a search without anything to search by is refused (4110).

    Source: error code 4110, fhir.epic.com/Specifications; population reads only by Group export.
    """
    found, _ = read_all(clinic.source(), "Patient")
    assert found.keys() == clinic.shown("Patient").keys()


def a_search_says_its_category(clinic: Clinic) -> None:
    """Observations are not searched without a category or a code (59108).

    Source: recorded answer of Epic's sandbox in fastenhealth/fasten-sources: 400 "Must have either code or category".
    """
    found, _ = read_all(clinic.source(), "Observation")
    assert found.keys() == clinic.shown("Observation").keys()


def care_plans(clinic: Clinic) -> None:
    """A care plan of the longitudinal category for some patient."""
    code = {"system": "http://snomed.info/sct", "code": "38717003"}
    patient = {"reference": f"Patient/{clinic.any_patient()}"}
    clinic.put({"resourceType": "CarePlan", "id": "plan", "category": [{"coding": [code]}], "subject": patient})


def one_category_that_is_not_granted_leaves_the_others(clinic: Clinic) -> None:
    """Each category is a sub-resource with a grant of its own; one without is answered 400 with 59022.

    Source: recorded answers of Epic's sandbox in fastenhealth/fasten-sources: CarePlan by category, 59159 and 59022.
    """
    care_plans(clinic)
    clinic.vendor(care_plans=["38717003", "734163000"])
    pages = list(clinic.source().pages("CarePlan", {}, full=True))
    assert [record.record_id for page in pages for record in page.records] == ["plan"]
    assert not pages[-1].proves


def a_warning_is_no_record_and_proves_nothing(clinic: Clinic) -> None:
    """Every search can carry an OperationOutcome: nothing found (4101), maybe more (4119), kinds left out (59204).

    Source: recorded answers of Epic's sandbox in fastenhealth/fasten-sources, status 200.
    """
    clinic.vendor(portal=True, sub_type=True)
    pages = list(clinic.source().pages("Condition", {}, full=True))
    records = [record for page in pages for record in page.records]
    assert {record.resource_type for record in records} == {"Condition"}
    assert {"4119", "59204"} <= {code for page in pages for code in page.warnings}
    assert "4101" not in {code for page in pages for code in page.warnings}
    assert not pages[-1].proves


def one_patient_behind_glass_does_not_hide_the_others(clinic: Clinic) -> None:
    """Break-the-glass is a policy: never asked for again at once, no delete, and no reason to stop.

    Source: error codes 4130, 4131, 4134, fhir.epic.com/Specifications: checks configured by each health system.
    """
    held = clinic.any_patient()
    clinic.vendor(restricted=[held])
    found, _ = read_all(clinic.source(), "Condition")
    theirs = {key for key, one in clinic.shown("Condition").items() if one["subject"]["reference"] == f"Patient/{held}"}
    assert theirs
    assert found.keys() == clinic.shown("Condition").keys() - theirs
    asked = [one for one in clinic.journal() if f"patient={held}&" in one["path"] + "&"]
    assert len(asked) == 1
    with pytest.raises(BadRecord) as caught:
        clinic.source().read("Patient", held)
    assert caught.value.code == "break_the_glass"


def the_allowance_of_a_day_is_waited_for(clinic: Clinic) -> None:
    """Documents have a daily allowance: "please try again tomorrow".

    Source: error code 4135, fhir.epic.com/Specifications.
    """
    clinic.vendor(documents_left=1)
    with pytest.raises(RateLimited) as caught:
        read_all(clinic.source(rate={"zone": "America/Chicago"}), "DocumentReference")
    assert caught.value.code == "daily_documents"
    assert caught.value.retry_after_s is not None
    assert 0 < caught.value.retry_after_s <= 25 * 3600


def a_search_that_expires_between_two_pages_is_begun_again(clinic: Clinic) -> None:
    """Links to later pages belong to a cached search that ends; they carry a session and none of the parameters.

    Source: error code 4113, fhir.epic.com/Specifications; links seen in recorded answers (``?sessionID=12-...``).
    """
    clinic.vendor(expire_pages=1, expired_status=403)
    found, _ = read_all(clinic.source(page_size=2), "Observation")
    assert found.keys() == clinic.shown("Observation").keys()
    assert any("sessionID=12-" in one["path"] and one["status"] == 403 for one in clinic.journal())


def a_merged_patient_names_the_survivor(clinic: Clinic) -> None:
    """Reading a merged patient is answered with a redirect to the one that remains, and 4107.

    Source: error code 4107, fhir.epic.com/Specifications; R4 patient.html#links for ``replaced-by``.
    """
    merged, survivor = (record["id"] for record in clinic.records("Patient")[:2])
    clinic.vendor(merged={merged: survivor})
    record = clinic.source().read("Patient", merged)
    assert record is not None
    assert record.body is not None
    assert record.record_id == merged
    assert record.body["active"] is False
    assert record.body["link"] == [{"other": {"reference": f"Patient/{survivor}"}, "type": "replaced-by"}]


def a_deleted_record_is_told_by_its_code(clinic: Clinic) -> None:
    """A read of what was deleted says so by a code (4103), whatever the status.

    Source: error code 4103, fhir.epic.com/Specifications.
    """
    gone = next(iter(clinic.shown("Condition")))
    clinic.delete(f"Condition/{gone}")
    record = clinic.source().read("Condition", gone)
    assert record is not None
    assert record.deleted


def no_query_stands_beside_a_search_by_post(clinic: Clinic) -> None:
    """Since the version of February 2026 the query string of ``_search`` is not looked at.

    Source: release notes as told by api-evangelist/epic-systems.
    """
    clinic.put({**bodies.a_patient(clinic), "id": "known"})
    found = clinic.sink().candidates(bodies.a_patient(clinic))
    assert [one["id"] for one in found.resources] == ["known"]


def a_create_is_made_by_search_post_search(clinic: Clinic) -> None:
    """No conditional create on any type, and ids are chosen by Epic: a lost create is looked for.

    Source: CapabilityStatement of May 2026: ``conditionalCreate`` and ``updateCreate`` false on every type.
    """
    clinic.fault("POST Observation", "drop_answer", next=1)
    sink, body = clinic.sink(), bodies.an_observation(clinic)
    assert sink.create(body, OURS).outcome is Outcome.UNKNOWN
    assert look(sink, body).outcome is Outcome.LANDED


def an_update_states_the_version(clinic: Clinic) -> None:
    """A stale version is refused with 412, where the server shows one.

    Source: vendor sheet (ETag and If-Match, 412; not declared in ``versioning``).
    """
    clinic.vendor(versions=True)
    sink = clinic.sink()
    ref = sink.create(bodies.an_observation(clinic), OURS).ref or ""
    shown = sink.read(ref)
    assert shown.body is not None
    kept = next(one for one in clinic.records("Observation") if ref.endswith(one["id"]))
    clinic.put(clinic.marked(kept, "theirs"))
    reply = sink.update(ref, bodies.corrected(shown.body), shown.etag, before=shown.body)
    assert reply.outcome is Outcome.CONFLICT


def what_is_read_only_is_not_written(clinic: Clinic) -> None:
    """Appointments are read-only and patients are not updated.

    Source: CapabilityStatement of May 2026, interactions of each type.
    """
    appointment, patient = bodies.an_appointment(clinic), bodies.a_patient(clinic)
    sink = clinic.sink()
    replies = [
        sink.create(appointment, OURS),
        sink.update("Appointment/1", bodies.cancelled(appointment), None, before=appointment),
        sink.update("Patient/1", bodies.renamed(patient), None, before=patient),
    ]
    assert [reply.cause for reply in replies] == ["not_offered"] * 3


def a_duplicate_is_told_from_bad_content(clinic: Clinic) -> None:
    """What is in the chart already is refused as a duplicate (59141).

    Source: error code 59141, fhir.epic.com/Specifications: an allergy to bees that is in the chart.
    """
    patient = {"reference": f"Patient/{clinic.any_patient()}"}
    bees: Json = {"resourceType": "AllergyIntolerance", "code": {"text": "bees"}, "patient": patient}
    clinic.put({**bees, "id": "known"})
    reply = clinic.sink().create(bees, OURS)
    assert (reply.outcome, reply.cause) == (Outcome.POISON, "exists")


def without_a_body(sink: FHIRSink, body: Json) -> Found:
    """A search by POST whose parameters stand in the URL."""
    return Found(sink._call("POST", "Patient/_search?identifier=urn:test:mrn%7C77001", data=b"", purpose="search"))


def patients_who_were_named_begin_a_roster(clinic: Clinic) -> None:
    """Nobody is known at first, and nothing lists patients: those named in the settings, or exported, begin it.

    Source: CapabilityStatement of May 2026 (Group: ``group-export``); error code 4110, fhir.epic.com/Specifications.
    """
    named = sorted(clinic.shown("Patient"))[3:5]
    data_source = clinic.data_source(patients=named)
    opening = replace(clinic.opening(), roster=Listed([]))
    found, _ = read_all(registry.open_source(data_source, opening), "Patient")
    assert sorted(found) == named
    exported = registry.open_source(clinic.data_source(bulk={"scope": "group", "group": "g1"}), opening)
    with pytest.raises(ExportDue):
        next(iter(exported.pages("Patient", {}, full=True)))


QUIRKS = (
    Quirk(patients_who_were_named_begin_a_roster, attribute(EHRSettings, "roster", lambda settings, known: known)),
    Quirk(a_parameter_that_is_ignored_is_noticed, profile(epic_source, ignored_warning=frozenset())),
    Quirk(more_patients_than_a_search_shows_are_all_read, profile(epic_source, caps={}, cap_codes=frozenset())),
    Quirk(patients_are_read_by_roster, profile(epic_source, strategies={"": ("whole",)})),
    Quirk(a_search_says_its_category, profile(epic_source, parameters={})),
    Quirk(one_category_that_is_not_granted_leaves_the_others, plain_client(epic_source)),
    Quirk(a_warning_is_no_record_and_proves_nothing, profile(epic_source, partial_warning=frozenset())),
    Quirk(one_patient_behind_glass_does_not_hide_the_others, attribute(vendor_client, "WITHHELD", frozenset())),
    Quirk(the_allowance_of_a_day_is_waited_for, rules_but("daily_documents")),
    Quirk(a_search_that_expires_between_two_pages_is_begun_again, profile(epic_source, expired_codes=frozenset())),
    Quirk(a_merged_patient_names_the_survivor, plain_client(epic_source)),
    Quirk(a_deleted_record_is_told_by_its_code, rules_but("deleted")),
    Quirk(no_query_stands_beside_a_search_by_post, attribute(FHIRSink, "candidates", without_a_body)),
    Quirk(
        a_create_is_made_by_search_post_search,
        attribute(EpicSettings, "usual", property(lambda settings: Capabilities(client_id=True))),
    ),
    Quirk(
        an_update_states_the_version,
        attribute(EpicSettings, "usual", property(lambda settings: Capabilities(client_id=False, if_match=None))),
    ),
    Quirk(
        what_is_read_only_is_not_written,
        offers(epic_sink, create=frozenset({"Appointment"}), update=frozenset({"Appointment", "Patient"})),
    ),
    Quirk(a_duplicate_is_told_from_bad_content, rules_but("exists")),
)
by_name = pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.name)


@pytest.fixture
def epic(simulators: dict[str, launch.Running]) -> Clinic:
    """A simulated Epic as it begins."""
    return clinic_of(ADAPTER, simulators)


@by_name
def test_the_quirk_is_handled(quirk: Quirk, epic: Clinic, say: Say) -> None:
    quirk.check(epic)
    say(epic, quirk.name.replace("_", " "))


@by_name
def test_the_quirk_hurts_where_it_is_not_handled(quirk: Quirk, epic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    quirk.without(monkeypatch)
    with pytest.raises((AssertionError, RunnerError, pytest.fail.Exception)):
        quirk.check(epic)


@by_name
def test_the_quirk_cites_where_it_is_told_of(quirk: Quirk) -> None:
    assert "Source: " in (quirk.check.__doc__ or "")


def test_a_share_of_the_database_becomes_a_rate_by_the_hour() -> None:
    """At most 1 % of the database at peak (about 07 to 19 local time) and 5 % otherwise.

    Source: vendor sheet, Epic's terms as told by api-evangelist/epic-systems (rate limits).
    """
    share = {"zone": "America/Chicago", "per_second_of_percent": 2}
    settings = parse(
        EpicSettings, {"adapter": "epic", "base_url": "https://epic.example/api/FHIR/R4", "database_share": share}
    )
    noon, night = datetime(2026, 7, 1, 17, tzinfo=UTC), datetime(2026, 7, 1, 7, tzinfo=UTC)
    at_peak, at_night = settings.rate.at(noon), settings.rate.at(night)
    assert at_peak is not None
    assert at_peak.per_second == 2
    assert at_night is None
    assert settings.rate.per_second == 10


@pytest.mark.parametrize("claimed", [{"client_id": True}, {"conditional_create": True}])
def test_what_no_epic_can_do_is_not_to_be_stated(claimed: dict[str, bool]) -> None:
    sink = {"entity_types": ["patient"], "capabilities": claimed}
    with pytest.raises(Misconfigured):
        parse(EpicSettings, {"adapter": "epic", "base_url": "https://epic.example/R4", "sink": sink})
