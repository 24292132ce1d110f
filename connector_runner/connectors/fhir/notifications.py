"""Reads the notifications of FHIR subscriptions: R4 rest-hooks in the forms that servers send, and the R5 backport.

R4, Subscription (rest-hook): with a payload the resource is sent, to the endpoint or, as HAPI does it, with PUT to
``{endpoint}/{Type}/{id}``; without one nothing. Backport IG: a Bundle of type ``history`` (in R4B ``subscription-
notification``) whose first entry is the status of the subscription, as ``Parameters`` or as ``SubscriptionStatus``;
numbers come as text there, and as numbers elsewhere. Other entries may have no resource.
"""

from __future__ import annotations

import re
from typing import Any, Final

from connector_runner.connectors.push import (
    Arrived,
    Kind,
    Notification,
    PushEvent,
    PushSettings,
    SubscriptionStatus,
)
from connector_runner.kernel.errors import BadRecord

MAX_EVENTS: Final = 10_000
_REFERENCE = re.compile(r"(?:^|/)([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?$")
_NUMBER = re.compile(r"[0-9]{1,18}")
_NO_COUNT: Final = 10**18
_STATUSES: Final[dict[str, SubscriptionStatus]] = {
    "requested": "requested", "active": "active", "error": "error", "off": "off",
}  # fmt: skip
_KINDS: Final[dict[str, Kind]] = {
    "handshake": "handshake",
    "heartbeat": "heartbeat",
    "event-notification": "event",
    "query-status": "status",
    "query-event": "event",
}
_NOTIFIES: Final = ("history", "subscription-notification")


def parse(arrived: Arrived, settings: PushSettings) -> Notification:
    """What a delivery says; BadRecord (``malformed``) when it is no notification of a subscription."""
    body = arrived.body
    if isinstance(body, dict) and body.get("resourceType") == "Bundle" and body.get("type") in _NOTIFIES:
        return parse_bundle(body)
    event = _of_target(arrived.target)
    if body is None:
        if event is None:
            raise BadRecord("neither a body nor a path says what changed", code="malformed")
        return Notification("event", (event,))
    if not isinstance(body, dict) or not isinstance(body.get("resourceType"), str):
        raise BadRecord("the body is no FHIR resource", code="malformed")
    said = reference(f"{body['resourceType']}/{body['id']}") if isinstance(body.get("id"), str) else None
    if said is None:
        raise BadRecord("the resource has no usable type and id", code="malformed", where="resourceType")
    if event is not None and event.record_id is not None and (event.resource_type, event.record_id) != said:
        raise BadRecord("the path and the body name different records", code="malformed", where="id")
    return Notification("event", (PushEvent(*said, key=_version_key(body, said)),))


def _of_target(target: str) -> PushEvent | None:
    """What the last segments of a path name: ``Type/id``, or a type alone."""
    named = reference(target)
    if named is not None:
        return PushEvent(*named)
    last = target.rpartition("/")[2]
    return PushEvent(last) if re.fullmatch(r"[A-Z][A-Za-z]{1,63}", last) else None


def _version_key(resource: dict[str, Any], said: tuple[str, str]) -> str | None:
    """A version is pushed once; without a stamp two pushes of a record may be of two changes.

    Servers that number no versions call each of them the same, or begin anew after a restore: its time tells it apart.
    """
    meta = resource.get("meta")
    version, updated = (meta.get("versionId"), meta.get("lastUpdated")) if isinstance(meta, dict) else (None, None)
    if not isinstance(version, str) or not 0 < len(version) <= 64:
        return None
    return "/".join((*said, version, *([updated] if isinstance(updated, str) and len(updated) <= 64 else [])))


def reference(text: object) -> tuple[str, str] | None:
    """Type and id of a literal reference, relative or absolute, a version of it left out."""
    found = _REFERENCE.search(text) if isinstance(text, str) else None
    # Of dots alone it would be another place in a URL.
    return (found[1], found[2]) if found and found[2].strip(".") else None


def parse_bundle(bundle: dict[str, Any]) -> Notification:
    """A notification bundle, or the answer to ``$status`` or ``$events``; BadRecord when it is neither."""
    entries = bundle.get("entry")
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], dict):
        raise BadRecord("a notification begins with the status of its subscription", code="malformed", where="entry")
    said = status_of(entries[0].get("resource"))
    events: list[PushEvent] = []
    ignored = 0
    for event in said.events:
        found = _events(event, bare=not said.events_named)
        events += found
        ignored += not found
    if len(events) > MAX_EVENTS:
        raise BadRecord(f"more than {MAX_EVENTS} events in one delivery", code="malformed")
    return Notification(said.kind, tuple(events), said.subscription, said.status, said.total, ignored)


class _Said:
    """The status of a subscription, in either form."""

    def __init__(self, kind: Kind, status: SubscriptionStatus | None, subscription: str, total: int | None) -> None:
        self.kind, self.status, self.subscription, self.total = kind, status, subscription, total
        self.events: list[dict[str, Any]] = []

    @property
    def events_named(self) -> bool:
        """Whether any event says what it is about."""
        return any(event["focus"] is not None for event in self.events)


def status_of(resource: Any) -> _Said:
    """Read ``Parameters`` or ``SubscriptionStatus``."""
    if isinstance(resource, dict) and resource.get("resourceType") == "SubscriptionStatus":
        return _of_status(resource)
    if isinstance(resource, dict) and resource.get("resourceType") == "Parameters":
        return _of_parameters(resource)
    raise BadRecord("a notification begins with the status of its subscription", code="malformed", where="entry[0]")


def _of_status(resource: dict[str, Any]) -> _Said:
    said = _Said(
        _kind(resource.get("type")),
        _status(resource.get("status")),
        _subscription(resource.get("subscription")),
        number(resource.get("eventsSinceSubscriptionStart")),
    )
    for event in _dicts(resource.get("notificationEvent")):
        said.events.append(
            {"number": number(event.get("eventNumber")), "focus": event.get("focus"), "key": event.get("id")}
        )
    return said


def _of_parameters(resource: dict[str, Any]) -> _Said:
    parameters = _dicts(resource.get("parameter"))
    named = {str(p.get("name")): p for p in parameters}
    said = _Said(
        _kind(_value(named.get("type"))),
        _status(_value(named.get("status"))),
        _subscription(_value(named.get("subscription"))),
        number(_value(named.get("events-since-subscription-start"))),
    )
    for parameter in parameters:
        if parameter.get("name") == "notification-event":
            parts = {str(p.get("name")): p for p in _dicts(parameter.get("part"))}
            said.events.append(
                {
                    "number": number(_value(parts.get("event-number"))),
                    "focus": _value(parts.get("focus")),
                    "key": None,
                }
            )
    return said


def _events(event: dict[str, Any], *, bare: bool) -> list[PushEvent]:
    focus = event["focus"]
    named = reference(focus.get("reference")) if isinstance(focus, dict) else None
    key = event["key"] if isinstance(event["key"], str) and 0 < len(event["key"]) <= 128 else None
    if named is not None:
        return [PushEvent(*named, number=event["number"], key=key)]
    # With content "empty" an event has a number and nothing else: something of what was subscribed to changed.
    return [PushEvent("", None, event["number"], key)] if bare else []


def number(value: Any) -> int | None:
    """A count that comes as a number or as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < _NO_COUNT else None
    return int(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else None


def _kind(value: Any) -> Kind:
    kind = _KINDS.get(value) if isinstance(value, str) else None
    if kind is None:
        raise BadRecord("a notification of no known type", code="malformed", where="type")
    return kind


def _status(value: Any) -> SubscriptionStatus | None:
    return _STATUSES.get(value, "unknown") if isinstance(value, str) else None


def _subscription(value: Any) -> str:
    named = reference(value.get("reference")) if isinstance(value, dict) else None
    return named[1] if named is not None and named[0] == "Subscription" else ""


def _value(parameter: dict[str, Any] | None) -> Any:
    return next((v for k, v in (parameter or {}).items() if k.startswith("value")), None)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
