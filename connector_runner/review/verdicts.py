"""A person's or a judge's word about an event: it raises, or takes away, what the event is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from connector_runner.audit import log as audit
from connector_runner.infra.database import Tx
from connector_runner.kernel.errors import BadRecord
from connector_runner.world import reading
from connector_runner.world.atoms import field_of, split
from connector_runner.world.confidence import HUMAN_APPROVED, REJECTED, REVIEW_SOURCE, REVIEWED
from connector_runner.world.events import NewEvent
from connector_runner.world.fold import VERDICT_PREFIX
from connector_runner.world.service import World

Kind = Literal["human", "automated"]

LONGEST_NOTES: Final = 2000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is decided about an event; without ``fields`` it is about all of it."""

    event_id: str
    approve: bool
    actor: str
    kind: Kind = "human"
    fields: Sequence[str] = ()
    reason: str | None = None
    version: str | None = None
    """The stamp of the judge, its prompt and its model."""
    rests_on: Sequence[str] = ()
    """Other entities that are the same, and on whose word it rests: parted from them it does not count."""

    @property
    def confidence(self) -> float:
        """What the event's values are worth from now on."""
        if not self.approve:
            return REJECTED
        return HUMAN_APPROVED if self.kind == "human" else REVIEWED

    @property
    def word(self) -> str:
        """``approved`` or ``rejected``."""
        return "approved" if self.approve else "rejected"


def decide(tx: Tx, world: World, workspace_id: str, verdict: Verdict, *, now: datetime) -> str:
    """Append the verdict, audited; the entity is folded and its sinks are told in the same transaction.

    Returns the id of the verdict's own event. Raises BadRecord when there is no such event, when it is itself
    a verdict, when it does not have a named field, when a rejection has no reason, or one that is too long.
    """
    about = reading.event(tx, verdict.event_id)
    if about is None:
        raise BadRecord("there is no such event in this workspace", code="unknown_event", where=verdict.event_id)
    if about["event_type"].startswith(VERDICT_PREFIX):
        raise BadRecord("a verdict cannot be about a verdict", code="verdict", where=verdict.event_id)
    if not verdict.approve and not (verdict.reason or "").strip():
        raise BadRecord("a rejection needs a reason", code="reason_missing", where=verdict.event_id)
    if len(verdict.reason or "") > LONGEST_NOTES:
        raise BadRecord(f"notes are of {LONGEST_NOTES} characters at the most", code="too_long", where=verdict.event_id)
    named = set(split(about["facts"]))
    known = named | {field_of(atom) for atom in named}
    unknown = [field for field in verdict.fields if field not in known]
    if unknown:
        raise BadRecord(f"the event has no field {unknown[0]!r}", code="unknown_field", where=verdict.event_id)
    entity = reading.entity_id(tx, workspace_id, about["entity_id"])
    event = event_of(verdict, entity, about["entity_type"])
    world.append(tx, workspace_id, [event], now=now, from_review=True)
    note(tx, workspace_id, verdict, event, now=now)
    return event.id


def event_of(verdict: Verdict, entity_id: str, entity_type: str) -> NewEvent:
    """A verdict as an event of the entity that the judged event counts for."""
    return NewEvent(
        entity_id=entity_id,
        entity_type=entity_type,
        event_type=f"{VERDICT_PREFIX}{verdict.word}",
        facts={
            "about": verdict.event_id,
            "kind": verdict.kind,
            **({"fields": list(verdict.fields)} if verdict.fields else {}),
            **({"reason": verdict.reason} if verdict.reason else {}),
            **({"version": verdict.version} if verdict.version else {}),
            **({"rests_on": list(verdict.rests_on)} if verdict.rests_on else {}),
        },
        source=REVIEW_SOURCE,
        confidence=verdict.confidence,
        snapshot=False,
        canonical_id="",
        domain="review",
        caused_by=verdict.event_id,
        actor=verdict.actor,
    )


def note(
    tx: Tx,
    workspace_id: str,
    verdict: Verdict,
    event: NewEvent,
    *,
    detail: Mapping[str, Any] | None = None,
    now: datetime,
) -> None:
    """Audit a verdict that was appended. The names of its fields are without what an atom's key may tell."""
    audit.append(
        tx,
        workspace_id,
        actor=verdict.actor,
        action=f"verdict.{verdict.word}",
        object=verdict.event_id,
        detail={
            "event_id": event.id,
            "entity_id": event.entity_id,
            "kind": verdict.kind,
            "fields": sorted({field_of(field) for field in verdict.fields}),
            **({"version": verdict.version} if verdict.version else {}),
            **(detail or {}),
        },
        now=now,
    )
