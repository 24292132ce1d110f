"""Sync lanes: one for each entity that a sink shall hold, their states, and the only moves that are legal."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from connector_runner.kernel.ids import derived_id

MAX_ATTEMPTS: Final = 12
_FIRST_BACKOFF_S: Final = 5.0
_MAX_BACKOFF_S: Final = 3600.0
_NAMES_KEPT: Final = 4096
"""Of lanes that are worked on at about the same time: each is named many times on its way."""

DEPENDENCY: Final = "dependency"
HELD_AS_MEMBER: Final = "held_as_member"
"""The sink has the record of another entity that is the same."""
MADE_AS_MEMBER: Final = "made_as_member"
"""Another entity that is the same is to be made there."""
SPLIT: Final = "split"
"""A transaction failed and the sink did not say whose fault it was: its steps go one by one."""
ALONE: Final = (SPLIT, "auth", "absent")
"""Reasons for which a lane goes by itself: what becomes of it then is about it."""

INTERACTIVE, FRESH, RECONCILE, BACKFILL = 10, 20, 30, 40


class State(StrEnum):
    """Where a lane is."""

    IDLE = "idle"
    READY = "ready"
    LEASED = "leased"
    WAITING = "waiting"
    UNKNOWN = "unknown"
    QUARANTINED = "quarantined"
    PAUSED = "paused"


# from -> to -> why
LEGAL: Final[dict[State, dict[State, str]]] = {
    State.IDLE: {
        State.READY: "the entity changed",
        State.QUARANTINED: "a read-back found the resource gone from the sink",
        State.PAUSED: "an operator",
    },
    State.READY: {
        State.LEASED: "claimed",
        State.IDLE: "the gates closed again",
        State.PAUSED: "an operator",
    },
    State.WAITING: {
        State.LEASED: "claimed when due",
        State.READY: "what it waited for came, or the entity changed",
        State.IDLE: "the gates closed again",
        State.PAUSED: "an operator",
    },
    State.LEASED: {
        State.IDLE: "nothing to do, or landed",
        State.READY: "landed or refused, and the entity changed since; conflict; or the lease ended with nothing sent",
        State.WAITING: "refused, not sent, or a dependency is missing",
        State.UNKNOWN: "sent, and the outcome is not known",
        State.QUARANTINED: "will never be accepted, or too many attempts",
        State.PAUSED: "the credential was refused",
    },
    State.UNKNOWN: {
        State.LEASED: "claimed to read back, after the quiet period",
        State.PAUSED: "an operator",
    },
    State.QUARANTINED: {
        State.READY: "an operator replays it, or what was refused is another thing by now",
        State.UNKNOWN: "an operator has it read back",
        State.PAUSED: "an operator",
    },
    State.PAUSED: {
        State.READY: "an operator resumes it",
        State.UNKNOWN: "an operator resumes it with an intent open",
    },
}


def legal(start: State, end: State) -> bool:
    """Whether a lane may move from ``start`` to ``end``."""
    return end in LEGAL[start]


@lru_cache(maxsize=_NAMES_KEPT)
def lane_id(sink_id: str, entity_id: str) -> str:
    """The id of the lane of an entity in a sink."""
    return derived_id(sink_id, f"lane:{entity_id}")


@lru_cache(maxsize=_NAMES_KEPT)
def client_ref(sink_id: str, entity_id: str) -> str:
    """The identity under which an entity is created in a sink: the same for ever, and no one's record number."""
    return derived_id(sink_id, f"resource:{entity_id}")


def backoff_s(attempts: int, chance: random.Random | None = None) -> float:
    """Seconds until the next attempt: capped exponential with full jitter, never under a fifth of a second."""
    ceiling = min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** max(attempts - 1, 0))
    return max(0.2, (chance or random).uniform(0, ceiling))


@dataclass(frozen=True, slots=True)
class Withheld:
    """A piece that is not sent, and the code of the gate that held it. The name says which, never the value."""

    atom: str
    code: str


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane as claimed. ``fence`` proves the claim to the database.

    ``undo_asked``: writes of it are to be undone first. ``holds_back``: values of it were, and may not go again.
    """

    workspace_id: str
    sink_id: str
    lane_id: str
    entity_id: str
    entity_type: str
    state: State
    fence: int
    attempts: int
    client_ref: str
    desired_revision: int
    synced_revision: int
    synced_hash: bytes | None
    last_sent: bytes | None
    sink_ref: str | None
    sink_etag: str | None
    reason: str | None
    wanted_at: datetime | None
    owner: str | None = None
    withheld: list[Any] = field(default_factory=list)
    open_intent: bool = False
    undo_asked: bool = False
    holds_back: bool = False
