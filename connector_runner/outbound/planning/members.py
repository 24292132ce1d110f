"""Several entities that are one, seen from a sink: whose record is written, and who makes one that is missing. Pure.

A record that is there is kept in step with what is known of the person. A new one is made once: for the member with the
smallest id among those that may be made there, and not while a member's record is, or may be, under way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from connector_runner.connectors.terms import SinkTerms
from connector_runner.outbound.gating.choosing import may_create, record_in
from connector_runner.outbound.lanes.lane import HELD_AS_MEMBER, MADE_AS_MEMBER, Withheld, client_ref
from connector_runner.outbound.planning.plans import Nothing, Wait
from connector_runner.world.reading import EntityView, Member

MEMBER_UNDER_WAY: Final = "member_under_way"
"""A record of another entity that is the same may be on its way at this moment."""
RESOLUTION_PENDING: Final = "resolution_pending"
"""What identifies the entity, or another that is the same, was not compared yet: the sink may have the record."""
DUPLICATE_IN_SINK: Final = "duplicate_in_sink"
"""The sink has several records of one person: a person must merge them there."""
RECORD: Final = "record"
"""In place of an atom: the record as a whole."""


@dataclass(frozen=True, slots=True)
class There:
    """What a sink's lane of another member says: its record, and whether a write to it may be under way."""

    ref: str | None
    under_way: bool


def record_of(member: Member, sink_id: str, lane: There | None) -> str | None:
    """``Type/id`` of a member's record in a sink, if it is there for certain."""
    if lane is not None and lane.ref is not None:
        return lane.ref
    return record_in(sink_id, member.records, except_id=client_ref(sink_id, member.entity_id))


def creates(
    view: EntityView, terms: SinkTerms, sources: Mapping[str, str], lanes: Mapping[str, There]
) -> Nothing | Wait | None:
    """Why the entity, of which the sink has no record, is not to be made there itself; None when it is."""
    there = _there(view, terms.sink_id)
    if any(record_of(other, terms.sink_id, lanes.get(other.entity_id)) is not None for other in there):
        return Nothing(HELD_AS_MEMBER)
    under_way = [each.entity_id for each in there if each.entity_id in lanes and lanes[each.entity_id].under_way]
    if under_way:
        return Wait(RECORD, reason=MEMBER_UNDER_WAY, on=tuple(under_way))
    makers = [
        other.entity_id
        for other in there
        if other.status == "active" and may_create(other.canonical_id, terms, sources) is None
    ]
    return Nothing(MADE_AS_MEMBER) if makers and min(makers) < view.entity_id else None


def duplicates(view: EntityView, sink_id: str, ref: str, lanes: Mapping[str, There]) -> tuple[Withheld, ...]:
    """What is to be shown of an entity whose record the sink has, where it has another's that is the same."""
    refs = {
        record_of(other, sink_id, lanes.get(other.entity_id))
        for other in _there(view, sink_id)
        if not _is_replaced(view, other, sink_id)
    }
    return (Withheld(RECORD, DUPLICATE_IN_SINK),) if refs - {None, ref} else ()


def goes_on(view: EntityView, sink_id: str, ref: str | None) -> bool:
    """Whether the entity's record in a sink is still that of a person, though its own system deleted the one it has.

    So it is where the person goes on under another record of that system, as after a merge there.
    """
    return ref is not None and view.folded.status == "active" and _elsewhere(view, sink_id)


def is_replaced(view: EntityView, sink_id: str, lanes: Mapping[str, There]) -> bool:
    """Whether the sink itself put another record, which it has, in place of the entity's: that one is written."""
    return _is_replaced(view, view, sink_id) and any(
        record_of(other, sink_id, lanes.get(other.entity_id)) is not None
        for other in _there(view, sink_id)
        if not _is_replaced(view, other, sink_id)
    )


def _there(view: EntityView, sink_id: str) -> list[Member]:
    """Those of the others whose records in a sink, if it has any, are there: what a sink had from elsewhere lives on
    when it is deleted there."""
    return [other for other in view.others if other.status == "active" or _elsewhere(other, sink_id)]


def _elsewhere(of: EntityView | Member, sink_id: str) -> bool:
    return of.records.get(of.canonical_id) not in (None, sink_id)


def _is_replaced(view: EntityView, of: EntityView | Member, sink_id: str) -> bool:
    return of.entity_id in view.folded.replaced and of.records.get(of.canonical_id) == sink_id
