"""The quirks of eClinicalWorks: each is handled, and each test fails when the handling is taken away."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connector_runner.connectors.eclinicalworks import settings as ecw_settings
from connector_runner.connectors.eclinicalworks import sink as ecw_sink
from connector_runner.connectors.eclinicalworks import source
from connector_runner.connectors.eclinicalworks.client import EclinicalworksClient
from connector_runner.connectors.eclinicalworks.settings import EclinicalworksSettings
from connector_runner.connectors.fhir import reading
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.profile import Measured
from connector_runner.connectors.settings import parse
from connector_runner.connectors.sinks import Json, Outcome
from connector_runner.kernel.errors import Misconfigured, RateLimited, RunnerError
from connector_runner.sandbox import launch
from tests.conformance.adapters.eclinicalworks import ADAPTER, PRACTICE, answers
from tests.conformance.clinic import Clinic, mark_of, read_all, read_on
from tests.conformance.conftest import Say, clinic_of
from tests.conformance.quirks import Quirk, attribute, offers, rules_but
from tests.conformance.quirks import profile as of_profile
from tests.conformance.test_writing import OURS, look

AT = datetime(2026, 1, 1, tzinfo=UTC)
DOCUMENT: Json = {"adapter": "eclinicalworks", "practice_code": PRACTICE}


def the_practice_is_a_step_in_the_path(clinic: Clinic) -> None:
    """Every address begins with the six characters of a practice; there is no base for all.

    Source: vendor sheet ("Tenant in"); conventions in api-evangelist/eclinicalworks.
    """
    read_all(clinic.source(), "Patient")
    assert all(call["path"].startswith(f"/fhir/{PRACTICE}/") for call in clinic.journal())
    assert parse(EclinicalworksSettings, DOCUMENT).base_url == f"https://fhir4.eclinicalworks.com/fhir/r4/{PRACTICE}"
    with pytest.raises(Misconfigured):
        parse(EclinicalworksSettings, {**DOCUMENT, "practice_code": "FEIG/../X"})


def nothing_is_searched_by_its_stamp(clinic: Clinic) -> None:
    """No type is searched by ``_lastUpdated``, though resources carry one: the content says what is new.

    Source: CapabilityStatement of 2026-08-14 (36 types, none with ``_lastUpdated``); vendor sheet.
    """
    for resource_type in ("Patient", "Condition", "Observation"):
        _, cursor = read_all(clinic.source(), resource_type)
        read_on(clinic.source(), resource_type, cursor)
    assert not [call for call in clinic.journal() if "_lastUpdated=" in call["path"]]
    assert [call["status"] for call in clinic.journal()].count(400) <= 1


def a_parameter_that_is_refused_is_left_out(clinic: Clinic) -> None:
    """A parameter that is not supported is answered 400, "Does not know how to handle".

    Source: recorded answers in fastenhealth/fasten-sources (HAPI facade); protocols sheet, eClinicalWorks.
    """
    clinic.measured = {"Patient": Measured("last_updated", (), AT)}
    found, cursor = read_all(clinic.source(), "Patient")
    assert found.keys() == clinic.shown("Patient").keys()
    again, _ = read_on(clinic.source(), "Patient", cursor)
    assert again.keys() == found.keys()
    assert clinic.journal()[-1]["status"] == 200


def an_old_record_is_found_by_the_next_full_sync(clinic: Clinic) -> None:
    """By date only what lies around today is looked at each time; a full sync asks for all dates.

    Source: CapabilityStatement of 2026-08-14: Observation by ``date``, and no other way to ask for changes.
    """
    old = {**next(iter(clinic.shown("Observation").values())), "effectiveDateTime": "2011-05-06T08:00:00Z"}
    clinic.put(old)
    _, cursor = read_all(clinic.source(), "Observation")
    clinic.put({**old, "extension": [{"url": "urn:test:mark", "valueString": "late"}]})
    found, cursor = read_on(clinic.source(), "Observation", cursor)
    assert old["id"] not in found
    found, _ = read_on(clinic.source(), "Observation", cursor, full=True)
    assert mark_of(found[old["id"]]) == "late"


def pages_are_numbered_and_shift(clinic: Clinic) -> None:
    """The next link counts pages, so that a deletion moves a record to a page that was read.

    Source: CapabilityStatement of 2026-08-14 ("page": the pagination details).
    """
    wanted = set(list(clinic.shown("Patient"))[1:])
    first, seen = next(iter(clinic.shown("Patient"))), set()
    for number, page in enumerate(clinic.source(page_size=5).pages("Patient", {}, full=True)):
        seen |= {record.record_id for record in page.records}
        if number == 0:
            clinic.delete(f"Patient/{first}")
    assert wanted <= seen


def the_minute_is_waited_for(clinic: Clinic) -> None:
    """250 requests in a minute of the clock; then 429 without Retry-After until the minute is over.

    Source: healow FHIR Rate Limiting, effective 7 Oct 2025, as told by api-evangelist/eclinicalworks.
    """
    clinic.vendor(per_minute=1)
    read = clinic.source().read("Patient", clinic.any_patient())
    assert read is not None
    with pytest.raises(RateLimited) as caught:
        read_all(clinic.source(), "Patient")
    wait = caught.value.retry_after_s
    assert wait is not None
    assert 0 < wait <= 60


def one_quota_holds_reads_writes_and_tokens(clinic: Clinic) -> None:
    """The 250 of a minute are those of the practice: reads, writes, and requests for tokens alike.

    Source: healow FHIR Rate Limiting, as told by api-evangelist/eclinicalworks: counts /token and /authorize.
    """
    assert source.PROFILE.token_in_quota
    alone = parse(EclinicalworksSettings, DOCUMENT)
    assert alone.tokens_in_quota
    assert alone.rate.per_minute_fixed == 250
    both = parse(EclinicalworksSettings, {**DOCUMENT, "sink": {"entity_types": ["questionnaire_response"]}})
    assert both.rate.shared
    assert both.sink is not None
    assert both.sink.rate.per_minute_fixed == 250
    slower = {"entity_types": ["questionnaire_response"], "rate": {"per_second": 1}}
    stated = parse(EclinicalworksSettings, {**DOCUMENT, "sink": slower})
    assert stated.sink is not None
    assert stated.sink.rate.per_minute_fixed == 250


def only_answers_to_questionnaires_are_created(clinic: Clinic) -> None:
    """The public interface creates QuestionnaireResponse, and changes nothing.

    Source: CapabilityStatement of 2026-08-14: one ``create``, no ``update``.
    """
    before = len(clinic.journal())
    patient: Json = {"resourceType": "Patient", "name": [{"family": "Okonkwo"}]}
    assert clinic.sink().create(patient, OURS).cause == "not_offered"
    assert clinic.sink().update("QuestionnaireResponse/1", answers(clinic), None).cause == "not_offered"
    assert len(clinic.journal()) == before
    with pytest.raises(Misconfigured):
        parse(EclinicalworksSettings, {**DOCUMENT, "sink": {"entity_types": ["patient"]}})


def a_lost_create_is_looked_for_among_the_patients_records(clinic: Clinic) -> None:
    """There is no idempotency key, and nothing is searched for by an identifier of ours.

    Source: conventions in api-evangelist/eclinicalworks: "No idempotency key is documented on any surface".
    """
    sink, body = clinic.sink(), answers(clinic)
    clinic.fault("POST QuestionnaireResponse", "drop_answer", next=1)
    assert sink.create(body, OURS).outcome is Outcome.UNKNOWN
    assert look(sink, body).outcome is Outcome.LANDED


def a_number_in_status_says_what_became_of_a_write(clinic: Clinic) -> None:
    """Write-back answers carry a number in ``status``: 202 is a patient who exists, and never to be sent again.

    Source: Error Code Reference Guide 1.0, as told by api-evangelist/eclinicalworks (92 codes).
    """
    for number, outcome, cause in (
        (202, Outcome.POISON, "exists"),
        (100, Outcome.POISON, "reference_not_found"),
        (204, Outcome.POISON, "content_invalid"),
        (103, Outcome.UNKNOWN, "processing_failed"),
        (139, Outcome.FORBIDDEN, "record_locked"),
        (308, Outcome.AUTH, "writeback_user_missing"),
        (9999, Outcome.UNKNOWN, "unclassified"),
    ):
        clinic.vendor(writeback=number)
        reply = clinic.sink().create(answers(clinic), OURS)
        assert (reply.outcome, reply.cause) == (outcome, cause), number


def assertions_are_signed_by_rs384(clinic: Clinic) -> None:
    """Backend services take assertions that are signed by RS384, and by nothing else.

    Source: vendor sheet ("backend = RS384 only").
    """
    auth = {"kind": "smart_backend", "client_id": "c", "algorithm": "ES384"}
    with pytest.raises(Misconfigured) as caught:
        parse(EclinicalworksSettings, {**DOCUMENT, "auth": auth})
    assert "RS384" in caught.value.message
    parse(EclinicalworksSettings, {**DOCUMENT, "auth": {**auth, "algorithm": "RS384"}})


def by_stamp_alone() -> dict[str, tuple[str, ...]]:
    """Strategies of a server that heeds ``_lastUpdated``."""
    return {"": ("last_updated",)}


QUIRKS = (
    Quirk(
        the_practice_is_a_step_in_the_path,
        attribute(FHIRClient, "address", lambda self, path: f"{self._settings.server}/{path}"),
    ),
    Quirk(nothing_is_searched_by_its_stamp, of_profile(source, strategies=by_stamp_alone())),
    Quirk(a_parameter_that_is_refused_is_left_out, attribute(reading, "REFUSES_PARAMETER", frozenset())),
    Quirk(an_old_record_is_found_by_the_next_full_sync, of_profile(source, window_days=(36500, 365))),
    Quirk(pages_are_numbered_and_shift, of_profile(source, lossy_pages=False)),
    Quirk(the_minute_is_waited_for, attribute(EclinicalworksClient, "request", FHIRClient.request)),
    Quirk(one_quota_holds_reads_writes_and_tokens, attribute(ecw_settings, "PER_MINUTE", None)),
    Quirk(only_answers_to_questionnaires_are_created, offers(ecw_sink, create=frozenset({"Patient"}))),
    Quirk(
        a_lost_create_is_looked_for_among_the_patients_records,
        attribute(ecw_sink.EHRSink, "find_created", lambda self, body, ref: self.find(body["resourceType"], ref)),
    ),
    Quirk(
        a_number_in_status_says_what_became_of_a_write,
        rules_but("exists", "reference_not_found", "content_invalid", "processing_failed", "record_locked"),
    ),
    Quirk(assertions_are_signed_by_rs384, attribute(ecw_settings, "SmartBackendAuth", ())),
)
by_name = pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.name)


@pytest.fixture
def practice(simulators: dict[str, launch.Running]) -> Clinic:
    """A simulated practice as it begins."""
    return clinic_of(ADAPTER, simulators)


@by_name
def test_the_quirk_is_handled(quirk: Quirk, practice: Clinic, say: Say) -> None:
    quirk.check(practice)
    say(practice, quirk.name.replace("_", " "))


@by_name
def test_the_quirk_hurts_where_it_is_not_handled(
    quirk: Quirk, practice: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    quirk.without(monkeypatch)
    with pytest.raises((AssertionError, RunnerError, pytest.fail.Exception)):
        quirk.check(practice)


@by_name
def test_the_quirk_cites_where_it_is_told_of(quirk: Quirk) -> None:
    assert "Source: " in (quirk.check.__doc__ or "")
