"""Notifications of topic-based subscriptions, by the R5 backport for R4: Bundles of type ``history``."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from .dates import instant
from .fhir_json import Json, loads
from .resource_types import RESOURCE_TYPES
from .store import wall_clock_ms

BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
STATUS_PROFILE = BACKPORT + "backport-subscription-status-r4"
NOTIFICATION_PROFILE = BACKPORT + "backport-subscription-notification-r4"


@dataclass(slots=True)
class Event:
    """One event of a topic."""

    number: int
    at_ms: int
    method: str
    resource_type: str
    id: str
    raw: bytes | None


def notification(
    name: str, resource: Json, kind: str, total: int, events: list[Event], *, form: str = "Parameters"
) -> Json:
    """A notification of the subscription ``name``; its status in the ``form`` Parameters or SubscriptionStatus."""
    content = str(extension(resource.get("channel", {}).get("_payload", {}), "backport-payload-content") or "empty")
    said = _as_status if form == "SubscriptionStatus" else _as_parameters
    entries: list[Json] = [
        {
            "fullUrl": f"urn:uuid:{uuid.uuid4()}",
            "resource": said(name, resource, kind, total, events, content),
            "request": {"method": "GET", "url": f"Subscription/{name}/$status"},
            "response": {"status": "200"},
        }
    ]
    for event in events if content != "empty" else []:
        entry: Json = {
            "request": {"method": event.method, "url": f"{event.resource_type}/{event.id}"},
            "response": {"status": "200", "lastModified": instant(event.at_ms)},
        }
        if content == "full-resource" and event.raw is not None:
            entry["resource"] = loads(event.raw)
        entries.append(entry)
    return {
        "resourceType": "Bundle",
        "id": str(uuid.uuid4()),
        "meta": {"profile": [NOTIFICATION_PROFILE]},
        "type": "history",
        "timestamp": instant(wall_clock_ms()),
        "entry": entries,
    }


def is_topic(resource: Json) -> bool:
    """Whether a subscription is to a topic."""
    criteria = str(resource.get("criteria", ""))
    return criteria.startswith(("http://", "https://")) and criteria.rstrip("/").rpartition("/")[2] in RESOURCE_TYPES


def extension(element: Any, name: str) -> Any:
    """The value of an extension of the backport on an element; None where it is not."""
    for extension in element.get("extension", ()) if isinstance(element, dict) else ():
        if isinstance(extension, dict) and extension.get("url") == BACKPORT + name:
            return next((value for key, value in extension.items() if key.startswith("value")), None)
    return None


def _as_parameters(name: str, resource: Json, kind: str, total: int, events: list[Event], content: str) -> Json:
    parameters: list[Json] = [
        {"name": "subscription", "valueReference": {"reference": f"Subscription/{name}"}},
        {"name": "topic", "valueCanonical": resource["criteria"]},
        {"name": "status", "valueCode": resource.get("status")},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": str(total)},
    ]
    for event in events:
        parts: list[Json] = [
            {"name": "event-number", "valueString": str(event.number)},
            {"name": "timestamp", "valueInstant": instant(event.at_ms)},
        ]
        if content != "empty":
            parts.append({"name": "focus", "valueReference": {"reference": f"{event.resource_type}/{event.id}"}})
        parameters.append({"name": "notification-event", "part": parts})
    return {"resourceType": "Parameters", "meta": {"profile": [STATUS_PROFILE]}, "parameter": parameters}


def _as_status(name: str, resource: Json, kind: str, total: int, events: list[Event], content: str) -> Json:
    said = []
    for event in events:
        one: Json = {"eventNumber": str(event.number), "timestamp": instant(event.at_ms)}
        if content != "empty":
            one["focus"] = {"reference": f"{event.resource_type}/{event.id}"}
        said.append(one)
    return {
        "resourceType": "SubscriptionStatus",
        "status": resource.get("status"),
        "type": kind,
        "eventsSinceSubscriptionStart": str(total),
        "subscription": {"reference": f"Subscription/{name}"},
        "topic": resource["criteria"],
        **({"notificationEvent": said} if said else {}),
    }
