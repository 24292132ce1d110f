"""What a drain works with, and what it did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from connector_runner.connectors.sinks import Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.outbound.ports import Desk, LaneStore, Runtime
from connector_runner.resilience.limiter import Limiter


@dataclass(slots=True)
class Drained:
    """What a drain did. ``more`` is whether lanes are due still, ``wait_s`` when to come back, ``closed`` why not."""

    outcomes: Counter[str] = field(default_factory=Counter)
    more: bool = False
    wait_s: float = 0.0
    closed: str | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """What all hands of one drain share: the sink, and the ports."""

    store: LaneStore
    desk: Desk
    terms: SinkTerms
    sink: Sink
    limiter: Limiter
    runtime: Runtime
