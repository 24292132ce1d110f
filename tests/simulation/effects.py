"""Where a worker may be stopped, and what stops it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from connector_runner.kernel.errors import Unavailable
from tests.simulation.scheduling import Crashed, Scheduler
from tests.simulation.shape import Shape

T = TypeVar("T")

LONGEST_FREEZE_S = 40.0


@dataclass
class Effects:
    """Where a worker may be stopped: between any two things that the outside can see."""

    scheduler: Scheduler
    shape: Shape
    disturbed: bool = True

    def point(self, what: str, *, may_crash: bool = True) -> None:
        """Let others go first; die or freeze here if the dice say so."""
        task, chance = self.scheduler.current, self.scheduler.chance
        assert task is not None
        if not task.process.alive:
            raise Crashed
        delay = chance.uniform(0, 0.01)
        if self.disturbed and task.process.faulty:
            dice = chance.random()
            if may_crash and dice < self.shape.crash:
                self.scheduler.note(f"killed: {what}")
                self.scheduler.kill(task.process)
                raise Crashed
            if dice > 1 - self.shape.freeze:
                delay = chance.uniform(3, LONGEST_FREEZE_S)
                self.scheduler.note(f"frozen for {delay:.1f} s: {what}")
        self.scheduler.sleep(delay)


class InterruptedStore:
    """A lane store whose transactions are effects: one may be killed, or not told, before or after it commits."""

    def __init__(
        self, inner: Any, effects: Effects, sabotage: Callable[[Any], Any], committed: Callable[[], None]
    ) -> None:
        self.inner, self.effects, self.sabotage, self.committed = inner, effects, sabotage, committed

    @contextmanager
    def begin(self) -> Iterator[Any]:
        """A transaction; nobody else runs in between."""
        effects = self.effects
        effects.point("begin")
        dice = effects.scheduler.chance.random() if effects.disturbed else 1.0
        with self.inner.begin() as tx:
            yield self.sabotage(tx)
            if dice < effects.shape.commit_lost / 2:
                raise Unavailable("the connection broke before the commit", code="database_unavailable")
            if dice > 1 - effects.shape.crash / 2:
                task = effects.scheduler.current
                if task is not None and task.process.faulty and effects.disturbed:
                    effects.scheduler.note("killed: before commit")
                    effects.scheduler.kill(task.process)
                    raise Crashed
        self.committed()
        effects.point("committed")
        if effects.shape.commit_lost / 2 <= dice < effects.shape.commit_lost:
            raise Unavailable("the connection broke at the commit", code="database_unavailable")

    def retrying(self, work: Callable[[Any], T]) -> T:
        """Nobody is ever quicker: transactions do not overlap."""
        with self.begin() as tx:
            return work(tx)
