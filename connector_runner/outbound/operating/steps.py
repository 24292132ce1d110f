"""The steps of one write: what one cause made, lane by lane, in the order in which they can be written.

Nothing of it is kept: which events belong together they say themselves, where each step stands its lane says, and
what landed the write log says. A step that waits does so by its dependencies, and only the lane that failed is tried
again.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from connector_runner.infra.database import Row, Tx
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import entity_id_of
from connector_runner.outbound.lanes.lane import DEPENDENCY, HELD_AS_MEMBER, MADE_AS_MEMBER, State
from connector_runner.outbound.operating import steps_store
from connector_runner.outbound.planning.dependencies import DEPENDENCY_BELOW_THRESHOLD, rank, refs_in
from connector_runner.resolution import evidence_store

MOST_EVENTS: Final = 1000
AS_MEMBER: Final = frozenset({HELD_AS_MEMBER, MADE_AS_MEMBER})
_SHOWN: Final = 3
_STAYS: Final = frozenset({"landed", "landed_otherwise", "in_step"})


class Standing(StrEnum):
    """Where a step is."""

    DONE = "done"
    UNDER_WAY = "under_way"
    WAITING = "waiting"
    UNKNOWN = "unknown"
    FAILED = "failed"
    PAUSED = "paused"
    HELD_BACK = "held_back"
    NO_SINK = "no_sink"


_BY_STATE: Final = {
    State.READY: Standing.UNDER_WAY,
    State.LEASED: Standing.UNDER_WAY,
    State.WAITING: Standing.WAITING,
    State.UNKNOWN: Standing.UNKNOWN,
    State.QUARANTINED: Standing.FAILED,
    State.PAUSED: Standing.PAUSED,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One lane of what a cause made; without a sink, an entity that goes nowhere.

    ``waits_for`` are the entities among these steps that must be in the same sink before.
    """

    sink: str | None
    entity_id: str
    entity_type: str
    canonical_id: str
    lane_id: str | None
    standing: Standing
    state: str | None
    reason: str | None
    reason_detail: str | None
    attempts: int
    sink_ref: str | None
    landed_at: datetime | None
    waits_for: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """All steps of a cause. ``standing``: failed where one is, done where none is left to do."""

    cause: str
    standing: Standing
    steps: tuple[Step, ...]


def steps(tx: Tx, workspace_id: str, cause: str) -> Write:
    """The steps of a correlation, or of what followed from an event.

    Raises BadRecord (``unknown_cause``) where no event is part of it, or (``too_many_events``) more than
    ``MOST_EVENTS`` are.
    """
    events = steps_store.events_of(tx, workspace_id, cause, MOST_EVENTS + 1)
    if not events:
        raise BadRecord("no event is part of this correlation, nor is it an event", code="unknown_cause", where=cause)
    if len(events) > MOST_EVENTS:
        raise BadRecord(f"more than {MOST_EVENTS} events are part of it", code="too_many_events", where=cause)
    about = {event["entity_id"]: event["ingested_at"] for event in events}
    together = evidence_store.together(tx, workspace_id, about)
    heard: dict[str, datetime] = {}
    for entity, at in about.items():
        heard |= {member: max(at, heard.get(member, at)) for member in together.get(entity, {entity})}
    found = _places(steps_store.lanes_of(tx, workspace_id, sorted(heard)), about, together)
    landed = steps_store.landed_at(
        tx, workspace_id, [row["lane_id"] for row in found if row["lane_id"]], [event["id"] for event in events]
    )
    referred = _referred(tx, workspace_id, found, together)
    told = [
        _step(row, landed.get(row["lane_id"], {}).get("landed_at"), heard[row["entity_id"]], found, referred)
        for row in found
    ]
    told.sort(key=lambda step: (step.sink or "", step.sink is None, rank(step.entity_type), step.entity_id))
    return Write(cause, _together(told), tuple(told))


def of_entity(tx: Tx, workspace_id: str, entity_id: str) -> list[Write]:
    """The last writes that an entity's events were part of, the latest first; those too large to be told left out."""
    found = []
    for cause in steps_store.correlations_of(tx, workspace_id, entity_id, _SHOWN):
        try:
            found.append(steps(tx, workspace_id, cause))
        except BadRecord as exc:
            if exc.code != "too_many_events":
                raise
    return found


def _places(found: Sequence[Row], about: Container[str], together: Mapping[str, Collection[str]]) -> list[Row]:
    """Where what was said goes: to the record that a sink has of the person, whichever member it is of.

    ``about`` are those of whom it was said. Where another member's record stands for theirs, that is the step.
    """
    elsewhere = [row for row in found if row["lane_id"] is not None and row["reason"] not in AS_MEMBER]

    def stands_for(row: Row) -> bool:
        others = together.get(row["entity_id"], ())
        return any(
            each["entity_id"] != row["entity_id"]
            and each["entity_id"] in others
            and row["sink"] in (None, each["sink"])
            for each in elsewhere
        )

    own = [row for row in found if row["entity_id"] in about and (row in elsewhere or not stands_for(row))]
    return own + [row for row in elsewhere if row["entity_id"] not in about]


def _referred(
    tx: Tx, workspace_id: str, found: Sequence[Row], together: Mapping[str, Collection[str]]
) -> Mapping[str, frozenset[str]]:
    """Per entity that waits, the entities that it refers to, with those that they are one with."""
    waiting = {row["entity_id"]: row["said"] for row in found if _waits(row)}
    records = {
        entity: {entity_id_of(workspace_id, canonical) for canonical in refs_in(said)}
        for entity, said in waiting.items()
    }
    joined = steps_store.records_of(tx, workspace_id, sorted(set().union(*records.values()))) if records else {}
    named = {entity: {joined.get(each, each) for each in ids} for entity, ids in records.items()}
    return {
        entity: frozenset(member for each in ids for member in together.get(each, {each}))
        for entity, ids in named.items()
    }


def _waits(row: Row) -> bool:
    return row["reason"] in (DEPENDENCY, DEPENDENCY_BELOW_THRESHOLD)


def _step(
    row: Row,
    landed: datetime | None,
    heard: datetime,
    found: Sequence[Row],
    referred: Mapping[str, frozenset[str]],
) -> Step:
    before = referred.get(row["entity_id"], frozenset())
    waits_for = (
        tuple(
            other["entity_id"]
            for other in found
            if other["sink"] == row["sink"] and other["entity_id"] in before and other["sink_ref"] is None
        )
        if _waits(row)
        else ()
    )
    return Step(
        row["sink"],
        row["entity_id"],
        row["entity_type"],
        row["canonical_id"],
        row["lane_id"],
        _standing(row, landed, heard),
        row["state"],
        row["reason"],
        row["reason_detail"],
        row["attempts"] or 0,
        row["sink_ref"],
        landed,
        waits_for,
    )


def _standing(row: Row, landed: datetime | None, heard: datetime) -> Standing:
    if row["state"] is None:
        return Standing.NO_SINK
    if landed is not None and landed >= heard:
        return Standing.DONE
    state = State(row["state"])
    if state is not State.IDLE:
        return _BY_STATE[state]
    if row["reason"] == DEPENDENCY_BELOW_THRESHOLD:
        return Standing.FAILED
    return Standing.DONE if row["reason"] in _STAYS else Standing.HELD_BACK


def _together(told: Sequence[Step]) -> Standing:
    there = {step.standing for step in told} - {Standing.NO_SINK}
    for worst in (Standing.FAILED, Standing.UNKNOWN, Standing.PAUSED, Standing.WAITING, Standing.UNDER_WAY):
        if worst in there:
            return worst
    if not there:
        return Standing.NO_SINK
    return Standing.HELD_BACK if there == {Standing.HELD_BACK} else Standing.DONE
