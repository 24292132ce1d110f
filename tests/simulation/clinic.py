"""What the entities of a simulated clinic want of the sink: the engine's desk, over a truth that changes.

Of each resource we own ``language``; other users write ``gender``, and now and then ``language`` too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connector_runner.connectors.sinks import Json, Reply, Sink
from connector_runner.kernel import exact_json
from connector_runner.outbound.intents import CREATE, UPDATE, Confirmed, Intent
from connector_runner.outbound.lanes import Lane, Withheld
from connector_runner.outbound.patching import patch
from connector_runner.outbound.plans import IN_STEP, SINK_NEWER, Nothing, Wait
from connector_runner.outbound.ports import LaneTx, Writable
from tests.simulation.server import instant

OWNED = "language"
FOREIGN = "gender"


@dataclass
class Entity:
    """What we want to be said of a patient, how often that changed, and since when it is so."""

    entity_id: str
    said: str
    revision: int
    since: float


@dataclass(frozen=True)
class Said:
    """A plan: this entity shall be so. Conforms to the engine's Writable."""

    entity: Entity
    said: str
    since: float
    revision: int
    ref: str | None
    confirmed: Confirmed | None
    new_id: Callable[[], str]
    withheld: tuple[Withheld, ...] = ()

    @property
    def desired_hash(self) -> bytes:
        """Of what is said."""
        return exact_json.digest(self.said)

    @property
    def known(self) -> Json | None:
        """As it was confirmed."""
        return self.confirmed.body if self.confirmed else None

    def creation(self, lane: Lane, sink: Sink) -> Intent | Nothing:
        """All that we say."""
        body = sink.identified({"resourceType": "Patient", OWNED: self.said}, lane.client_ref)
        return self._intent(lane, CREATE, body, None, None)

    def change(self, lane: Lane, current: Json, etag: str | None) -> Intent | Nothing:
        """Our part of it; nothing where somebody else changed that after we came to know better."""
        held = current.get(OWNED)
        if held == self.said:
            return Nothing(IN_STEP)
        known = self.known.get(OWNED) if self.known else None
        if held != known and str(current.get("meta", {}).get("lastUpdated", "")) > instant(self.since):
            return Nothing(IN_STEP, withheld=(Withheld(OWNED, SINK_NEWER),))
        body = patch(current, {OWNED: held}, {OWNED: self.said})
        return self._intent(lane, UPDATE, body, current, etag)

    def adopting(self, ref: str) -> Writable:
        """Never asked for here."""
        raise NotImplementedError

    def _intent(self, lane: Lane, operation: str, body: Json, before: Json | None, etag: str | None) -> Intent:
        return Intent(
            intent_id=self.new_id(),
            operation=operation,
            resource_type="Patient",
            target=self.ref,
            body=body,
            before=before,
            precondition=etag,
            idempotency_key=lane.client_ref,
            desired_hash=self.desired_hash,
            revision=lane.desired_revision,
            mapping_version="simulated@1",
            changed=(),
            atoms=(OWNED,),
            created_by_us=before is None,
        )


@dataclass
class Clinic:
    """The desk. ``known``: what a lane's row says that the sink holds."""

    new_id: Callable[[], str]
    known: Callable[[LaneTx, Lane], Confirmed | None]
    entities: dict[str, Entity]

    def plan(self, tx: LaneTx, lane: Lane) -> Nothing | Wait | Said:
        """As it is now."""
        entity = self.entities[lane.entity_id]
        known = self.known(tx, lane)
        return Said(entity, entity.said, entity.since, entity.revision, lane.sink_ref, known, self.new_id)

    def still(self, tx: LaneTx, lane: Lane, planned: Writable) -> bool:
        """Whether it is so still."""
        assert isinstance(planned, Said)
        return planned.revision == planned.entity.revision

    def announce(self, tx: LaneTx, lane: Lane, intent: Intent) -> None:
        """Nobody else needs to know."""

    def landed(self, tx: LaneTx, lane: Lane, intent: Intent, ref: str, body: Json | None) -> None:
        """The lane's row knows."""

    def refused(self, tx: LaneTx, lane: Lane, intent: Intent, code: str) -> bool:
        """Nobody was promised anything."""
        return False

    def carries(self, found: Json, intent: Intent) -> bool:
        """Our part says so."""
        return bool(found.get(OWNED) == intent.body.get(OWNED))

    def before_create(self, lane: Lane, intent: Intent, sink: Sink) -> Nothing | Reply | str | None:
        """Every patient is new."""
        return None

    def check(self, intent: Intent) -> Sequence[Any]:
        """All is well."""
        return ()


def moment(seconds: float) -> datetime:
    """Virtual time as a wall clock shows it."""
    return datetime.fromisoformat(instant(seconds))
