"""What the outbound side is built from; bootstrap makes one a process."""

from __future__ import annotations

from dataclasses import dataclass, field

from connector_runner.infra.database import Database
from connector_runner.infra.metrics import counter
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.outbound.planning.planner import Planner
from connector_runner.outbound.ports import REAL, Runtime
from connector_runner.outbound.sinks.directory import Sinks
from connector_runner.resilience.limiter import Limiter
from connector_runner.resilience.quarantine import Quarantine
from connector_runner.unification.loader import MappingSet
from connector_runner.world.service import World

FENCE_LOST = counter("fence_lost", "Outcomes that came after their lease had ended", ("sink",))
UNKNOWN_WRITES = counter("unknown_writes", "Writes whose answer was lost", ("sink",))


@dataclass(frozen=True, slots=True)
class Outbound:
    """The parts. Safe to share between threads."""

    database: Database
    world: World
    mappings: MappingSet
    sealer: Sealer
    quarantine: Quarantine
    limiter: Limiter
    sinks: Sinks
    clock: Clock = utc_now
    runtime: Runtime = REAL
    planner: Planner = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "planner", Planner(self.mappings, self.sealer))
