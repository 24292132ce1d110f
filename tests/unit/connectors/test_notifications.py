"""What deliveries say: FHIR notifications in every form, and JSON by paths."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector_runner.connectors import json_push
from connector_runner.connectors.fhir.notifications import parse
from connector_runner.connectors.push import Arrived, Notification, PushEvent, PushSettings
from connector_runner.kernel.errors import BadRecord
from connector_runner.settings import PROJECT_ROOT

SHARED = PROJECT_ROOT.parent / "shared" / "data" / "webhooks"
SETTINGS = PushSettings(secrets=("env:X",))
VERSIONED = {"resourceType": "Patient", "id": "7", "meta": {"versionId": "3"}}
STAMPED = {"resourceType": "Patient", "id": "7", "meta": {"versionId": "3", "lastUpdated": "2026-01-02T03:04:05Z"}}


def said(body: Any, target: str = "", method: str = "POST") -> Notification:
    return parse(Arrived(method, target, body), SETTINGS)


@pytest.mark.parametrize(
    ("target", "body", "event"),
    [
        ("Patient/7", None, PushEvent("Patient", "7")),
        ("Patient/Patient/7", None, PushEvent("Patient", "7")),
        ("Patient/7/_history/2", None, PushEvent("Patient", "7")),
        ("Patient", None, PushEvent("Patient")),
        ("", VERSIONED, PushEvent("Patient", "7", key="Patient/7/3")),
        ("Patient", VERSIONED, PushEvent("Patient", "7", key="Patient/7/3")),
        ("Patient/Patient/7", VERSIONED, PushEvent("Patient", "7", key="Patient/7/3")),
        ("", {"resourceType": "Patient", "id": "7"}, PushEvent("Patient", "7")),
        ("", STAMPED, PushEvent("Patient", "7", key="Patient/7/3/2026-01-02T03:04:05Z")),
        ("", {"resourceType": "Patient", "id": "7", "meta": {"versionId": 3}}, PushEvent("Patient", "7")),
    ],
)
def test_rest_hooks(target: str, body: Any, event: PushEvent) -> None:
    assert said(body, target).events == (event,)


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("", None),
        ("hooks/x", None),
        ("", []),
        ("", "Patient/7"),
        ("", {"id": "7"}),
        ("", {"resourceType": "Patient"}),
        ("", {"resourceType": "Patient", "id": "../7"}),
        ("", {"resourceType": "Patient", "id": 7.5}),
        ("Patient/8", VERSIONED),
        ("", {"resourceType": "Bundle", "type": ["history"], "entry": []}),
        ("", {"resourceType": "Bundle", "type": "history", "entry": []}),
        ("", {"resourceType": "Bundle", "type": "history", "entry": [{"resource": VERSIONED}]}),
        ("", {"resourceType": "Bundle", "type": "history",
              "entry": [{"resource": {"resourceType": "SubscriptionStatus", "type": "shout"}}]}),
    ],
)  # fmt: skip
def test_what_is_no_notification(target: str, body: Any) -> None:
    with pytest.raises(BadRecord) as raised:
        said(body, target)
    assert raised.value.code == "malformed"


def _status(**more: Any) -> Any:
    status = {
        "resourceType": "SubscriptionStatus", "type": "event-notification", "status": "active",
        "subscription": {"reference": "https://ehr.example/fhir/Subscription/s1"}, **more,
    }  # fmt: skip
    return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}, {"response": {}}]}


@pytest.mark.parametrize("five", [5, "5"])
def test_numbers_come_as_numbers_and_as_text(five: Any) -> None:
    focus = {"reference": "https://ehr.example/FHIR/Patient/7/_history/2"}
    found = said(_status(eventsSinceSubscriptionStart=five, notificationEvent=[{"eventNumber": five, "focus": focus}]))
    assert found == Notification("event", (PushEvent("Patient", "7", 5),), "s1", "active", 5)


def test_an_event_without_a_focus_is_of_something_unless_others_have_one() -> None:
    bare = said(_status(notificationEvent=[{"eventNumber": "1"}]))
    assert bare.events == (PushEvent("", None, 1),)
    named, foreign = {"reference": "Patient/1"}, {"identifier": {"value": "x"}}
    mixed = said(
        _status(notificationEvent=[{"eventNumber": "1", "focus": named}, {"eventNumber": "2", "focus": foreign}])
    )
    assert mixed.events == (PushEvent("Patient", "1", 1),)
    assert mixed.ignored == 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
@pytest.mark.parametrize(
    ("name", "kind", "total", "events"),
    [
        ("handshake", "handshake", 0, ()),
        ("heartbeat", "heartbeat", 2, ()),
        ("empty", "event", 2, (PushEvent("", None, 2),)),
        ("id-only", "event", 2, (PushEvent("Encounter", "86009987-eabe-42bf-8c02-b112b18cb616", 2),)),
        ("full-resource", "event", 2, (PushEvent("Encounter", "86009987-eabe-42bf-8c02-b112b18cb616", 2),)),
        ("error", "status", 3, ()),
    ],
)
def test_the_examples_of_the_backport(name: str, kind: str, total: int, events: tuple[PushEvent, ...]) -> None:
    body = json.loads((SHARED / "fhir-backport-r4" / f"r4-notification-{name}.json").read_text())
    found = said(body)
    assert (found.kind, found.total, found.events, found.subscription) == (kind, total, events, "admission")
    assert found.status == {"handshake": "requested", "error": "error"}.get(name, "active")


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_a_vendor_that_sends_a_status_in_r4() -> None:
    sample = json.loads((SHARED / "athena-notification-patient-with-signature.json").read_text())
    found = said(json.loads(sample["body_raw"]))
    event_id = "ead73c9e-ab6e-4db5-9b73-1f73cb243682"
    assert found.events == (PushEvent("Patient", "a-195900.E-1", 1, event_id),)
    assert found.subscription == "b9f6db63-4883-41bb-9fef-97372cbd3fcd"


PATHS = {
    "type": "subscriptionType", "id": "objectId", "event": ["subscriptionId", "eventId", "occurredAt"],
    "subscription": "subscriptionId", "types": {"contact.creation": "Patient", "contact.propertyChange": "Patient"},
}  # fmt: skip


def by_paths(body: Any, **more: Any) -> Notification:
    settings = PushSettings.model_validate({"secrets": ["env:X"], "parser": "json_path", "paths": {**PATHS, **more}})
    return json_push.parse(Arrived("POST", "", body), settings)


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_batches_of_a_crm() -> None:
    batches = json.loads((SHARED / "hubspot-event-batches-elv2.json").read_text())
    first, second, third = (by_paths(batch) for batch in batches)
    assert {event.record_id for event in first.events} == {"1801"}
    assert len({event.key for event in first.events}) == 5
    assert second.ignored == 2, "types that the settings do not name"
    assert [event.record_id for event in third.events] == ["1801", "1802"]


@pytest.mark.parametrize("body", [None, [], {}, [{}], ["x"], [{"subscriptionType": "contact.creation"}], 7,
                                  [{"subscriptionType": "contact.creation", "objectId": True}],
                                  [{"subscriptionType": "contact.creation", "objectId": "x" * 300}]])  # fmt: skip
def test_json_without_events_is_malformed(body: Any) -> None:
    with pytest.raises(BadRecord):
        by_paths(body)


def test_items_may_lie_deeper_and_a_key_needs_all_of_its_parts() -> None:
    item = {"subscriptionType": "contact.creation", "objectId": 7, "eventId": 1, "occurredAt": 2}
    found = by_paths({"data": {"events": [item]}}, items="data.events")
    assert found.events == (PushEvent("Patient", "7"),)


WRONG = [
    ({}, "secrets"),
    ({"secrets": ["env:X"], "parser": "json_path"}, "paths"),
    ({"secrets": ["plain"]}, "reference"),
    ({"subscribe": ["Patient"]}, "public_url"),
    ({"subscribe": ["patient"], "public_url": "https://x.example"}, "pattern"),
    ({"subscribe": ["Patient"], "public_url": "https://x.example", "scheme": "slack"}, "static_header"),
    ({"secrets": ["env:X"], "scheme": "hubspot_v3"}, "public_url"),
    ({"secrets": ["env:X"], "scheme": "rot13"}, "x_hub_signature"),
    ({"secrets": ["env:X"], "tolerance_s": 0}, "greater"),
]


@pytest.mark.parametrize(("settings", "word"), WRONG)
def test_settings_that_cannot_be_meant(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        PushSettings.model_validate(settings)


def test_no_push_where_nothing_can_be_read() -> None:
    """A push only says what to read."""
    from connector_runner.connectors.registry import source_type
    from connector_runner.connectors.settings import parse as settings_of
    from connector_runner.kernel.errors import Misconfigured

    document = {
        "base_url": "https://crm.example", "mapping": "crm", "records": {"Contact": {"path": "/c", "create": "post"}},
        "push": {"secrets": ["env:X"], "parser": "json_path",
                 "paths": {"type": "t", "id": "i", "types": {"c": "Patient"}}},
    }  # fmt: skip
    with pytest.raises(Misconfigured, match="nothing can be pushed"):
        settings_of(source_type("rest_api", document).settings, document)
