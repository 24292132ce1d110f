"""What may come of looking at an entity for a sink: nothing, a wait, or something to be said. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from connector_runner.connectors.sinks import Json
from connector_runner.kernel.ids import new_id
from connector_runner.outbound.gating.choosing import Choice
from connector_runner.outbound.lanes.intents import CREATE, Confirmed, Intent, SentClaim
from connector_runner.outbound.lanes.lane import DEPENDENCY, Lane, Withheld
from connector_runner.outbound.planning.dependencies import References
from connector_runner.outbound.translating.translating import Translations
from connector_runner.unification.model import OutboundContext
from connector_runner.unification.outbound import OutboundMapping
from connector_runner.world.reading import EntityView

IN_STEP: Final = "in_step"
WITHDRAWN: Final = "withdrawn"
"""Detail of NOT_ACTIVE: nobody says anything any more of what the record was made of."""
NOTHING_ELIGIBLE: Final = "nothing_eligible"
NOT_ACTIVE: Final = "entity_not_active"
NO_MAPPING: Final = "no_mapping"
TYPE_NOT_COVERED: Final = "type_not_covered"
SINK_NEWER: Final = "sink_newer"
MISSING_FIELD: Final = "missing_field"
ORDERED: Final = "ordered"


@dataclass(frozen=True, slots=True)
class Nothing:
    """No write is wanted, and why. ``fields`` are those that are missing, where that is the reason.

    ``again_in_s``: in so many seconds time alone may change it; 0 for never.
    """

    reason: str
    detail: str | None = None
    withheld: tuple[Withheld, ...] = ()
    fields: tuple[str, ...] = ()
    again_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Something must be there first, by ``reason`` in the sink or a code; ``detail`` names the fields it is for.

    ``on`` are the entities whose records must be there, as far as they have arrived.
    """

    detail: str
    withheld: tuple[Withheld, ...] = ()
    reason: str = DEPENDENCY
    on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an entity has to say to a sink, as of its ``stamp``. ``ref`` is its resource there, if any.

    ``recodes``: something goes out as another code than it was said. ``upto`` is the event whose state this is, where
    every state is sent in order, and ``more`` whether there are later ones. ``state`` is the entity's. ``stale``: the
    sink was seen to say of its own accord what it had not said when it confirmed ours.
    """

    entity_type: str
    stamp: str
    ref: str | None
    choice: Choice
    removed: tuple[str, ...]
    mapping: OutboundMapping
    references: References
    desired_hash: bytes
    withheld: tuple[Withheld, ...]
    confirmed: Confirmed | None = field(default=None)
    translations: Translations = field(default_factory=Translations)
    recodes: bool = False
    state: Json = field(default_factory=dict)
    upto: str | None = None
    more: bool = False
    stale: bool = False

    @property
    def said(self) -> Json:
        """Atom -> value of everything that is to be said."""
        return {atom: claim.value for atom, claim in self.choice.chosen.items()}

    @property
    def known(self) -> Json | None:
        """The resource as it was last confirmed; None when it was seen to be another by now."""
        if self.confirmed is None or self.stale or self.choice.contradicted():
            return None
        return self.confirmed.body

    def creation(self, lane: Lane, identified: Json) -> Intent:
        """The intent of a create; ``identified`` is the body with our identity in it."""
        return Intent(
            intent_id=new_id(),
            operation=CREATE,
            resource_type=self.mapping.resource_type,
            target=None,
            body=identified,
            before=None,
            precondition=None,
            idempotency_key=lane.client_ref,
            desired_hash=self.desired_hash,
            revision=lane.desired_revision,
            mapping_version=self.mapping.version,
            changed=tuple(SentClaim.of(claim) for claim in self.choice.chosen.values()),
            atoms=tuple(sorted(self.choice.chosen)),
            created_by_us=True,
        )

    def render(self, state: Json, recoded: frozenset[str] | None = None) -> Json:
        """``state`` as the sink's resource, the values of ``recoded`` fields (None: of all) in the sink's codes.

        Raises BadRecord or NotYet where a required element is missing.
        """
        return self.mapping.render(state, OutboundContext(self.references.resolve, self.translations.decided, recoded))


Plan = Nothing | Wait | Wanted


def next_step(view: EntityView, now: Wanted, upto: str | None, as_of: Callable[[int], Plan]) -> Plan:
    """Of all states that ``view`` went through, the first that is not there yet and says anything else.

    ``upto`` is the event whose state the sink has. ``as_of`` plans for the entity after so many of its events. What
    the gates kept back at the time is passed over; what must wait holds up what came after it.
    """
    events = sorted(view.events, key=lambda event: (event.ingested_at, event.id))
    ids = [event.id for event in events]
    if upto is None and now.ref is not None:
        # The resource was there before we wrote to it: its past is not told again.
        return replace(now, upto=ids[-1])
    start = ids.index(upto) + 1 if upto in ids else 0
    before = as_of(start) if start else None
    told = before.said if isinstance(before, Wanted) else None
    for count in range(start + 1, len(ids) + 1):
        step = now if count == len(ids) else as_of(count)
        if isinstance(step, Wait):
            return step
        if isinstance(step, Wanted) and step.said != told:
            return replace(step, upto=ids[count - 1], more=count < len(ids))
    return replace(now, upto=ids[-1])


def with_ref(wanted: Wanted, ref: str) -> Wanted:
    """The same for a resource that turned out to exist."""
    return replace(wanted, ref=ref)
