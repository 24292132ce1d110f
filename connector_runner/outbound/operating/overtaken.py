"""A rejection that came while the write was under way: what landed all the same is put before a person."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.kernel.ids import canonical_id, entity_id_of
from connector_runner.outbound.lanes.lane import Lane
from connector_runner.outbound.operating import parting_store
from connector_runner.outbound.operating.parting import STAGE
from connector_runner.resilience.quarantine import Quarantine
from connector_runner.world.atoms import field_of
from connector_runner.world.reading import EntityView

REJECTED_MEANWHILE: Final = "rejected_meanwhile"
"""Who rejected it could not be told yet where it had been written."""


def ask(
    tx: Tx, quarantine: Quarantine, workspace_id: str, terms: SinkTerms, view: EntityView, lane: Lane, now: datetime
) -> None:
    """Ask a person, once, about what the lane's record was sent though it had been rejected."""
    if lane.sink_ref is None or not view.overtaken:
        return
    record = entity_id_of(workspace_id, canonical_id(terms.name, *lane.sink_ref.split("/", 1)))
    landed = [value for value in view.overtaken if value.record_id == record]
    if not landed:
        return
    since = max(value.sent_at for value in landed)
    if parting_store.asked_since(tx, workspace_id, STAGE, lane.lane_id, REJECTED_MEANWHILE, since):
        return
    quarantine.put(
        tx,
        workspace_id,
        stage=STAGE,
        subject=lane.lane_id,
        code=REJECTED_MEANWHILE,
        message="a value was rejected while its write was under way, and landed: outbound undo takes it back",
        place=", ".join(sorted({field_of(value.atom) for value in landed})),
        data_source_id=lane.sink_id,
        body=None,
        context={"lane_id": lane.lane_id, "entity_id": lane.entity_id, "sink_ref": lane.sink_ref},
        now=now,
    )
