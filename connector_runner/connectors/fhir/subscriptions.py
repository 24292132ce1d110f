"""Subscriptions at a FHIR server: R4 rest-hook over a search, and topic-based ones by the R5 backport for R4.

R4 Subscription; Subscriptions R5 Backport IG 1.1 (channel extensions, ``$status``, ``$events``). What they are kept
with is the credential that reads: they are a part of reading.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from connector_runner.connectors.fhir.client import FHIRClient, read_failure
from connector_runner.connectors.fhir.notifications import parse_bundle, reference, status_of
from connector_runner.connectors.fhir.window import instant
from connector_runner.connectors.push import Kept, Notification, SubscriptionStatus, Wanted
from connector_runner.infra.http import Answer
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock, parse_instant, utc_now
from connector_runner.kernel.errors import BadRecord, Misconfigured, Unavailable

BACKPORT: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/"
PROFILE: Final = BACKPORT + "backport-subscription"
REASON: Final = "Keep a copy of these records current"
_GONE: Final = frozenset({404, 410})
_NOT_OFFERED: Final = frozenset({400, 404, 405, 422, 501})
_STATUSES: Final[dict[str, SubscriptionStatus]] = {
    "requested": "requested", "active": "active", "error": "error", "off": "off",
}  # fmt: skip


class FHIRSubscriptions:
    """The subscriptions of one server."""

    def __init__(self, client: FHIRClient, *, clock: Clock = utc_now) -> None:
        self._client, self._clock = client, clock

    def find(self, wanted: Wanted) -> Kept | None:
        """One to the same endpoint and over the same things: a create whose answer was lost, or of an earlier life."""
        params = [("url", wanted.endpoint), ("_count", "200")]
        answer = self._client.request("GET", "Subscription", params=params)
        if answer.status in _NOT_OFFERED:
            return None
        bundle = self._read(answer, "Subscription")
        made = resource_of(wanted)
        for entry in bundle.get("entry") or ():
            found = entry.get("resource") if isinstance(entry, dict) else None
            if isinstance(found, dict) and found.get("resourceType") == "Subscription" and _same(found, made):
                return _kept(found)
        return None

    def create(self, wanted: Wanted) -> Kept:
        """A new one, ``requested``. A server that has no subscriptions is Misconfigured (``no_subscriptions``)."""
        answer = self._client.request("POST", "Subscription", body=_body(resource_of(wanted)))
        if answer.status in (404, 405, 501):
            raise Misconfigured(
                "the server takes no subscriptions: remove push.subscribe",
                code="no_subscriptions",
                where="Subscription",
            )
        if answer.status not in (200, 201):
            raise read_failure(answer, "Subscription", self._clock())
        named = reference(answer.headers.get("Location") or "")
        if answer.body.strip():
            found = self._read(answer, "Subscription", also=201)
            if found.get("resourceType") == "Subscription" and isinstance(found.get("id"), str):
                return _kept(found)
        if named is None:
            raise Unavailable("the server does not say what it created", code="not_fhir", where="Subscription")
        return Kept(named[1], "requested")

    def renew(self, remote_id: str, wanted: Wanted) -> Kept | None:
        """Bring one to what is wanted, ``requested`` again."""
        body = _body({**resource_of(wanted), "id": remote_id})
        answer = self._client.request("PUT", _place(remote_id), body=body)
        if answer.status in _GONE:
            return None
        if answer.status not in (200, 201):
            raise read_failure(answer, "Subscription", self._clock())
        found = self._read(answer, "Subscription", also=201) if answer.body.strip() else {}
        return _kept(found) if found.get("id") == remote_id else Kept(remote_id, "requested", wanted.until)

    def look(self, remote_id: str) -> Kept | None:
        """How one is."""
        answer = self._client.request("GET", _place(remote_id))
        return None if answer.status in _GONE else _kept(self._read(answer, "Subscription"))

    def remove(self, remote_id: str) -> None:
        """End one, there or not."""
        answer = self._client.request("DELETE", _place(remote_id))
        if answer.status >= 300 and answer.status not in _GONE:
            raise read_failure(answer, "Subscription", self._clock())

    def count(self, remote_id: str) -> Notification | None:
        """Status and number of events, by ``$status``: a searchset of statuses, or a status by itself."""
        answer = self._client.request("GET", f"{_place(remote_id)}/$status")
        if answer.status in _NOT_OFFERED:
            return None
        found = self._read(answer, "Subscription/$status")
        try:
            if found.get("resourceType") != "Bundle":
                said = status_of(found)
                return Notification(said.kind, (), said.subscription, said.status, said.total)
            read = [parse_bundle({**found, "entry": [entry]}) for entry in found.get("entry") or ()]
        except BadRecord:
            return None
        named = [one for one in read if one.subscription == remote_id]
        return next(iter(named or read), None)

    def events(self, remote_id: str, since: int, until: int) -> bytes | None:
        """The events of numbers ``since`` to ``until``, by ``$events``, as the server sends them."""
        params = [("eventsSinceNumber", str(since)), ("eventsUntilNumber", str(until)), ("content", "id-only")]
        answer = self._client.request("GET", f"{_place(remote_id)}/$events", params=params)
        if answer.status in _NOT_OFFERED:
            return None
        found = self._read(answer, "Subscription/$events")
        try:
            parse_bundle(found)
        except BadRecord:
            return None
        return answer.body

    def _read(self, answer: Answer, what: str, *, also: int = 200) -> dict[str, Any]:
        if answer.status not in (200, also):
            raise read_failure(answer, what, self._clock())
        try:
            found = exact_json.loads(answer.body)
        except BadRecord as fault:
            raise Unavailable("the answer cannot be read as JSON", code=fault.code, where=what) from None
        if not isinstance(found, dict):
            raise Unavailable("the answer is not an object", code="not_fhir", where=what)
        return found


def resource_of(wanted: Wanted) -> dict[str, Any]:
    """The Subscription to ask for. Without a topic a payload is a resource; none says only that something changed."""
    settings = wanted.settings
    channel: dict[str, Any] = {
        "type": "rest-hook",
        "endpoint": wanted.endpoint,
        "header": [f"{wanted.header}: {wanted.secret}"],
    }
    if settings.topic is not None or settings.content != "empty":
        channel["payload"] = "application/fhir+json"
    made: dict[str, Any] = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": REASON,
        "criteria": settings.criteria or f"{wanted.resource_type}?",
        "end": instant(wanted.until),
        "channel": channel,
    }
    if settings.topic is not None:
        _backport(made, wanted)
    return made


def _backport(made: dict[str, Any], wanted: Wanted) -> None:
    settings, channel = wanted.settings, made["channel"]
    made["meta"] = {"profile": [PROFILE]}
    made["criteria"] = settings.topic
    if settings.filters:
        made["_criteria"] = {
            "extension": [{"url": BACKPORT + "backport-filter-criteria", "valueString": f} for f in settings.filters]
        }
    channel["_payload"] = {"extension": [{"url": BACKPORT + "backport-payload-content", "valueCode": settings.content}]}
    numbers = (
        ("backport-heartbeat-period", "valueUnsignedInt", settings.heartbeat_s),
        ("backport-timeout", "valueUnsignedInt", settings.timeout_s),
        ("backport-max-count", "valuePositiveInt", settings.max_count),
    )
    given = [{"url": BACKPORT + name, kind: value} for name, kind, value in numbers if value is not None]
    if given:
        channel["extension"] = given


def _same(found: dict[str, Any], made: dict[str, Any]) -> bool:
    channel = found.get("channel")
    endpoint = channel.get("endpoint") if isinstance(channel, dict) else None
    return bool(endpoint == made["channel"]["endpoint"] and found.get("criteria") == made["criteria"])


def _kept(found: dict[str, Any]) -> Kept:
    remote_id, status, end = found.get("id"), found.get("status"), found.get("end")
    if not isinstance(remote_id, str) or not 0 < len(remote_id) <= 128:
        raise Unavailable("a subscription without an id", code="not_fhir", where="Subscription")
    until: datetime | None = parse_instant(end) if isinstance(end, str) else None
    return Kept(remote_id, _STATUSES.get(status, "unknown") if isinstance(status, str) else "unknown", until)


def _body(resource: dict[str, Any]) -> bytes:
    return exact_json.dumps(resource).encode()


def _place(remote_id: str) -> str:
    return f"Subscription/{quote(remote_id, safe='')}"
