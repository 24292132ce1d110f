"""The rows of the in-memory lane store."""

from __future__ import annotations

from dataclasses import dataclass, field

from connector_runner.outbound.lanes.intents import Confirmed, Intent
from connector_runner.outbound.lanes.lane import Lane
from connector_runner.resilience.breaker import Breaker


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A lane as it is stored."""

    lane: Lane
    prio: int = 20
    due_at: float = 0.0
    lease_until: float | None = None
    detail: str | None = None
    confirmed: Confirmed | None = None
    last_status: int | None = None


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """An intent that is open."""

    intent: Intent
    resolve_after: float


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry of the write log."""

    lane_id: str
    intent_id: str
    phase: str
    outcome: str | None
    at: float
    status: int | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class SinkRow:
    """A sink's own state."""

    paused: str | None = None
    wake_at: float | None = None
    breaker: Breaker = field(default_factory=Breaker)


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything, as of one commit. ``refers``: entity -> the one that it refers to."""

    lanes: dict[str, LaneRow] = field(default_factory=dict)
    intents: dict[str, OpenIntent] = field(default_factory=dict)
    log: tuple[Logged, ...] = ()
    sinks: dict[str, SinkRow] = field(default_factory=dict)
    refers: dict[str, str] = field(default_factory=dict)
