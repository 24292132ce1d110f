"""May what a lane stands for be replayed safely? One answer, yes or no, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connector_runner.outbound.lanes.lane import State

_NEVER: Final = {
    "multiple_matches": "more than one record of the sink carries our identifier: a person must say which is right",
    "possible_duplicate": "the sink holds a record that may be the same: a person must say whether it is",
    "other_person": "the sink has somebody else's record in its place: a person must say whose it is",
    "missing_in_sink": "the record is gone from the sink: sending again could bring back what was removed on purpose",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of an entity's way into one sink. ``written``: a write of ours was confirmed there."""

    state: State
    reason: str | None = None
    open_intent: bool = False
    written: bool = False
    has_record: bool = False
    at_least_once: bool = False
    undo_asked: bool = False
    holds_back: bool = False


@dataclass(frozen=True, slots=True)
class Safety:
    """``safe`` to replay or not, ``because``; ``code`` is the same for machines."""

    safe: bool
    code: str
    because: str


def replay_safety(lane: Standing | None) -> Safety:
    """Whether replaying may do what was not meant: a second record, a write over another's, a value taken back.

    None is an entity that has no lane: nothing was ever sent.
    """
    if lane is None:
        return Safety(True, "nothing_sent", "nothing was ever sent there; a replay decides anew")
    refusal = _refusal(lane)
    if refusal is not None:
        return refusal
    if lane.open_intent or lane.state is State.UNKNOWN:
        return Safety(True, "read_back", "the answer to a write was lost: it is looked for before anything is sent")
    if lane.state is State.QUARANTINED:
        return Safety(True, "not_landed", "what was refused did not land, and goes again under the same key")
    if lane.written or lane.has_record:
        return Safety(True, "compared", "only what differs is sent, and only over the version that was compared")
    return Safety(True, "same_identity", "it is created under the same identity however often it is sent")


def _refusal(lane: Standing) -> Safety | None:
    if lane.state is State.LEASED:
        return Safety(False, "under_way", "a worker is at it now: wait for the outcome")
    if lane.undo_asked:
        return Safety(False, "undo_first", "writes of it are about to be undone: wait for that")
    if lane.holds_back:
        return Safety(False, "undone", "a person took values of it back: a retry of the lane would send them again")
    if lane.reason in _NEVER:
        return Safety(False, lane.reason, _NEVER[lane.reason])
    if "gone" in (lane.reason or ""):
        return Safety(False, "missing_in_sink", _NEVER["missing_in_sink"])
    if lane.at_least_once and not lane.has_record:
        return Safety(False, "possible_duplicates", "this sink cannot tell a repeated create from a new one")
    return None
