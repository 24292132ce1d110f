"""Reads athenahealth's event notifications. Pure.

github athenahealth/aone-fhir-subscriptions, README v0.11: a history Bundle whose first entry is a SubscriptionStatus
inside R4 with numbers as text; id-only, to be answered within 2 s; signed by ``X-Hub-Signature``; numbers may have
gaps; one AuditEvent an event, whose id names it. The focus may be a reference, or only an identifier such as
``urn:athenahealth:athenanet:appointment:195900`` with the number that v1 uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from connector_runner.connectors.athenahealth.ids import fhir_id
from connector_runner.connectors.fhir import notifications
from connector_runner.connectors.push import Arrived, Notification, PushEvent, PushSettings
from connector_runner.kernel.errors import BadRecord

PARTS: Final = {
    "appointment": "Appointment", "appointments": "Appointment", "patient": "Patient", "patients": "Patient",
    "provider": "Practitioner", "providers": "Practitioner", "department": "Location", "departments": "Location",
    "encounter": "Encounter", "encounters": "Encounter",
}  # fmt: skip
_SYSTEM: Final = re.compile(r"urn:athenahealth:athenanet:(?:api:)?([a-z]+):(\d{1,12})")


def parser_of(practice: str) -> Callable[[Arrived, PushSettings], Notification]:
    """The parser for one practice: an event of another one is not ours, and passed over."""

    def parse(arrived: Arrived, settings: PushSettings) -> Notification:
        body = arrived.body
        if not isinstance(body, dict) or body.get("resourceType") != "Bundle":
            raise BadRecord("an event notification is a Bundle", code="malformed")
        read = notifications.parse_bundle(body)
        if read.kind != "event":
            return read
        raised = list(_raised(body))
        events = [event for event in (_event(each, practice) for each in raised) if event is not None]
        return replace(read, events=tuple(events), ignored=len(raised) - len(events))

    return parse


def _raised(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    """The events that the status of the subscription lists."""
    status = bundle["entry"][0].get("resource")
    listed = status.get("notificationEvent") if isinstance(status, dict) else None
    return [event for event in listed if isinstance(event, dict)] if isinstance(listed, list) else []


def _event(event: dict[str, Any], practice: str) -> PushEvent | None:
    focus = event.get("focus")
    named = _focus(focus, practice) if isinstance(focus, dict) else None
    if named is None:
        return None
    key = event.get("id")
    usable = key if isinstance(key, str) and 0 < len(key) <= 128 else None
    return PushEvent(*named, number=notifications.number(event.get("eventNumber")), key=usable)


def _focus(focus: dict[str, Any], practice: str) -> tuple[str, str] | None:
    """Record type and id: as the reference says, else as the identifier does."""
    referred = notifications.reference(focus.get("reference"))
    if referred is not None:
        # A FHIR id says whose it is.
        return referred if _is_of(referred[1], practice) else None
    identifier = focus.get("identifier")
    if not isinstance(identifier, dict):
        return None
    found = _SYSTEM.fullmatch(str(identifier.get("system", "")))
    kind = PARTS.get(found[1]) if found else None
    if found is None or kind is None or found[2] != practice:
        return None
    value = identifier.get("value")
    if kind == "Appointment":
        return (kind, value) if isinstance(value, str) and value.isascii() and value.isdigit() else None
    record_id = fhir_id(practice, kind, value)
    return (kind, record_id) if record_id is not None else None


def _is_of(record_id: str, practice: str) -> bool:
    owner = re.match(r"a-(\d+)\.", record_id)
    return owner is None or owner[1] in (practice, "1")
