"""The quirks of athenahealth: each is handled, and each test fails when the handling is taken away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connector_runner.auth import signatures
from connector_runner.connectors.athenahealth import changed, client, forms, profile, push, rows, source
from connector_runner.connectors.athenahealth import sink as athenahealth_sink
from connector_runner.connectors.athenahealth.settings import AthenahealthSettings
from connector_runner.connectors.base import Page
from connector_runner.connectors.classification import classify
from connector_runner.connectors.fhir.ehr_sink import EHRSink
from connector_runner.connectors.fhir.profile import Profile
from connector_runner.connectors.push import Arrived, PushEvent, PushSettings
from connector_runner.connectors.sinks import Json, Outcome
from connector_runner.kernel.errors import Misconfigured, RunnerError
from connector_runner.sandbox import launch
from connector_runner.unification import primitives
from connector_runner.unification.loader import load_mappings
from connector_runner.unification.model import MappingContext
from connector_runner.unification.transforms import TRANSFORMS
from tests.conformance.adapters.athenahealth import ADAPTER, OURS, PRACTICE, a_problem, a_weight
from tests.conformance.clinic import Clinic, read_all, read_on
from tests.conformance.conftest import Say, clinic_of
from tests.conformance.quirks import Quirk, attribute
from tests.conformance.test_writing import OURS as REF
from tests.integration.tokens.bench import call

MAPPINGS = Path(__file__).parents[2] / "mappings"


def calls(clinic: Clinic, part: str) -> list[Json]:
    """The requests so far whose path holds ``part``."""
    return [one for one in clinic.journal() if part in one["path"]]


# Reading


def one_base_serves_all_practices(clinic: Clinic) -> None:
    """The FHIR base is the same for every practice; ``ah-practice`` says which is meant.

    Source: vendor sheet ("Tenant in"); CapabilityStatement of 2022-06-06; metriport/metriport sends a-1.Practice-{n}.
    """
    found, _ = read_all(clinic.source(), "Patient")
    assert all(record_id.startswith(OURS) for record_id in found)


def a_search_names_its_mandatory_parameters(clinic: Clinic) -> None:
    """MedicationRequest is searched by patient and intent together, or by id.

    Source: recorded answer of the vendor's sandbox in fastenhealth/fasten-sources: 403, [[patient,intent],[_id]].
    """
    found, _ = read_all(clinic.source(), "MedicationRequest")
    assert found.keys() == clinic.shown("MedicationRequest").keys()


def a_missing_parameter_is_no_missing_right(clinic: Clinic) -> None:
    """A search that lacks a mandatory combination is answered 403, which names the combinations.

    Source: recorded answer of the vendor's sandbox in fastenhealth/fasten-sources: 403, expression "patient,intent".
    """
    listing = source.open_source(clinic.data_source().settings, replace(clinic.opening(), roster=None))
    with pytest.raises(Misconfigured) as caught:
        list(listing.pages("MedicationRequest", {}, full=True))
    assert caught.value.code == "search_combination"
    assert "patient with intent" in caught.value.message


def a_type_that_is_not_granted_is_a_missing_right(clinic: Clinic) -> None:
    """The same 403 with a type in ``expression`` is a scope that was not granted.

    Source: recorded answer of the vendor's sandbox in fastenhealth/fasten-sources: 403 "Invalid Token Scope".
    """
    issue = {"severity": "fatal", "code": "forbidden", "expression": ["ServiceRequest"]}
    body = json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()
    assert client.missing_combinations(client.Answer(403, {}, body, "")) == ()


def a_page_leads_to_the_next_by_a_cursor(clinic: Clinic) -> None:
    """Pages follow each other by an opaque ``cursor``, and nothing says how many rows there are.

    Source: recorded answers of the vendor's sandbox in fastenhealth/fasten-sources (Observation, ``_count=50``).
    """
    found, _ = read_all(clinic.source(page_size=5), "Condition")
    assert found.keys() == clinic.shown("Condition").keys()
    assert calls(clinic, "cursor=")


def what_changed_comes_from_a_feed(clinic: Clinic) -> None:
    """v1 tells which patients changed: a poll reads those, and no list.

    Source: vendor sheet ("v1 /changed feeds"); go-athenahealth ListChangedPatients.
    """
    _, cursor = read_all(clinic.source(), "Patient")
    one = next(iter(clinic.shown("Patient").values()))
    clinic.put(clinic.marked(one, "new"))
    before = len(clinic.journal())
    found, _ = read_on(clinic.source(), "Patient", cursor)
    assert set(found) == {one["id"]}
    assert [call["path"].partition("?")[0] for call in clinic.journal()[before:]] == [
        f"/v1/{PRACTICE}/patients/changed",
        f"/fhir/Patient/{one['id']}",
    ]


def a_feed_is_subscribed_to_first(clinic: Clinic) -> None:
    """A changed feed answers 403 before there is a subscription to it.

    Source: metriport/metriport: "Changed messages require setup (subscription) that has not been done."
    """
    read_all(clinic.source(), "Patient")
    statuses = [(call["method"], call["status"]) for call in calls(clinic, "/patients/changed")]
    assert statuses == [("GET", 403), ("POST", 200), ("GET", 200)]
    again = clinic.source()
    clinic.switch("POST", "reset", {})
    _, cursor = read_on(again, "Patient", {"changed_feed": {"subscribed": True}})
    assert cursor["changed_feed"] == {"subscribed": True}


def a_lost_subscription_leaves_a_gap(clinic: Clinic) -> None:
    """What changed while nobody was subscribed is told by no feed: everything has to be read once more.

    Source: metriport/metriport: changed messages require a subscription; so none are kept without one.
    """
    _, cursor = read_all(clinic.source(), "Patient")
    clinic.switch("POST", "reset", {})
    for _ in range(2):  # cut off before it asks, and before it subscribes
        cursor = next(iter(clinic.source().pages("Patient", cursor, full=False))).cursor
    call("POST", f"{clinic.running.origin}/v1/{PRACTICE}/patients/changed/subscription", {})  # and when it had
    pages = list(clinic.source().pages("Patient", cursor, full=False))
    assert [page.missed for page in pages] == [*(False for _ in pages[1:]), True]
    assert not any(page.missed for page in clinic.source().pages("Patient", pages[-1].cursor, full=False))


def what_was_read_and_not_landed_is_read_again(clinic: Clinic) -> None:
    """Reading a feed marks its messages as read; those can be asked for again for a while.

    Source: API reference as quoted in the AthenaSDK of ChrisReedIO: showprocessedstartdatetime, "to refetch data if
    there was an error, such as a timeout, and records are marked as already retrieved".
    """
    _, cursor = read_all(clinic.source(), "Patient")
    one = next(iter(clinic.shown("Patient").values()))
    clinic.put(clinic.marked(one, "new"))
    pages = clinic.source().pages("Patient", cursor, full=False)
    landed = next(pages).cursor
    # The next page is read there, and whoever read it dies before it lands.
    assert [record.record_id for record in next(pages).records] == [one["id"]]
    found, after = read_on(clinic.source(), "Patient", json.loads(json.dumps(landed)))
    assert set(found) == {one["id"]}
    assert "reading_since" not in after["changed_feed"]


def appointments_come_from_v1(clinic: Clinic) -> None:
    """FHIR finds an appointment by its id only; v1 lists those that are booked.

    Source: CapabilityStatement of 2022-06-06 (Appointment: _id, base-appointment-id); metriport/metriport.
    """
    found, cursor = read_all(clinic.source(), "Appointment")
    booked = [
        one
        for one in clinic.shown("Appointment").values()
        if one["status"] in ("booked", "arrived", "checked-in", "fulfilled")
        and any(part["actor"]["reference"].startswith("Patient/") for part in one["participant"])
    ]
    assert 0 < len(found) <= len(booked)
    number, record = next(iter(found.items()))
    stored = next(one for one in booked if one["id"].endswith(f"-{number}"))
    clinic.put({**stored, "status": "cancelled"})
    later, _ = read_on(clinic.source(), "Appointment", cursor)
    assert later[number].body is not None
    assert later[number].body["appointmentstatus"] == "x"  # type: ignore[index]
    assert record.body is not None
    direct = clinic.source().read("Appointment", number)
    assert direct is not None
    assert direct.body == later[number].body


def lists_of_v1_go_on_at_next(clinic: Clinic) -> None:
    """A list of v1 has ``limit`` rows and the address of the next.

    Source: vendor sheet ("v1 next URL + limit 1000 (Metriport)"); metriport/metriport paginateListResponse.
    """
    whole, _ = read_all(clinic.source(), "Appointment")
    clinic.vendor(rows=3)
    parts, _ = read_all(clinic.source(), "Appointment")
    assert parts.keys() == whole.keys()
    assert len(parts) > 3


def dates_of_v1_are_month_first(clinic: Clinic) -> None:
    """v1 writes ``MM/DD/YYYY``, and a time of day without a zone.

    Source: vendor sheet ("v1 dates MM/DD/YYYY"); metriport/metriport (athenaDateFormat); go-athenahealth.
    """
    found, _ = read_all(clinic.source(), "Appointment")
    mapping = load_mappings(MAPPINGS).inbound("athenahealth", "Appointment")
    assert mapping is not None
    for number, record in found.items():
        stored = next(one for one in clinic.records("Appointment") if one["id"].endswith(f"-{number}"))
        mapped = mapping.map(record.body, MappingContext("athena"))
        assert mapped.problems == ()
        wanted = datetime.fromisoformat(stored["start"])
        assert datetime.fromisoformat(mapped.facts["start"]) == wanted
        assert mapped.facts["patient"]["ref"].startswith(f"athena:Patient:{OURS}E-")


# Writing


def a_problem_is_written_as_a_form(clinic: Clinic) -> None:
    """FHIR takes no Condition; v1 takes a form with a SNOMED code and ``MM/DD/YYYY``.

    Source: vendor sheet ("real writes in v1 REST"); metriport/metriport createProblem.
    """
    reply = clinic.sink().create(a_problem(clinic), REF)
    assert reply.outcome is Outcome.LANDED
    made = next(one for one in clinic.records("Condition") if f"Condition/{one['id']}" == reply.ref)
    assert made["onsetDateTime"] == "2026-02-27"


def a_weight_is_written_in_grams(clinic: Clinic) -> None:
    """v1 keeps weights in grams, lengths in centimetres, temperatures in Fahrenheit, whatever was measured in.

    Source: vendor sheet ("resource may be in wrong units -> convert"); metriport/metriport convertValue.
    """
    reply = clinic.sink().create(a_weight(clinic), REF)
    assert reply.outcome is Outcome.LANDED
    made = next(one for one in clinic.records("Observation") if f"Observation/{one['id']}" == reply.ref)
    assert Decimal(str(made["valueQuantity"]["value"])) == Decimal("68038.8")
    stone = {**a_weight(clinic), "valueQuantity": {"value": 11, "unit": "st", "code": "[stone_av]"}}
    sent = len(clinic.journal())
    refused = clinic.sink().create(stone, REF)
    assert (refused.outcome, refused.cause) == (Outcome.POISON, "unit_unknown")
    assert len(clinic.journal()) == sent


def a_success_can_be_a_refusal(clinic: Clinic) -> None:
    """A write that was not accepted is answered 200 with ``success: false``.

    Source: metriport/metriport createProblem: success and errormessage are looked at, not the status.
    """
    clinic.vendor(refuse_writes=True)
    reply = clinic.sink().create(a_problem(clinic), REF)
    assert (reply.outcome, reply.cause) == (Outcome.POISON, "not_accepted")


def what_was_written_is_found_by_what_v1_keeps(clinic: Clinic) -> None:
    """v1 keeps no identifier of ours and not all that was sent; a weight comes back in another unit.

    Source: metriport/metriport createProblem and createVitals (fields of the forms).
    """
    sink, body = clinic.sink(), a_weight(clinic)
    made = sink.create(body, REF)
    assert isinstance(sink, EHRSink)
    assert sink.find_created(body, REF).ref == made.ref


def the_allowance_is_read_from_the_headers(clinic: Clinic) -> None:
    """Ratelimit-* and X-Ratelimit-* come with every answer.

    Source: recorded answers of the vendor's sandbox in fastenhealth/fasten-sources (limit 500, reset 1).
    """
    clinic.vendor(allowance=7)
    pace = clinic.sink().create(a_problem(clinic), REF).pace
    assert pace is not None
    assert (pace.limit, pace.remaining, pace.reset_s) == (7, 6, 1.0)


# Pushes


def notification(focus: Json, *, number: str = "1", kind: str = "event-notification") -> Json:
    """As athenahealth/aone-fhir-subscriptions shows one."""
    event = {"id": "aaaa-bbbb", "eventNumber": number, "timestamp": "2023-04-14T09:22:56Z", "focus": focus}
    status = {
        "resourceType": "SubscriptionStatus",
        "status": "active",
        "type": kind,
        "eventsSinceSubscriptionStart": number,
        "notificationEvent": [event],
        "subscription": {"reference": "Subscription/s-1"},
    }
    entries = [{"resource": status}, {"id": "aaaa-bbbb", "response": {"status": "200"}}]
    return {"resourceType": "Bundle", "type": "history", "entry": entries}


def an_event_may_name_only_an_identifier(clinic: Clinic) -> None:
    """The focus of an event can be an identifier with the number that v1 uses; AuditEvent ids name events.

    Source: athenahealth/aone-fhir-subscriptions, README v0.11: urn:athenahealth:athenanet:appointment:195900.
    """
    parse_push = clinic.data_source().settings.push_parser
    assert parse_push is not None
    settings = PushSettings(scheme="x_hub_signature", secrets=("env:HOOK",))

    def read(focus: Json) -> tuple[PushEvent, ...]:
        return parse_push(Arrived("POST", "", notification(focus)), settings).events

    system = f"urn:athenahealth:athenanet:appointment:{PRACTICE}"
    named = {"identifier": {"system": system, "value": "2"}}
    assert read(named) == (PushEvent("Appointment", "2", 1, "aaaa-bbbb"),)
    patient = {"identifier": {"system": f"urn:athenahealth:athenanet:api:patients:{PRACTICE}", "value": "7"}}
    assert read(patient) == (PushEvent("Patient", f"{OURS}E-7", 1, "aaaa-bbbb"),)
    both = {"reference": f"Patient/{OURS}E-1", **patient}
    assert read(both) == (PushEvent("Patient", f"{OURS}E-1", 1, "aaaa-bbbb"),)
    of_another = {"identifier": {"system": "urn:athenahealth:athenanet:appointment:80000", "value": "2"}}
    assert read(of_another) == ()


def first_page_only(patch: pytest.MonkeyPatch) -> None:
    """Lists end with their first page."""
    whole = rows.pages

    def pages(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for listed, _ in whole(*args, **kwargs):
            yield listed, None
            return

    patch.setattr(rows, "pages", pages)


def links_cut_short(patch: pytest.MonkeyPatch) -> None:
    """Links are taken for what was asked at first."""
    whole = client.AthenahealthClient.address
    patch.setattr(client.AthenahealthClient, "address", lambda self, link: whole(self, link).partition("&cursor=")[0])


def gaps_passed_over(patch: pytest.MonkeyPatch) -> None:
    told = changed.Changed.changed

    def changed_only(feeds: changed.Changed, resource_type: str, cursor: dict[str, Any]) -> Iterator[Page]:
        return (replace(page, missed=False) for page in told(feeds, resource_type, cursor))

    patch.setattr(changed.Changed, "changed", changed_only)


def dates_as_fhir_has_them(patch: pytest.MonkeyPatch) -> None:
    """The date of a row is read as a FHIR date."""
    patch.setitem(TRANSFORMS, "us_moment", lambda value, path, run: primitives.date(value[0], path, run))


def without_feeds(settings: AthenahealthSettings) -> Profile:
    """A profile that knows of no feed."""
    return replace(profile.profile_of(settings), strategies={"": ("last_updated", "whole")})


def nothing(*_: Any, **__: Any) -> Iterator[Page]:
    """No page."""
    yield from ()


QUIRKS = (
    Quirk(one_base_serves_all_practices, attribute(profile, "practice_token", lambda practice: "")),
    Quirk(
        a_search_names_its_mandatory_parameters,
        attribute(profile, "_standing", lambda settings, kind: (("ah-practice", f"a-1.Practice-{PRACTICE}"),)),
    ),
    Quirk(a_missing_parameter_is_no_missing_right, attribute(client, "missing_combinations", lambda answer: ())),
    Quirk(
        a_type_that_is_not_granted_is_a_missing_right,
        attribute(client, "missing_combinations", lambda answer: ("ServiceRequest",)),
    ),
    Quirk(a_page_leads_to_the_next_by_a_cursor, links_cut_short),
    Quirk(
        what_changed_comes_from_a_feed,
        attribute(source, "profile_of", without_feeds),
    ),
    Quirk(a_feed_is_subscribed_to_first, attribute(client, "needs_subscription", lambda answer: False)),
    Quirk(a_lost_subscription_leaves_a_gap, gaps_passed_over),
    Quirk(what_was_read_and_not_landed_is_read_again, attribute(changed.Changed, "_again", nothing)),
    Quirk(appointments_come_from_v1, attribute(source.AthenahealthSource, "pages", source.FHIRSource.pages)),
    Quirk(lists_of_v1_go_on_at_next, first_page_only),
    Quirk(dates_of_v1_are_month_first, dates_as_fhir_has_them),
    Quirk(a_problem_is_written_as_a_form, attribute(forms, "_day", lambda moment, where: moment)),
    Quirk(a_weight_is_written_in_grams, attribute(forms, "_TO", {})),
    Quirk(
        a_success_can_be_a_refusal,
        attribute(athenahealth_sink.AthenahealthSink, "_made", lambda self, form, reply, document: reply),
    ),
    Quirk(what_was_written_is_found_by_what_v1_keeps, attribute(forms, "kept", lambda body: None)),
    Quirk(
        the_allowance_is_read_from_the_headers,
        attribute(classify, "pace_of", lambda headers, now: None),
    ),
    Quirk(an_event_may_name_only_an_identifier, attribute(push, "_SYSTEM", re.compile("nothing"))),
)
by_name = pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.name)


@pytest.fixture
def athena(simulators: dict[str, launch.Running]) -> Clinic:
    """A simulated practice as it begins."""
    return clinic_of(ADAPTER, simulators)


@by_name
def test_the_quirk_is_handled(quirk: Quirk, athena: Clinic, say: Say) -> None:
    quirk.check(athena)
    say(athena, quirk.name.replace("_", " "))


@by_name
def test_the_quirk_hurts_where_it_is_not_handled(quirk: Quirk, athena: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    quirk.without(monkeypatch)
    with pytest.raises((AssertionError, RunnerError, pytest.fail.Exception)):
        quirk.check(athena)


@by_name
def test_the_quirk_cites_where_it_is_told_of(quirk: Quirk) -> None:
    assert "Source: " in (quirk.check.__doc__ or "")


SAMPLES = sorted((Path(__file__).parents[3] / "shared" / "data" / "webhooks").glob("athena-*-with-signature.json"))


@pytest.mark.skipif(not SAMPLES, reason="the vendor's sample notifications are not here")
@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_the_vendors_own_samples_are_believed_and_read(path: Path) -> None:
    """Source: athenahealth/aone-fhir-subscriptions, sample bundles with the secret of its documentation."""
    sample = json.loads(path.read_text())
    headers = {name.lower(): value for name, value in sample["headers"].items()}
    delivery = signatures.Delivery("POST", "https://receiver.example/push", headers, sample["body_raw"].encode())
    secret = next(value for key, value in sample.items() if "secret" in key.lower())
    hub = signatures.scheme("x_hub_signature")
    assert isinstance(hub.verify(delivery, ["another", secret], now_s=0.0), signatures.Verified)
    assert isinstance(hub.verify(delivery, ["another"], now_s=0.0), signatures.Refused)
    settings = PushSettings(scheme="x_hub_signature", secrets=("env:HOOK",))
    read = push.parser_of(PRACTICE)(Arrived("POST", "", json.loads(sample["body_raw"])), settings)
    assert len(read.events) == 1
    assert read.events[0].number == 1
    assert read.subscription
