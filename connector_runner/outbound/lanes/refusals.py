"""A sink refused what a patient was told yes to: the record says so, and somebody is asked to tell the patient.

Told yes is whatever an agent or a person of ours put into an appointment: the slot may have been taken meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from connector_runner.infra.database import Tx
from connector_runner.kernel.ids import canonical_id, derived_id, entity_id_of
from connector_runner.outbound.gating.gates import is_ours
from connector_runner.outbound.lanes.intents import Intent
from connector_runner.outbound.lanes.lane import Lane
from connector_runner.outbound.releasing import release_store as sink_store
from connector_runner.world import reading
from connector_runner.world.confidence import AUTHORITATIVE
from connector_runner.world.events import NewEvent
from connector_runner.world.fold import Claim
from connector_runner.world.reading import EntityView
from connector_runner.world.service import World

PROMISED: Final = frozenset({"appointment"})
TASK: Final = "outbound_task"
SYNC_STATUS: Final = "sync_status"
REFUSED: Final = "refused"
SYNCED: Final = "synced"
APPOINTMENT_REFUSED: Final = "appointment_refused"

_SOURCE: Final = "connector_runner"


def promised(intent: Intent, entity_type: str) -> bool:
    """Whether a patient may have been told of what an intent carries."""
    return entity_type in PROMISED and any(is_ours(claim.source, claim.source_system) for claim in intent.changed)


def refuse(
    tx: Tx, world: World, workspace_id: str, sink: str, lane: Lane, intent: Intent, code: str, now: datetime
) -> bool:
    """Put the refusal on the record, and make the task to tell the patient; False when nobody was told anything.

    The same content, refused again, makes no second task.
    """
    if not promised(intent, lane.entity_type):
        return False
    row = reading.row(tx, workspace_id, lane.entity_id)
    if row is None:
        return False
    task = canonical_id(_SOURCE, "OutboundTask", derived_id(lane.lane_id, f"refused:{intent.desired_hash.hex()}"))
    if reading.row(tx, workspace_id, task) is not None:
        return True
    about = {SYNC_STATUS: REFUSED, "sync_refused_by": sink, "sync_reason": code}
    facts: dict[str, Any] = {
        "status": "pending",
        "kind": APPOINTMENT_REFUSED,
        "priority": "high",
        "attempts": 0,
        "reason": code,
        "sink": sink,
        lane.entity_type: {"ref": row["canonical_id"]},
    }
    patient = row["state"].get("patient")
    if isinstance(patient, Mapping):
        facts["patient"] = dict(patient)
    events = [
        _event(lane.entity_id, lane.entity_type, row["canonical_id"], REFUSED, about, intent),
        _event(entity_id_of(workspace_id, task), TASK, task, "created", facts, intent),
    ]
    world.append(tx, workspace_id, events, now=now)
    return True


def answered(view: EntityView, sink: str, chosen: Iterable[Claim]) -> bool:
    """Whether an agent or a person of ours has something else to say to a sink since it refused what was promised."""
    word = f"{view.entity_type}.{REFUSED}"
    refusals = [e.ingested_at for e in view.events if e.event_type == word and e.facts.get("sync_refused_by") == sink]
    return bool(refusals) and any(
        claim.ingested_at > max(refusals) and is_ours(claim.source, claim.source_system) for claim in chosen
    )


def mended(tx: Tx, workspace_id: str, lane: str, chosen: Iterable[Claim]) -> bool:
    """Whether anything that may leave was said since a sink, or validation, refused what there was to say.

    Content only: what is ambiguous, gone or forbidden there waits for a person whatever is said.
    """
    refused = sink_store.content_refused_at(tx, workspace_id, lane)
    return refused is not None and any(claim.ingested_at > refused for claim in chosen)


def lift(tx: Tx, world: World, workspace_id: str, lane: Lane, intent: Intent, now: datetime) -> None:
    """What was refused once has landed after all."""
    if lane.entity_type not in PROMISED:
        return
    row = reading.row(tx, workspace_id, lane.entity_id)
    if row is not None and row["state"].get(SYNC_STATUS) == REFUSED:
        about = {SYNC_STATUS: SYNCED}
        event = _event(lane.entity_id, lane.entity_type, row["canonical_id"], SYNCED, about, intent)
        world.append(tx, workspace_id, [event], now=now)


def _event(entity: str, entity_type: str, canonical: str, word: str, facts: dict[str, Any], intent: Intent) -> NewEvent:
    return NewEvent(
        entity_id=entity,
        entity_type=entity_type,
        event_type=f"{entity_type}.{word}",
        facts=facts,
        source=_SOURCE,
        confidence=AUTHORITATIVE,
        snapshot=False,
        canonical_id=canonical,
        domain="operational",
        caused_by=intent.causes[0] if intent.causes else None,
        actor=_SOURCE,
    )
