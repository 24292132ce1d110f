"""A world in which one thread runs at a time and time passes only when nobody has anything to do.

Tasks are threads that hand each other a baton. They do so at effect points alone (a transaction begins or was
committed, a call is made or answered, somebody sleeps), in an order that the seed decides.
"""

from __future__ import annotations

import heapq
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


class Crashed(BaseException):
    """The process that this task is part of is gone. Not an Exception: nobody may handle it."""


@dataclass(eq=False)
class Process:
    """What dies together. ``faulty``: it may be killed or frozen."""

    name: str
    faulty: bool = True
    alive: bool = True


@dataclass(eq=False)
class Task:
    """A thread of a process. ``answer`` or ``error`` once it is done."""

    name: str
    process: Process
    body: Callable[[], Any]
    done: bool = False
    answer: Any = None
    error: BaseException | None = None
    waiting: Task | None = None
    spawned: bool = False
    baton: threading.Lock = field(default_factory=threading.Lock)


class Carrier(threading.Thread):
    """An operating system's thread that carries one task after another."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.wake = threading.Lock()
        self.wake.acquire()
        self.run_task: Callable[[], None] | None = None
        self.start()

    def run(self) -> None:
        """Until the interpreter ends."""
        while True:
            self.wake.acquire()
            assert self.run_task is not None
            self.run_task()


_idle: list[Carrier] = []


class Scheduler:
    """Runs tasks in virtual time. Everything that happens is a function of ``seed``."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.chance = random.Random(seed)
        self.trace: list[tuple[float, str, str]] = []
        self._heap: list[tuple[float, int, Task]] = []
        self._count = 0
        self.current: Task | None = None
        self._main = threading.Lock()
        self._main.acquire()
        self.tasks: list[Task] = []
        self.stopped = False

    def note(self, what: str) -> None:
        """For the reader of a failure."""
        self.trace.append((self.now, self.current.name if self.current else "", what))

    def start(self, name: str, process: Process, body: Callable[[], Any], *, after: float = 0.0) -> Task:
        """A task that begins ``after`` seconds."""
        task = Task(name, process, body)
        task.baton.acquire()
        self.tasks.append(task)
        self._push(task, after)
        carrier = _idle.pop() if _idle else Carrier()
        carrier.run_task = lambda: self._carry(carrier, task)
        carrier.wake.release()
        return task

    def run(self) -> None:
        """Until no task is left. Raises what a task raised, other than Crashed."""
        self._hand_over(None)
        self._main.acquire()
        for task in self.tasks:
            if task.error is not None and not task.spawned and not isinstance(task.error, Crashed):
                raise task.error

    def sleep(self, seconds: float) -> None:
        """Let others go on; come back so much later. Raises Crashed where the process died meanwhile."""
        task = self.current
        assert task is not None
        if self.stopped or not task.process.alive:
            raise Crashed
        self._push(task, seconds)
        self._wait(task)

    def spawn(self, bodies: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run all at once, in threads of the current process."""
        if len(bodies) == 1:
            return [bodies[0]()]
        parent = self.current
        assert parent is not None
        children = [self.start(f"{parent.name}.{n}", parent.process, body) for n, body in enumerate(bodies)]
        for child in children:
            child.spawned = True
        for child in children:
            if not child.done:
                child.waiting = parent
                self._wait(parent)
            if child.error is not None:
                raise child.error
        return [child.answer for child in children]

    def kill(self, process: Process) -> None:
        """None of its tasks does anything any more."""
        process.alive = False

    def _push(self, task: Task, after: float) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + after, self._count, task))

    def _wait(self, task: Task) -> None:
        if self._hand_over(task):
            task.baton.acquire()
        self.current = task
        if self.stopped or not task.process.alive:
            raise Crashed

    def _hand_over(self, giver: Task | None) -> bool:
        """Give the baton to who is next; False when that is the giver."""
        if not self._heap:
            self.current = None
            self._main.release()
            return True
        when, _, task = heapq.heappop(self._heap)
        self.now = max(self.now, when)
        if task is giver:
            return False
        task.baton.release()
        return True

    def _carry(self, carrier: Carrier, task: Task) -> None:
        task.baton.acquire()
        self.current = task
        try:
            if task.process.alive and not self.stopped:
                task.answer = task.body()
        except Crashed as error:
            task.error = error
        except BaseException as error:  # raised again by whoever waits for the task, or by run
            task.error = error
            if not task.spawned:
                self.stopped = True
        task.done = True
        if task.waiting is not None:
            self._push(task.waiting, 0.0)
        _idle.append(carrier)
        self._hand_over(None)
