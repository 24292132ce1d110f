"""Reads pushes of any JSON by paths that settings give. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from connector_runner.connectors.push import Arrived, JSONPaths, Notification, PushEvent, PushSettings
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.paths import Getter, compile_path

MAX_EVENTS = 1000
_LONGEST = 256
_RECORD_ID = re.compile(r"(?!\.+\Z)[A-Za-z0-9._~:@+=|-]{1,256}")
"""What may stand in the path of a URL without being another one."""


def parse(arrived: Arrived, settings: PushSettings) -> Notification:
    """The events of a body; BadRecord (``malformed``) when it has none where the paths say, or too many."""
    paths = settings.paths
    if paths is None:
        raise BadRecord("the settings say no paths", code="malformed")
    items = _items(arrived.body, paths)
    if len(items) > MAX_EVENTS:
        raise BadRecord(f"more than {MAX_EVENTS} events in one delivery", code="malformed")
    read = [_event(item, paths) for item in items]
    events = tuple(event for event in read if event is not None)
    return Notification("event", events, _subscription(items, paths), ignored=len(items) - len(events))


def _items(body: Any, paths: JSONPaths) -> list[Any]:
    found = body if paths.items is None else _getter(paths.items)(body)
    items = found if isinstance(found, list) else [found]
    if not items or not all(isinstance(item, dict) for item in items):
        raise BadRecord("no events where the settings say that they are", code="malformed", where=paths.items or "")
    return items


def _event(item: dict[str, Any], paths: JSONPaths) -> PushEvent | None:
    """The event of one item; None when it is about a type that the settings do not name."""
    kind, record_id = _text(item, paths.type), _text(item, paths.id)
    if kind is None or record_id is None:
        raise BadRecord("an event says neither type nor id", code="malformed", where=paths.type)
    resource_type = paths.types.get(kind)
    if resource_type is None:
        return None
    if not _RECORD_ID.fullmatch(record_id):
        raise BadRecord("no id of a record", code="malformed", where=paths.id)
    parts = [_text(item, path) for path in paths.event]
    key = "|".join(part for part in parts if part) if parts and all(parts) else None
    return PushEvent(resource_type, record_id, key=key)


def _subscription(items: list[Any], paths: JSONPaths) -> str:
    return (_text(items[0], paths.subscription) or "") if paths.subscription else ""


def _text(item: dict[str, Any], path: str) -> str | None:
    value = _getter(path)(item)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    text = str(value)
    return text if len(text) <= _LONGEST else None


@lru_cache(maxsize=1000)
def _getter(path: str) -> Getter:
    return compile_path(path)
