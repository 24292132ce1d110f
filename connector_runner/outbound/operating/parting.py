"""After entities came apart: what a sink's record was lent by the other is taken back, or a person is asked.

What was lent is read off what the record was sent, so it is found whenever the entity is looked at, whatever happened
in between; writes that were taken back, or tried to be, are not asked of the lane again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from connector_runner.audit import log as audit
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Row, Tx
from connector_runner.kernel.ids import canonical_id, entity_id_of, new_id
from connector_runner.outbound.lanes.lane import Lane
from connector_runner.outbound.operating import parting_store, undo_store
from connector_runner.outbound.operating.inverse import public_piece
from connector_runner.resilience.quarantine import Quarantine
from connector_runner.world.atoms import field_of
from connector_runner.world.reading import EntityView

PARTED: Final = "parted"
"""Who asks for the undo."""
STAGE: Final = "repair"
NOT_TAKEN_BACK: Final = "not_taken_back"
"""A value of another person is, or was, in the record, and somebody else changed it since."""
MADE_FOR_ANOTHER: Final = "made_for_another"
"""The record says nothing but what another person's records said."""


def owed(tx: Tx, workspace_id: str, terms: SinkTerms, view: EntityView, lane: Lane) -> list[str]:
    """The writes of a lane that its record owes to entities which it is not one with, the oldest first."""
    if lane.sink_ref is None:
        return []
    record = entity_id_of(workspace_id, canonical_id(terms.name, *lane.sink_ref.split("/", 1)))
    if record not in view.lent:
        return []
    said = [event.id for event in view.events if event.id not in view.relays]
    return parting_store.lent(tx, workspace_id, lane.lane_id, said, "update", view.relays)


def ask(tx: Tx, workspace_id: str, terms: SinkTerms, view: EntityView, lane: Lane, now: datetime) -> bool:
    """Have a lane take back what its record was lent by entities that it is not one with; whether there is any."""
    writes = owed(tx, workspace_id, terms, view, lane)
    if not writes:
        return False
    undo_id, place = new_id(), {"lane_id": lane.lane_id, "sink_id": lane.sink_id, "entity_id": lane.entity_id}
    if undo_store.request(tx, workspace_id, undo_id=undo_id, lane=place, intent_ids=writes, actor=PARTED):
        audit.append(
            tx,
            workspace_id,
            actor="connector_runner",
            action="outbound.repair",
            object=undo_id,
            detail={"lane_id": lane.lane_id, "entity_id": lane.entity_id, "sink": terms.name, "writes": len(writes)},
            now=now,
        )
    return True


def left(
    tx: Tx,
    quarantine: Quarantine,
    workspace_id: str,
    lane: Lane,
    asked: Row,
    skipped: Mapping[str, str],
    rewritten: Collection[str],
    now: datetime,
) -> None:
    """Ask a person about pieces that were not taken back; not for those (``rewritten``: fields) that we wrote since."""
    pieces = sorted({public_piece(piece) for piece in skipped if field_of(piece) not in rewritten})
    if asked["actor"] != PARTED or not pieces:
        return
    _ask_person(
        tx, quarantine, workspace_id, lane, NOT_TAKEN_BACK, ", ".join(pieces), now,
        "what another person's records lent this one was changed in the sink since: look whose it is",
    )  # fmt: skip


def emptied(tx: Tx, quarantine: Quarantine, workspace_id: str, view: EntityView, lane: Lane, now: datetime) -> None:
    """Ask a person about a record that was made of another's word, of which nothing is left to be said."""
    if parting_store.lent(tx, workspace_id, lane.lane_id, [event.id for event in view.events], "create"):
        _ask_person(
            tx, quarantine, workspace_id, lane, MADE_FOR_ANOTHER, "", now,
            "the record was made of what another person's records said: remove it from the sink, or keep it",
        )  # fmt: skip


def _ask_person(
    tx: Tx,
    quarantine: Quarantine,
    workspace_id: str,
    lane: Lane,
    code: str,
    place: str,
    now: datetime,
    message: str,
) -> None:
    quarantine.put(
        tx,
        workspace_id,
        stage=STAGE,
        subject=lane.lane_id,
        code=code,
        message=message,
        place=place,
        data_source_id=lane.sink_id,
        body=None,
        context={"lane_id": lane.lane_id, "entity_id": lane.entity_id, "sink_ref": lane.sink_ref},
        now=now,
    )
