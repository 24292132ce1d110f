"""The quirks of Oracle Health Millennium: each is handled, and each test fails when the handling is taken away."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.connectors.cerner import sink as cerner_sink
from connector_runner.connectors.cerner import source as cerner_source
from connector_runner.connectors.cerner.settings import CernerSettings
from connector_runner.connectors.fhir import reading, spoilt, vendor_client
from connector_runner.connectors.settings import parse
from connector_runner.connectors.sinks import Capabilities, Outcome, Step
from connector_runner.kernel.errors import Misconfigured, RunnerError
from connector_runner.sandbox import launch
from tests.conformance.adapters import bodies
from tests.conformance.adapters.cerner import ADAPTER, TENANT
from tests.conformance.clinic import Clinic, mark_of, read_all
from tests.conformance.conftest import Say, clinic_of
from tests.conformance.quirks import Quirk, attribute, offers, plain_client, profile, rules_but
from tests.conformance.test_writing import OURS

WRONG = "ec2458f2-0000-4000-8000-00000000dead"


def a_wrong_tenant_is_a_setting_and_no_delete(clinic: Clinic) -> None:
    """The tenant is a step of the path; a wrong one is answered 403, not 404.

    Source: Millennium FHIR R4 overview, docs.oracle.com, as told by api-evangelist/cerner.
    """
    source = clinic.source(tenant=WRONG)
    for ask in (lambda: read_all(source, "Patient"), lambda: source.read("Patient", clinic.any_patient())):
        with pytest.raises(Misconfigured) as caught:
            ask()
        assert caught.value.code == "wrong_tenant"


def a_form_that_is_not_spoken_is_a_setting(clinic: Clinic) -> None:
    """JSON only: a wrong Accept is answered 406 without a body.

    Source: Millennium FHIR R4 overview, docs.oracle.com, as told by api-evangelist/cerner.
    """
    client = cerner_source.VendorClient(clinic.opening(), clinic.data_source().settings)  # type: ignore[arg-type]
    patient = f"Patient/{clinic.any_patient()}"
    with pytest.raises(Misconfigured) as caught:
        client.request("GET", patient, headers={"Accept": "application/xml"})
    assert caught.value.code == "media_type"


def an_appointment_is_searched_by_date_and_patient(clinic: Clinic) -> None:
    """Appointments want a date with one of patient, practitioner and location; else 400.

    Source: github cerner/fhir.cerner.com, millennium/r4, Appointment.
    """
    found, _ = read_all(clinic.source(), "Appointment")
    assert found.keys() == clinic.shown("Appointment").keys()


def most_types_are_searched_by_patient(clinic: Clinic) -> None:
    """Most searches need ``_id`` or a patient: one by ``_lastUpdated`` alone is refused with 400.

    Source: Millennium FHIR R4 overview, docs.oracle.com; CapabilityStatement of August 2026.
    """
    found, _ = read_all(clinic.source(), "Condition")
    assert found.keys() == clinic.shown("Condition").keys()


def the_newest_of_a_record_that_is_on_two_pages_is_kept(clinic: Clinic) -> None:
    """The same id can be on two pages, and with it another on none: pages shift while they are read.

    Source: Millennium FHIR R4 overview, docs.oracle.com ("keep the newest"), as told by api-evangelist/cerner.
    """
    patient = clinic.any_patient()
    many = [{**bodies.an_observation(clinic), "id": f"many-{n}"} for n in range(8)]
    clinic.put(*many)
    assert many[0]["subject"]["reference"] == f"Patient/{patient}"
    found: dict[str, str | None] = {}
    changed = False
    for page in clinic.source(page_size=3).pages("Observation", {}, full=True):
        for record in page.records:
            found[record.record_id] = mark_of(record)
        if not changed and "many-0" in found:
            changed = True
            clinic.put(clinic.marked(many[0], "newer"))
    assert changed
    assert found["many-0"] == "newer"
    assert found.keys() == clinic.shown("Observation").keys()


def a_stale_version_is_answered_409(clinic: Clinic) -> None:
    """An update states its version: a missing If-Match is answered 412, a stale one 409.

    Source: github cerner/fhir.cerner.com, millennium/r4: updates need If-Match.
    """
    sink = clinic.sink()
    ref = sink.create(bodies.an_observation(clinic), OURS).ref or ""
    shown = sink.read(ref)
    assert shown.body is not None
    wanted = bodies.corrected(shown.body)
    missing = sink.update(ref, wanted, None, before=shown.body)
    assert (missing.outcome, missing.status) == (Outcome.CONFLICT, 412)
    kept = next(one for one in clinic.records("Observation") if ref.endswith(one["id"]))
    clinic.put(clinic.marked(kept, "theirs"))
    stale = sink.update(ref, wanted, shown.etag, before=shown.body)
    assert (stale.outcome, stale.status, stale.cause) == (Outcome.CONFLICT, 409, "stale_version")


def people_and_appointments_are_patched(clinic: Clinic) -> None:
    """Some types are changed by JSON Patch and by nothing else, others by PUT and by nothing else.

    Source: CapabilityStatement of August 2026, interactions of each type.
    """
    sink = clinic.sink()
    for body, change in ((bodies.a_patient, bodies.renamed), (bodies.an_observation, bodies.corrected)):
        ref = sink.create(body(clinic), OURS).ref or ""
        shown = sink.read(ref)
        assert shown.body is not None
        reply = sink.update(ref, change(shown.body), shown.etag, before=shown.body)
        assert reply.outcome is Outcome.LANDED, reply.cause
    methods = [one["method"] for one in clinic.journal() if one["method"] in ("PATCH", "PUT")]
    assert methods == ["PATCH", "PUT"]


def content_with_a_modifier_is_poison(clinic: Clinic) -> None:
    """Modifier extensions and implicit rules are refused with 422, each with its own issue code.

    Source: Millennium FHIR R4 overview, docs.oracle.com, as told by api-evangelist/cerner.
    """
    body = bodies.an_observation(clinic)
    causes = [
        clinic.sink().create({**body, **extra}, OURS).cause
        for extra in (
            {"modifierExtension": [{"url": "urn:test:modifier", "valueBoolean": True}]},
            {"implicitRules": "urn:test:rules"},
        )
    ]
    assert causes == ["modifier_extension", "implicit_rules"]


def a_record_with_incomplete_data_is_set_apart(clinic: Clinic) -> None:
    """500 with ``fatal`` and ``required`` and a location means bad data in the source: it will never be answered.

    Source: Millennium FHIR R4 overview, docs.oracle.com, as told by api-evangelist/cerner.
    """
    bad = next(iter(clinic.shown("Condition").values()))
    patient = bad["subject"]["reference"]
    clinic.vendor(spoilt=[f"Condition/{bad['id']}"])
    pages = list(clinic.source().pages("Condition", {}, full=True))
    seen = {record.record_id for page in pages for record in page.records}
    others = {key for key, one in clinic.shown("Condition").items() if one["subject"]["reference"] != patient}
    assert others <= seen
    assert bad["id"] not in seen
    assert [entry.code for page in pages for entry in page.bad] == ["no_resource"]
    assert not pages[-1].proves


def what_else_a_spoilt_search_finds_is_read(clinic: Clinic) -> None:
    """The search that finds such a record fails as a whole: it is parted by time around the record.

    Source: Millennium FHIR R4 overview, docs.oracle.com, as told by api-evangelist/cerner; ``_lastUpdated`` and
    ``date`` in the CapabilityStatement of August 2026.
    """
    for kind in ("Condition", "Observation", "Appointment"):
        shown = clinic.shown(kind)
        bad = list(shown)[len(shown) // 2]
        clinic.vendor(spoilt=[f"{kind}/{bad}"])
        seen: set[str] = set()
        cursor: dict[str, Any] = {}
        last = None
        while last is None or not last.last:  # each page may be the last of a poll
            last = next(iter(clinic.source().pages(kind, cursor, full=True)))
            seen |= {record.record_id for record in last.records}
            cursor = last.cursor
        assert not last.proves
        there = {key for key, one in shown.items() if kind != "Appointment" or one["start"] != shown[bad]["start"]}
        assert there - {bad} == seen - {bad}


def a_spoilt_search_that_is_not_to_be_parted_is_told_of(clinic: Clinic) -> None:
    """Where it may not be parted, what is left out is in quarantine and the other patients are read.

    Source: Millennium FHIR R4 overview: unknown parameters, and what may stand beside a patient, is not told.
    """
    shown = clinic.shown("Condition")
    bad = next(iter(shown.values()))
    clinic.vendor(spoilt=[f"Condition/{bad['id']}"], not_with_patient=["_lastUpdated"])
    pages = list(clinic.source().pages("Condition", {}, full=True))
    seen = {record.record_id for page in pages for record in page.records}
    patient = bad["subject"]["reference"]
    assert {key for key, one in shown.items() if one["subject"]["reference"] != patient} == seen
    assert [entry.code for page in pages for entry in page.bad] == ["search_spoilt"]
    assert not pages[-1].proves


def there_are_no_transactions(clinic: Clinic) -> None:
    """A batch is taken, a transaction is not.

    Source: CapabilityStatement of August 2026: system interaction ``batch`` alone.
    """
    step = Step("create", None, bodies.a_patient(clinic), None, OURS)
    with pytest.raises(Misconfigured) as caught:
        clinic.sink().transact([step])
    assert caught.value.code == "no_transactions"


def an_order_that_is_refused_is_left_out(clinic: Clinic) -> None:
    """Parameters are those of the CapabilityStatement; ``_sort`` is none of them.

    Source: CapabilityStatement of August 2026; whether others are refused or ignored is not told, so both are borne.
    """
    for unknown in ("refuse", "ignore"):
        clinic.vendor(unknown_parameters=unknown)
        found, _ = read_all(clinic.source(), "Organization")
        assert found.keys() == clinic.shown("Organization").keys()


def a_lost_appointment_is_found_by_its_patient_and_date(clinic: Clinic) -> None:
    """No conditional create, and an appointment has no identifier to search by.

    Source: CapabilityStatement of August 2026: search parameters of Appointment, no ``conditionalCreate``.
    """
    sink, body = clinic.sink(), bodies.an_appointment(clinic)
    clinic.fault("POST Appointment", "drop_answer", next=1)
    assert sink.create(body, OURS).outcome is Outcome.UNKNOWN
    assert sink.find_created(body, OURS).outcome is Outcome.LANDED  # type: ignore[attr-defined]


QUIRKS = (
    Quirk(a_wrong_tenant_is_a_setting_and_no_delete, plain_client(cerner_source)),
    Quirk(a_form_that_is_not_spoken_is_a_setting, attribute(vendor_client, "SETTINGS", {})),
    Quirk(an_appointment_is_searched_by_date_and_patient, profile(cerner_source, parameters={})),
    Quirk(most_types_are_searched_by_patient, profile(cerner_source, strategies={"": ("last_updated", "whole")})),
    Quirk(the_newest_of_a_record_that_is_on_two_pages_is_kept, profile(cerner_source, lossy_pages=False)),
    Quirk(
        a_stale_version_is_answered_409,
        attribute(
            CernerSettings,
            "usual",
            property(lambda settings: Capabilities(client_id=False, conditional_create=False, if_match=None)),
        ),
    ),
    Quirk(people_and_appointments_are_patched, offers(cerner_sink, patch=frozenset(), update=frozenset({"Patient"}))),
    Quirk(content_with_a_modifier_is_poison, rules_but("modifier_extension", "implicit_rules")),
    Quirk(a_record_with_incomplete_data_is_set_apart, attribute(vendor_client, "SPOILT", frozenset())),
    Quirk(what_else_a_spoilt_search_finds_is_read, profile(cerner_source, spoilt_codes=frozenset())),
    Quirk(a_spoilt_search_that_is_not_to_be_parted_is_told_of, attribute(spoilt, "_NOT_PARTED", frozenset())),
    Quirk(
        there_are_no_transactions,
        attribute(CernerSettings, "usual", property(lambda settings: Capabilities(client_id=False, transaction=True))),
    ),
    Quirk(an_order_that_is_refused_is_left_out, attribute(reading, "REFUSES_PARAMETER", frozenset())),
    Quirk(a_lost_appointment_is_found_by_its_patient_and_date, offers(cerner_sink, search=())),
)
by_name = pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.name)


@pytest.fixture
def cerner(simulators: dict[str, launch.Running]) -> Clinic:
    """A simulated Millennium as it begins."""
    return clinic_of(ADAPTER, simulators)


@by_name
def test_the_quirk_is_handled(quirk: Quirk, cerner: Clinic, say: Say) -> None:
    quirk.check(cerner)
    say(cerner, quirk.name.replace("_", " "))


@by_name
def test_the_quirk_hurts_where_it_is_not_handled(quirk: Quirk, cerner: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    quirk.without(monkeypatch)
    with pytest.raises((AssertionError, RunnerError, pytest.fail.Exception)):
        quirk.check(cerner)


@by_name
def test_the_quirk_cites_where_it_is_told_of(quirk: Quirk) -> None:
    assert "Source: " in (quirk.check.__doc__ or "")


def test_the_tenant_is_a_step_of_the_address() -> None:
    """Source: vendor sheet: the tenant is in the URL path, ``/r4/{tenant}``."""
    document = {"adapter": "cerner", "server": "https://fhir.example/r4/", "tenant": TENANT}
    settings = parse(CernerSettings, document)
    assert settings.base_url == f"https://fhir.example/r4/{TENANT}"
    again = parse(CernerSettings, settings.model_dump(mode="json", exclude_unset=True))
    assert again == settings
    with pytest.raises(Misconfigured):
        parse(CernerSettings, {**document, "base_url": "https://elsewhere.example/r4"})
    with pytest.raises(Misconfigured):
        parse(CernerSettings, {**document, "tenant": "../other"})
