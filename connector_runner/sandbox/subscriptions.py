"""Subscriptions of a simulated FHIR server: R4 rest-hooks as HAPI delivers them, and the R5 backport for R4.

A rest-hook with a payload is delivered by ``PUT {endpoint}/{Type}/{id}`` or by POST to the endpoint; without one by an
empty POST. It is tried a few times and then given up, and nobody is told. A topic is a canonical URL that ends in a
record type; its notifications are numbered, begin with a handshake, and a heartbeat fills silences.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .bundle_pages import Behaviour
from .dates import interval
from .fhir_json import Json, dumps
from .interactions import Interactions
from .messages import Answer, Request, json_answer
from .notifications import Event, extension, is_topic, notification
from .outcomes import FhirError
from .search import parse_search
from .store import Store, Version, wall_clock_ms

_SEARCHED = 10_000
_TIMEOUT_S = 10.0
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Conduct:
    """How notifications go out, and what goes wrong with them.

    ``form`` is how a rest-hook's payload travels: "put" (HAPI) or "post". ``lose`` the next so many notifications;
    ``duplicate`` sends each twice, ``reorder`` every second one before the first. A notification is tried ``tries``
    times, ``pause_s`` apart, after ``delay_s``. ``operations`` is whether ``$status`` and ``$events`` are offered,
    ``body`` whether the status comes as "Parameters" or "SubscriptionStatus", ``activate`` whether subscriptions are.
    """

    form: str = "put"
    lose: int = 0
    duplicate: bool = False
    reorder: bool = False
    delay_s: float = 0.0
    tries: int = 3
    pause_s: float = 0.5
    operations: bool = True
    body: str = "Parameters"
    activate: bool = True
    heartbeats: bool = True


@dataclass(slots=True)
class Channel:
    """What one subscription has seen."""

    events: list[Event] = field(default_factory=list)
    delivered: int = 0
    lost: int = 0
    failed: int = 0
    sent_ms: int = 0
    held: tuple[str, str, bytes] | None = None


class Subscriptions:
    """Watches what is committed to a store, and tells who subscribed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.conduct = Conduct()
        self._channels: dict[str, Channel] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._queues: dict[str, asyncio.Lock] = {}
        self._beating: asyncio.Task[None] | None = None
        store.watchers.append(self.committed)

    def reset(self) -> None:
        """Nobody subscribed to anything."""
        for task in list(self._tasks):
            task.cancel()
        self._channels.clear()
        self._queues.clear()
        self.conduct = Conduct()

    def as_json(self) -> Json:
        """The conduct, and how each subscription went."""
        seen = {
            name: {
                "events": len(channel.events),
                "delivered": channel.delivered,
                "lost": channel.lost,
                "failed": channel.failed,
            }
            for name, channel in self._channels.items()
        }
        return {**asdict(self.conduct), "subscriptions": seen}

    def change(self, wanted: Json) -> Json:
        """Other conduct from now on; ``ValueError`` for what is none. ``restart`` makes every count begin anew."""
        if wanted.pop("restart", False):
            for channel in self._channels.values():
                channel.events.clear()
            for version in self._store.live("Subscription"):
                self._later(self._begin(version.id))
        for name, value in wanted.items():
            known = getattr(self.conduct, name, None)
            number = isinstance(known, float) and isinstance(value, int | float) and not isinstance(value, bool)
            if known is None or not (number or type(value) is type(known)):
                raise ValueError(f"{name}: unknown, or of the wrong type")
            setattr(self.conduct, name, float(value) if number else value)
        return self.as_json()

    def committed(self, versions: Sequence[Version]) -> None:
        """What was written: a subscription that is asked for, or what others asked to hear of."""
        for version in versions:
            if version.resource_type == "Subscription":
                self._subscription(version)
        others = [version for version in versions if version.resource_type != "Subscription"]
        if not others or not self._channels:
            return
        for subscription in self._store.live("Subscription"):
            resource = subscription.resource()
            if resource.get("status") != "active" or subscription.id not in self._channels:
                continue
            if _over(resource):
                self._set_status(subscription.id, "off")
                continue
            for version in others:
                if self._concerns(resource, version):
                    self._happened(subscription.id, resource, version)

    def _subscription(self, version: Version) -> None:
        if version.raw is None:
            self._channels.pop(version.id, None)
        elif version.resource().get("status") == "requested" and self.conduct.activate:
            self._channels.setdefault(version.id, Channel())
            self._later(self._begin(version.id))

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._beating is None or self._beating.done():
            self._beating = asyncio.get_running_loop().create_task(self._beat())
            self._tasks.add(self._beating)

    async def _begin(self, name: str) -> None:
        """Active, once the endpoint has taken the handshake where there is one."""
        current = self._store.current("Subscription", name)
        if current is None or current.raw is None:
            return
        resource = current.resource()
        taken = not is_topic(resource) or await self._post(
            name, resource, "", dumps(self._notification(name, resource, "handshake", []))
        )
        self._set_status(name, "active" if taken else "error")

    def _set_status(self, name: str, status: str) -> None:
        current = self._store.current("Subscription", name)
        if current is None or current.raw is None:
            return
        self._store.put("Subscription", name, {**current.resource(), "status": status}, "PUT")
        self._store.commit()

    def _concerns(self, resource: Json, version: Version) -> bool:
        if is_topic(resource):
            return bool(resource["criteria"].rstrip("/").rpartition("/")[2] == version.resource_type)
        kind, _, query = str(resource.get("criteria", "")).partition("?")
        if kind != version.resource_type or version.raw is None:
            return False
        pairs = parse_qsl(query, keep_blank_values=True)
        if not pairs:
            return True
        found = parse_search(kind, pairs, strict=False, most=_SEARCHED).rows(self._store, self._store.last_seq)
        return any(row.id == version.id for row in found)

    def _happened(self, name: str, resource: Json, version: Version) -> None:
        channel = self._channels[name]
        if is_topic(resource):
            number = len(channel.events) + 1
            event = Event(number, version.updated_ms, version.method, version.resource_type, version.id, version.raw)
            channel.events.append(event)
            body = dumps(self._notification(name, resource, "event-notification", [event]))
            self._later(self._tell(name, resource, ("POST", "", body)))
            return
        payload = resource.get("channel", {}).get("payload")
        if not payload:
            self._later(self._tell(name, resource, ("POST", "", b"")))
        elif self.conduct.form == "put":
            self._later(self._tell(name, resource, ("PUT", f"/{version.reference}", version.raw or b"")))
        else:
            self._later(self._tell(name, resource, ("POST", "", version.raw or b"")))

    async def _tell(self, name: str, resource: Json, message: tuple[str, str, bytes]) -> None:
        """One notification, with what is to go wrong with it."""
        channel, conduct = self._channels.get(name), self.conduct
        if channel is None:
            return
        if conduct.lose > 0:
            conduct.lose -= 1
            channel.lost += 1
            return
        messages = [message]
        if conduct.reorder and channel.held is None:
            channel.held = message
            return
        if channel.held is not None:
            messages.append(channel.held)
            channel.held = None
        if conduct.delay_s:
            await asyncio.sleep(conduct.delay_s)
        for method, path, body in messages:
            for _ in range(2 if conduct.duplicate else 1):
                taken = await self._post(name, resource, path, body, method=method)
                channel.delivered += taken
                channel.failed += not taken
                if not taken and is_topic(resource):
                    self._set_status(name, "error")

    async def _post(self, name: str, resource: Json, path: str, body: bytes, *, method: str = "POST") -> bool:
        """Send, and again after a pause, a few times; whether it was taken."""
        lock = self._queues.setdefault(name, asyncio.Lock())
        async with lock:
            for attempt in range(max(1, self.conduct.tries)):
                if attempt:
                    await asyncio.sleep(self.conduct.pause_s)
                status = await asyncio.to_thread(_send, resource["channel"], method, path, body)
                if 200 <= status < 300:
                    channel = self._channels.get(name)
                    if channel is not None:
                        channel.sent_ms = wall_clock_ms()
                    return True
        return False

    async def _beat(self) -> None:
        """A heartbeat where nothing was said for as long as was agreed on."""
        while True:
            await asyncio.sleep(0.25)
            for version in self._store.live("Subscription") if self.conduct.heartbeats else ():
                resource, channel = version.resource(), self._channels.get(version.id)
                period = extension(resource.get("channel", {}), "backport-heartbeat-period")
                if channel is None or resource.get("status") != "active" or not isinstance(period, int):
                    continue
                if wall_clock_ms() - channel.sent_ms >= period * 1000:
                    channel.sent_ms = wall_clock_ms()
                    body = dumps(self._notification(version.id, resource, "heartbeat", []))
                    self._later(self._tell(version.id, resource, ("POST", "", body)))

    def _notification(self, name: str, resource: Json, kind: str, events: list[Event]) -> Json:
        total = len(self._channels[name].events) if name in self._channels else 0
        return notification(name, resource, kind, total, events, form=self.conduct.body)

    def operation(self, request: Request, name: str, operation: str) -> Answer:
        """``$status`` and ``$events``."""
        current = self._store.current("Subscription", name)
        if current is None or current.raw is None or not self.conduct.operations:
            raise FhirError(404, f"Subscription/{name} is not known, or the operation is not offered")
        resource = current.resource()
        if operation == "$status":
            bundle = self._notification(name, resource, "query-status", [])
            return json_answer(200, {**bundle, "type": "searchset"})
        asked = dict(request.pairs)
        first, last = int(asked.get("eventsSinceNumber", "1")), int(asked.get("eventsUntilNumber", str(10**9)))
        channel = self._channels.get(name, Channel())
        events = [event for event in channel.events if first <= event.number <= last]
        return json_answer(200, self._notification(name, resource, "query-event", events))


class SubscribedInteractions(Interactions):
    """Interactions of a server that has subscriptions."""

    def __init__(self, store: Store, behaviour: Behaviour, system: str, subscriptions: Subscriptions) -> None:
        super().__init__(store, behaviour, system)
        self._subscriptions = subscriptions

    def _of_type(self, request: Request, resource_type: str, rest: list[str]) -> Answer:
        match rest:
            case [name, "$status" | "$events" as operation] if resource_type == "Subscription":
                return self._subscriptions.operation(request, name, operation)
        return super()._of_type(request, resource_type, rest)


def _over(resource: Json) -> bool:
    end = resource.get("end")
    span = interval(end) if isinstance(end, str) else None
    return span is not None and span[1] <= wall_clock_ms()


def _send(channel: Json, method: str, path: str, body: bytes) -> int:
    """One request to an endpoint; its status, 0 when there is no answer."""
    parts = urlsplit(str(channel.get("endpoint", "")))
    headers = dict(line.split(": ", 1) for line in channel.get("header", ()) if ": " in line)
    if body:
        headers["Content-Type"] = "application/fhir+json"
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request(method, parts.path.rstrip("/") + path, body, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        log.info("an endpoint does not answer: %s", type(error).__name__)
        return 0
    finally:
        connection.close()
