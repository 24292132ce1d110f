"""A conversation as it is handed in: what was said, and the events that an agent made of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connector_runner.kernel.errors import BadRecord

_KNOWN = frozenset({"session", "transcript", "events"})


@dataclass(frozen=True, slots=True)
class Conversation:
    """``session`` names it, ``transcript`` is what was said (None: not handed in), ``events`` what came of it."""

    session: str
    transcript: Any
    events: Any


def heard(document: Any) -> Conversation:
    """The conversation of a document: an object with ``session``, ``transcript`` and ``events``, or events alone.

    Each event of a conversation bears its session as ``correlation_id``. Raises BadRecord naming the key for what such
    an object may not say, and for an event that says it is of another conversation.
    """
    if not isinstance(document, dict) or not document.keys() & {"session", "transcript"}:
        return Conversation("", None, document)
    for key in document:
        if key not in _KNOWN:
            raise BadRecord("there is no such field", code="unknown_field", where=key[:64])
    session = document.get("session")
    if not isinstance(session, str) or not 0 < len(session) <= 256:
        raise BadRecord("expected a text of 1 to 256 characters", code="wrong_type", where="session")
    events = document.get("events", [])
    if not isinstance(events, list):
        raise BadRecord("expected a list of events", code="not_a_list", where="events")
    for index, event in enumerate(events):
        if isinstance(event, dict) and event.setdefault("correlation_id", session) != session:
            raise BadRecord("the event is of another conversation", code="session", where=f"events.{index}")
    return Conversation(session, document.get("transcript"), events)
