"""Take a delivery in: find whose it is, verify the raw bytes, read what it says, and store it. Then it is answered.

Nothing is fetched here. A delivery is stored in Postgres before anybody is told that it arrived, so what happens to
Redis or to a worker afterwards loses nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from connector_runner.auth.signatures import Delivery, Refused, Scheme, Verified, standard_key
from connector_runner.connectors import directory, json_push
from connector_runner.connectors.push import Arrived, Notification, PushParser, PushSettings
from connector_runner.connectors.settings import NAME_PATTERN, SourceSettings
from connector_runner.infra import metrics, secrets
from connector_runner.infra.database import Database, Tx
from connector_runner.infra.logging import get_logger
from connector_runner.infra.sealing import Sealer
from connector_runner.intake.push import push_store
from connector_runner.intake.push.push_store import New
from connector_runner.intake.push.secret_rotation import counting, own_secret
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord, Misconfigured

MAX_BYTES: Final = 1024 * 1024
_FRESH_S: Final = 2.0
"""For so long the settings of a source are used again; a new secret counts after that."""
_MOST_DOORS: Final = 10_000

PUSHES: Final = metrics.counter("pushes", "Deliveries that came, by what became of them", ("source", "outcome"))
log = get_logger(__name__)

Outcome = Literal["stored", "known", "refused", "malformed", "unknown", "closed"]


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a delivery; ``code`` says why it was not taken. With ``stored`` there is work for the source."""

    outcome: Outcome
    code: str = ""
    workspace_id: str = ""
    data_source_id: str = ""


@dataclass(frozen=True, slots=True)
class Door:
    """One source that deliveries may come for, as of ``at``."""

    workspace_id: str
    data_source_id: str
    name: str
    settings: PushSettings
    scheme: Scheme
    secrets: tuple[str, ...] = field(repr=False)
    parse: PushParser
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Fresh:
    """A delivery that was verified and read, and is to be stored."""

    door: Door
    key: bytes
    content: bytes
    again: bool


def parser_of(settings: SourceSettings) -> PushParser | None:
    """How deliveries for a source are read; None when it takes none."""
    if settings.push is None:
        return None
    return json_push.parse if settings.push.parser == "json_path" else settings.push_parser


class Receiver:
    """Takes deliveries in. Shared by threads."""

    def __init__(self, database: Database, sealer: Sealer, *, clock: Callable[[], float] = time.time) -> None:
        """``clock``: seconds since 1970."""
        self._database, self._sealer, self._clock = database, sealer, clock
        self._doors: dict[tuple[str, str], tuple[float, Door | None]] = {}
        self._lock = threading.Lock()

    def known_door(self, workspace: str, source: str) -> Door | None:
        """As ``door``, of what was looked up a moment ago; asks nobody."""
        kept = self._doors.get((workspace, source))
        return kept[1] if kept is not None and time.monotonic() - kept[0] < _FRESH_S else None

    def door(self, workspace: str, source: str) -> Door | None:
        """The source of a workspace's slug and a name, if deliveries may come for it.

        Raises Unavailable when Postgres cannot be asked, Misconfigured when none of its secrets can be read.
        """
        if not NAME_PATTERN.fullmatch(workspace) or not NAME_PATTERN.fullmatch(source):
            return None
        kept = self._doors.get((workspace, source))
        if kept is not None and time.monotonic() - kept[0] < _FRESH_S:
            return kept[1]
        found = self._look(workspace, source)
        with self._lock:
            if len(self._doors) >= _MOST_DOORS:
                self._doors.clear()
            self._doors[workspace, source] = (time.monotonic(), found)
        return found

    def _look(self, workspace: str, source: str) -> Door | None:
        with self._database.sweep() as tx:
            workspace_id = push_store.address(tx, workspace)
        if workspace_id is None:
            return None
        with self._database.begin(workspace_id) as tx:
            try:
                found = directory.load(tx, workspace_id, source)
            except Misconfigured as error:
                if error.code != "no_such_source":
                    raise
                return None
            settings, parse = found.settings.push, parser_of(found.settings)
            if not found.enabled or settings is None or parse is None or found.name != source:
                return None
            known = self._secrets(tx, workspace_id, found.data_source_id, settings)
        return Door(workspace_id, found.data_source_id, found.name, settings, settings.signature(), known, parse)

    def _secrets(self, tx: Tx, workspace_id: str, data_source_id: str, settings: PushSettings) -> tuple[str, ...]:
        """Those that can be read: one that cannot must not shut out the others, as while they change."""
        found: list[str] = []
        fault: Misconfigured | None = None
        kept = secrets.names(tx, workspace_id)
        if settings.subscribe and (name := own_secret(data_source_id)) in kept:
            found.append(secrets.resolve(f"secret:{name}", tx, workspace_id, self._sealer))
        now_s = self._clock()
        named = [own_secret(data_source_id), *(each.removeprefix("secret:") for each in settings.secrets)]
        older = [f"secret:{each}" for name in named for each in counting(kept, name, now_s)]
        for reference in (*settings.secrets, *older):
            try:
                value = secrets.resolve(reference, tx, workspace_id, self._sealer)
                if settings.scheme == "standard_webhooks":
                    standard_key(value)
            except Misconfigured as error:
                fault = error
            except ValueError:
                fault = Misconfigured("no Standard Webhooks secret", code="secret_reference", where=reference)
            else:
                found.append(value)
        if fault is not None:
            log.warning("push.secret_unusable", data_source_id=data_source_id, code=fault.code)
            if not found:
                raise fault
        return tuple(found)

    def receive(self, door: Door, delivery: Delivery, target: str) -> Received:
        """Verify a delivery for ``door``, read it, store it. ``target`` follows the source's name in its URL.

        Raises Unavailable when Postgres cannot be used: then it is not stored, and must not be answered as if it were.
        """
        read = self.read(door, delivery, target)
        return read if isinstance(read, Received) else self.store([read])[0]

    def read(self, door: Door, delivery: Delivery, target: str) -> Received | Fresh:
        """The part that only computes: a delivery that is to be stored, or why it is not taken."""
        found = self._read(door, delivery, target)
        if isinstance(found, Received):
            PUSHES.labels(source=door.name, outcome=found.code).inc()
        return found

    def _read(self, door: Door, delivery: Delivery, target: str) -> Received | Fresh:
        verified = door.scheme.verify(
            delivery, door.secrets, now_s=self._clock(), tolerance_s=door.settings.tolerance_s
        )
        if isinstance(verified, Refused):
            return Received("refused", verified.code)
        try:
            body = exact_json.loads(delivery.body) if delivery.body.strip() else None
            said = door.parse(Arrived(delivery.method, target, body), door.settings)
        except BadRecord as error:
            return Received("malformed", error.code)
        identity = _identity(delivery, target, verified)
        key = self._sealer.keyed_digest(door.workspace_id, f"push|{door.data_source_id}", identity)
        content = seal_content(delivery.method, target, delivery.body)
        return Fresh(door, key, content, not told_apart(verified, said))

    def store(self, batch: Sequence[Fresh]) -> list[Received]:
        """Store deliveries, those of a workspace in one transaction; what became of each, in their order.

        Raises Unavailable when Postgres cannot be used: none of them counts as stored then.
        """
        kept: set[tuple[str, bytes]] = set()
        for workspace_id in {fresh.door.workspace_id for fresh in batch}:
            mine = [fresh for fresh in batch if fresh.door.workspace_id == workspace_id]
            kept |= self._database.retrying(workspace_id, lambda tx, mine=mine: self._keep(tx, mine))  # type: ignore[misc]
        received = []
        for fresh in batch:
            door, place = fresh.door, (fresh.door.data_source_id, fresh.key)
            outcome: Outcome = "stored" if place in kept else "known"
            PUSHES.labels(source=door.name, outcome=outcome).inc()
            received.append(Received(outcome, "", door.workspace_id, door.data_source_id))
        return received

    def _keep(self, tx: Tx, batch: Sequence[Fresh]) -> set[tuple[str, bytes]]:
        deliveries = []
        for fresh in batch:
            source_id = fresh.door.data_source_id
            sealed = self._sealer.seal(tx, fresh.door.workspace_id, fresh.content, bound(source_id, fresh.key))
            deliveries.append(New(source_id, fresh.key, sealed, fresh.again))
        return push_store.keep(tx, batch[0].door.workspace_id, deliveries)


def told_apart(verified: Verified, said: Notification) -> bool:
    """Whether the same delivery, come twice, must be of one event; else it may be of two that look alike.

    A rest-hook without a version says "this record changed" in the same words each time. To pass over the second
    one would lose a change; to read the record once more harms nobody.
    """
    named = bool(said.events) and all(event.key or event.number is not None for event in said.events)
    return verified.timed or verified.delivery_id is not None or named


def _identity(delivery: Delivery, target: str, verified: Verified) -> str:
    """What a delivery is known by: what the sender calls it, else all that it is made of, the signed time included."""
    if verified.delivery_id is not None:
        return f"id {verified.delivery_id}"
    return "\n".join((verified.stamp, target, delivery.body.decode("latin-1")))


def bound(data_source_id: str, key: bytes) -> str:
    """What a sealed delivery is bound to."""
    return f"push|{data_source_id}|{key.hex()}"


def seal_content(method: str, target: str, body: bytes) -> bytes:
    """A delivery as it is kept: a line with method and target, then the body."""
    return f"{method} {target}\n".encode() + body


def opened(content: bytes) -> tuple[str, str, bytes]:
    """The reverse of ``seal_content``."""
    head, _, body = content.partition(b"\n")
    method, _, target = head.decode().partition(" ")
    return method, target, body


def event_key(sealer: Sealer, workspace_id: str, data_source_id: str, parts: Sequence[str]) -> bytes:
    """What an event is known by."""
    return sealer.keyed_digest(workspace_id, f"push_event|{data_source_id}", "|".join(parts))
