"""What a worker does beside running tasks: know its queues, run what beat left overdue, show that it lives."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps

from beat_schedule import ENTRIES
from connector_runner.infra import schedule
from connector_runner.infra.logging import get_logger
from connector_runner.infra.queue import HEARTBEAT, NODE_QUEUE_PREFIX, SINK_QUEUE_PREFIX, sink_queue
from connector_runner.kernel.errors import RunnerError
from connector_runner.observability import store
from tasks import running
from tasks.process import runner

log = get_logger(__name__)

TICK_S = 1.0
BEAT_IS_SILENT_S = 1.5
QUEUES_S = 5.0
HEARTBEAT_S = 10.0
STUCK_SLICE_S = 180.0
DEAF_S = {"io": 180.0, "cpu": 700.0}
"""How long a node may run no heartbeat though its messages were sent; a CPU task may take five minutes."""
EXIT_STUCK = 70


class Minder:
    """The duties of one node. ``tick`` does those that are due."""

    def __init__(self, node: str, kind: str, consumer: Callable[[], Any]) -> None:
        self.node, self.kind = node, kind
        self.queue = NODE_QUEUE_PREFIX + node
        self._consumer = consumer
        self._next_queues = self._next_heartbeat = 0.0
        self._schedule_known = False
        self._listening = False
        self._sent_unanswered = 0
        self._answered_at: object = None

    def tick(self) -> None:
        """One look. An outage of Postgres or Redis ends it early; the next one comes in a second."""
        now = time.monotonic()
        try:
            if self.kind == "io":
                self._run_overdue()
                if now >= self._next_queues:
                    self._next_queues = now + QUEUES_S
                    self._know_queues()
            if now >= self._next_heartbeat:
                self._next_heartbeat = now + HEARTBEAT_S
                self._listen()
                self._show_life()
        except RunnerError as error:
            log.warning("minder.postponed", code=error.code)
        oldest = running.oldest()
        if self.kind == "io" and oldest is not None and oldest[1] > STUCK_SLICE_S:
            log.error("node.stuck", task=oldest[0], seconds=round(oldest[1]))
            os._exit(EXIT_STUCK)

    def _run_overdue(self) -> None:
        with runner().database.sweep() as tx:
            if not self._schedule_known:
                schedule.ensure(tx, {name: every_s for name, (_, every_s) in ENTRIES.items()})
                self._schedule_known = True
            claimed = schedule.claim(tx, [*ENTRIES], self.node, late_s=BEAT_IS_SILENT_S)
        for name in claimed:
            runner().publisher.hint(ENTRIES[name][0])

    def _know_queues(self) -> None:
        """Consume the queue of each sink that there is, and no longer those of sinks that went."""
        with runner().database.sweep() as tx:
            wanted = {sink_queue(sink.workspace_slug, sink.name) for sink in store.sinks(tx)}
        consumer = self._consumer()
        if consumer is None or consumer.task_consumer is None:
            return
        present = {queue.name for queue in consumer.task_consumer.queues}
        present = {name for name in present if name.startswith(SINK_QUEUE_PREFIX)}
        for name in sorted(wanted - present):
            consumer.call_soon(consumer.add_task_queue, name)
        for name in sorted(present - wanted):
            consumer.call_soon(consumer.cancel_task_queue, name)
        if wanted != present:
            log.info("node.queues", added=len(wanted - present), dropped=len(present - wanted))

    def _listen(self) -> None:
        consumer = self._consumer()
        if consumer is not None and consumer.task_consumer is not None:
            present = {queue.name for queue in consumer.task_consumer.queues}
            if self.queue not in present:
                consumer.call_soon(consumer.add_task_queue, self.queue)

    def _show_life(self) -> None:
        """Send this node a message; when many were sent and none was worked on, it is deaf: let it be replaced."""
        with runner().database.sweep() as tx:
            answered_at = schedule.beat_at(tx, self.node)
        if answered_at != self._answered_at:
            self._answered_at, self._sent_unanswered = answered_at, 0
        if self._sent_unanswered * HEARTBEAT_S > DEAF_S[self.kind]:
            log.error("node.deaf", unanswered=self._sent_unanswered)
            os._exit(EXIT_STUCK)
        if runner().publisher.hint(HEARTBEAT, queue=self.queue, node=self.node, kind=self.kind):
            self._sent_unanswered += 1


class MindingStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Runs a Minder for as long as the worker runs.

    Beside a threads pool it has a thread of its own. Beside a prefork pool it takes turns with the event loop,
    since a fork while another thread holds a lock would leave the child without whoever lets it go.
    """

    requires = frozenset({"celery.worker.components:Timer", "celery.worker.components:Pool"})

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._entry: Any = None

    def start(self, parent: Any) -> None:
        kind = os.environ.get("CONNECTOR_RUNNER_POOL", "io")
        minder = Minder(parent.hostname.replace("@", "_"), kind, lambda: getattr(parent, "consumer", None))
        if kind == "io":
            self._thread = threading.Thread(target=self._run, args=(minder,), name="minder", daemon=True)
            self._thread.start()
        else:
            self._entry = parent.timer.call_repeatedly(TICK_S, minder.tick, priority=10)

    def stop(self, parent: Any) -> None:
        self._stop.set()
        if self._entry is not None:
            self._entry.cancel()

    def terminate(self, parent: Any) -> None:
        self.stop(parent)

    def _run(self, minder: Minder) -> None:
        while not self._stop.wait(TICK_S):
            try:
                minder.tick()
            except Exception as error:
                log.error("minder.failed", exc_info=error)
