"""Deliveries opened again, with what they say and which records they ask to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from connector_runner.connectors.base import DataSource
from connector_runner.connectors.push import Arrived, Notification, PushEvent, PushParser, PushSettings
from connector_runner.infra.database import Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.intake.push import hearing, push_store, subscription_store
from connector_runner.intake.push.push_store import Push, Turn
from connector_runner.intake.push.reading import Target
from connector_runner.intake.push.receiving import bound, event_key, opened, parser_of
from connector_runner.intake.push.subscription_store import Scope
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord, Misconfigured


@dataclass(slots=True)
class Item:
    """A delivery with what it says. ``wanted`` are its events that are not known yet, with the keys of those that
    have one; ``types`` are record types of which it says no more than that something changed."""

    push: Push
    content: bytes
    said: Notification
    wanted: list[tuple[PushEvent, bytes | None]] = field(default_factory=list)
    types: set[str] = field(default_factory=set)

    @property
    def targets(self) -> list[Target]:
        """The records to read."""
        return [(event.resource_type, event.record_id) for event, _ in self.wanted if event.record_id is not None]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A delivery that cannot be read any more: the settings are others now, or it was altered."""

    push: Push
    content: bytes
    error: BadRecord


class Opener:
    """Opens the deliveries of one source."""

    def __init__(self, source: DataSource, sealer: Sealer) -> None:
        """Raises Misconfigured (``not_pushed``) for a source that takes no deliveries."""
        parse, settings = parser_of(source.settings), source.settings.push
        if parse is None or settings is None:
            raise Misconfigured("nothing is pushed for this source", code="not_pushed", where=source.name)
        self.settings: PushSettings = settings
        self._parse: PushParser = parse
        self._source, self._sealer = source, sealer
        self.scope = Scope(source.workspace_id, source.data_source_id)
        listed = {name for name, resource in source.settings.resources.items() if resource.enabled}
        mapped = set(settings.paths.types.values()) if settings.paths is not None else set()
        self.types = frozenset(listed | mapped | settings.subscribe.keys())

    def open(self, tx: Tx, turn: Turn, batch: Sequence[Push]) -> list[Item | Unreadable]:
        """What each says, less what was worked off before. What tells of the subscription itself is noted at once:
        when the server counts anew, its numbers mean other events from there on."""
        items = [self._item(tx, push) for push in batch]
        known = push_store.known_events(
            tx, turn, [key for item in items if isinstance(item, Item) for _, key in item.wanted if key is not None]
        )
        for item in items:
            if isinstance(item, Item):
                item.wanted = [(event, key) for event, key in item.wanted if key not in known]
                self._place(tx, item)
        return items

    def _item(self, tx: Tx, push: Push) -> Item | Unreadable:
        content = b""
        restarted = False
        try:
            content = self._unsealed(tx, push)
            method, target, body = opened(content)
            arrived = Arrived(method, target, exact_json.loads(body) if body.strip() else None)
            said = self._parse(arrived, self.settings)
        except BadRecord as error:
            return Unreadable(push, content, error)
        if said.kind in ("handshake", "status"):
            before = hearing.restarts(tx, self.scope, said)
            hearing.hear(tx, self.scope, said, self.settings, push.received_at)
            restarted = hearing.restarts(tx, self.scope, said) > before
        keyed = [(event, self._key(tx, said, event)) for event in said.events]
        # What a server that lost its count would have told is told by nobody.
        return Item(push, content, said, keyed, self._meant(tx, said, PushEvent("")) if restarted else set())

    def content(self, tx: Tx, push: Push) -> bytes:
        """A delivery as it came; empty when it was altered since."""
        try:
            return self._unsealed(tx, push)
        except BadRecord:
            return b""

    def _unsealed(self, tx: Tx, push: Push) -> bytes:
        place = bound(self._source.data_source_id, push.key)
        return self._sealer.open(tx, self._source.workspace_id, push.sealed, place)

    def _key(self, tx: Tx, said: Notification, event: PushEvent) -> bytes | None:
        if event.key is not None:
            parts = ["key", event.key]
        elif event.number is not None and said.subscription:
            parts = ["number", said.subscription, str(hearing.restarts(tx, self.scope, said)), str(event.number)]
        else:
            return None
        return event_key(self._sealer, self._source.workspace_id, self._source.data_source_id, parts)

    def _place(self, tx: Tx, item: Item) -> None:
        """Events of types that are not wanted fall away; those without a record ask for a poll of what they are of."""
        for event, _ in item.wanted:
            if event.record_id is None:
                item.types |= self._meant(tx, item.said, event)
        item.wanted = [
            (event, key) for event, key in item.wanted if event.record_id is None or event.resource_type in self.types
        ]

    def _meant(self, tx: Tx, said: Notification, event: PushEvent) -> set[str]:
        if event.resource_type:
            return {event.resource_type} & self.types
        found = subscription_store.held(tx, self.scope, remote_id=said.subscription) if said.subscription else None
        return {found.name} if found is not None and found.ours else set(self.types)
