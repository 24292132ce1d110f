"""What the entities of a simulated clinic want of the sink: the engine's desk, over a truth that changes.

Of each resource we own ``language``; other users write ``gender``, and now and then ``language`` too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connector_runner.connectors.sinks import Json, Reply, Sink
from connector_runner.kernel import exact_json
from connector_runner.outbound.lanes.intents import CREATE, UPDATE, Confirmed, Intent
from connector_runner.outbound.lanes.lane import Lane, Withheld
from connector_runner.outbound.planning.dependencies import NOBODY
from connector_runner.outbound.planning.patching import patch
from connector_runner.outbound.planning.plans import IN_STEP, SINK_NEWER, Nothing, Wait
from connector_runner.outbound.ports import LaneTx, Writable
from tests.simulation.server import instant

OWNED = "language"
PATIENT = "subject"
FOREIGN = "gender"


@dataclass
class Entity:
    """What we want to be said of a patient, how often that changed, and since when it is so.

    With ``about`` it is an appointment, of the patient who is that entity.
    """

    entity_id: str
    said: str
    revision: int
    since: float
    about: str | None = None


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
    patient: str | None = None
    withheld: tuple[Withheld, ...] = ()

    @property
    def desired_hash(self) -> bytes:
        """Of what is said."""
        return exact_json.digest([self.said, self.patient])

    @property
    def kind(self) -> str:
        """Of resource."""
        return "Appointment" if self.entity.about else "Patient"

    @property
    def known(self) -> Json | None:
        """As it was confirmed."""
        return self.confirmed.body if self.confirmed else None

    def creation(self, lane: Lane, sink: Sink) -> Intent | Nothing:
        """All that we say."""
        about = {PATIENT: {"reference": self.patient}} if self.patient else {}
        body = sink.identified({"resourceType": self.kind, OWNED: self.said, **about}, lane.client_ref)
        return self._intent(lane, CREATE, body, None, None)

    def change(self, lane: Lane, current: Json, etag: str | None) -> Intent | Nothing:
        """Our part of it; nothing where somebody else changed that after we came to know better."""
        held = current.get(OWNED)
        known = self.known.get(OWNED) if self.known else None
        newer = held != known and str(current.get("meta", {}).get("lastUpdated", "")) > instant(self.since)
        after = {OWNED: held if newer else self.said}
        if self.patient is not None:
            after[PATIENT] = {"reference": self.patient}
        before = {name: current.get(name) for name in after}
        if before == after:
            return Nothing(IN_STEP, withheld=(Withheld(OWNED, SINK_NEWER),) if newer and held != self.said else ())
        return self._intent(lane, UPDATE, patch(current, before, after), current, etag)

    def adopting(self, ref: str) -> Writable:
        """Never asked for here."""
        raise NotImplementedError

    def _intent(self, lane: Lane, operation: str, body: Json, before: Json | None, etag: str | None) -> Intent:
        return Intent(
            intent_id=self.new_id(),
            operation=operation,
            resource_type=self.kind,
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
    """The desk. ``known``: what a lane's row says that the sink holds, ``place``: where it has an entity's record.

    ``wake``: lanes that wait for an entity may go on. ``client_id``: records are made at ids of ours.
    """

    new_id: Callable[[], str]
    known: Callable[[LaneTx, Lane], Confirmed | None]
    entities: dict[str, Entity]
    place: Callable[[LaneTx, str], str | None]
    wake: Callable[[LaneTx, str], object]
    client_id: bool

    def survey(self, tx: LaneTx, lanes: Sequence[Lane]) -> Mapping[str, object]:
        """All is at hand."""
        return {}

    def plan(
        self, tx: LaneTx, lane: Lane, along: Mapping[str, str] = NOBODY, seen: object = None
    ) -> Nothing | Wait | Said:
        """As it is now; an appointment once its patient is there, or comes along."""
        entity = self.entities[lane.entity_id]
        known = self.known(tx, lane)
        patient = None
        if entity.about is not None:
            patient = self.place(tx, entity.about) or along.get(entity.about)
            if patient is None:
                return Wait("patient", on=(entity.about,))
        return Said(entity, entity.said, entity.since, entity.revision, lane.sink_ref, known, self.new_id, patient)

    def compared_meanwhile(self, entity_ids: Sequence[str]) -> None:
        """Nobody is compared here."""
        raise AssertionError("no lane waits to be compared")

    def reference(self, lane: Lane, planned: Writable) -> str:
        """Our id, or the name of the entry."""
        assert isinstance(planned, Said)
        return f"{planned.kind}/{lane.client_ref}" if self.client_id else f"urn:uuid:{lane.client_ref}"

    def still(self, tx: LaneTx, lane: Lane, planned: Writable) -> bool:
        """Whether it is so still."""
        assert isinstance(planned, Said)
        return planned.revision == planned.entity.revision

    def still_all(self, tx: LaneTx, plans: Sequence[tuple[Lane, Writable]]) -> set[str]:
        """Those of which it is so still."""
        return {lane.lane_id for lane, planned in plans if self.still(tx, lane, planned)}

    def terms_changed(self, tx: LaneTx) -> bool:
        """Nobody changes them here."""
        return False

    def announce(self, tx: LaneTx, opened: Sequence[tuple[Lane, Intent]]) -> None:
        """Nobody else needs to know."""

    def landed(self, tx: LaneTx, lane: Lane, intent: Intent, ref: str, body: Json | None) -> None:
        """The lane's row knows."""

    def arrived(self, tx: LaneTx, lanes: Sequence[Lane]) -> None:
        """Who waits for them is woken."""
        for lane in lanes:
            self.wake(tx, lane.entity_id)

    def refused(self, tx: LaneTx, lane: Lane, intent: Intent, code: str) -> bool:
        """Nobody was promised anything."""
        return False

    def carries(self, found: Json, intent: Intent) -> bool:
        """Our part says so. Who came along under a name of the transaction is another than before."""
        about, meant = found.get(PATIENT), intent.body.get(PATIENT)
        if meant is not None and meant["reference"].startswith("urn:"):
            same = about != (intent.before or {}).get(PATIENT)
        else:
            same = about == meant
        return same and bool(found.get(OWNED) == intent.body.get(OWNED))

    def maker(self, tx: LaneTx, lane: Lane, intent: Intent, found: Json) -> Intent:
        """Taken for the last one."""
        return intent

    def before_create(self, lane: Lane, intent: Intent, sink: Sink, planned: Writable) -> Nothing | Reply | str | None:
        """Every patient is new."""
        return None

    def check(self, intent: Intent) -> Sequence[Any]:
        """All is well."""
        return ()


def moment(seconds: float) -> datetime:
    """Virtual time as a wall clock shows it."""
    return datetime.fromisoformat(instant(seconds))
