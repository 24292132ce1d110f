"""The quirks of athenahealth: each is handled, and each test fails when the handling is taken away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connector_runner.auth import signatures
from connector_runner.connectors.athenahealth import changed, client, profile, push, source
from connector_runner.connectors.athenahealth.settings import AthenahealthSettings
from connector_runner.connectors.base import Page
from connector_runner.connectors.fhir.profile import Profile
from connector_runner.connectors.push import Arrived, PushEvent, PushSettings
from connector_runner.connectors.sinks import Json
from connector_runner.kernel.errors import Misconfigured, RunnerError
from connector_runner.sandbox import launch
from tests.conformance.adapters.athenahealth import ADAPTER, OURS, PRACTICE
from tests.conformance.athenahealth_v1 import V1_QUIRKS
from tests.conformance.clinic import Clinic, read_all, read_on
from tests.conformance.conftest import Say, clinic_of
from tests.conformance.quirks import Quirk, attribute
from tests.integration.tokens.bench import call


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


def links_cut_short(patch: pytest.MonkeyPatch) -> None:
    """Links are taken for what was asked at first."""
    whole = client.AthenahealthClient.address
    patch.setattr(client.AthenahealthClient, "address", lambda self, link: whole(self, link).partition("&cursor=")[0])


def gaps_passed_over(patch: pytest.MonkeyPatch) -> None:
    told = changed.Changed.changed

    def changed_only(feeds: changed.Changed, resource_type: str, cursor: dict[str, Any]) -> Iterator[Page]:
        return (replace(page, missed=False) for page in told(feeds, resource_type, cursor))

    patch.setattr(changed.Changed, "changed", changed_only)


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
    *V1_QUIRKS,
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
