"""Calls as cases for the judge: nothing else is known of whom they are about."""

from __future__ import annotations

from connector_runner.review import transcript
from connector_runner.review.judge.case import Case
from connector_runner.world.events import StoredEvent
from connector_runner.world.fold import fold
from connector_runner.world.reading import EntityView
from tests.calls.generator import WHEN, Call

WORKSPACE = "018f0000-0000-7000-8000-000000000001"


def event_of(call: Call, *, source: str = "voice_agent", confidence: float = 0.5) -> StoredEvent:
    """The event that an agent made of a call."""
    identity = f"018f0000-0000-7000-9000-{call.number:012d}"
    return StoredEvent(
        id=identity,
        entity_id=identity,
        entity_type=call.entity_type,
        event_type=f"{call.entity_type}.updated",
        facts=call.facts,
        snapshot=False,
        source=source,
        source_system=None,
        data_source_id=None,
        record_id=None,
        record_key=None,
        mapping_version=None,
        confidence=confidence,
        supersedes=None,
        effective_at=None,
        as_of=None,
        ingested_at=WHEN,
        actor=None,
    )


def view_of(*events: StoredEvent) -> EntityView:
    """All that is known of whom the first is about."""
    first = events[0]
    return EntityView(
        entity_id=first.entity_id,
        entity_type=first.entity_type,
        canonical_id=f"test:Basic:{first.entity_id}",
        revision=1,
        folded=fold(events, []),
        events=tuple(events),
        records={},
    )


def case_of(call: Call) -> Case:
    """The case of a call."""
    event = event_of(call)
    said = transcript.read(call.session, [*call.turns])
    return Case(WORKSPACE, event.entity_id, call.entity_type, (event,), view_of(event), said)
