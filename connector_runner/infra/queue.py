"""Hints: the names of tasks and queues, the broker's settings, and the one way to send.

A hint is a message that says where to look and may be lost or repeated; what there is to do stands in
Postgres. So it carries ids and short slugs only, it is sent after the commit that it speaks of, and a hint
that cannot be sent is counted, never raised: the sweep finds the work.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from connector_runner.infra import metrics
from connector_runner.kernel.errors import BadRecord

POLL: Final = "poll.run"
IMPORT: Final = "imports.run"
PROJECT: Final = "project.run"
RELEASE: Final = "release.run"
DRAIN: Final = "drain.run"
SWEEP: Final = "sweep.run"
REFRESH_CONFIG: Final = "refresh_config.run"
HEARTBEAT: Final = "heartbeat.run"
SEAL_READS: Final = "seal_reads.run"
ANCHOR_AUDIT: Final = "anchor_audit.run"
RECONCILE: Final = "reconcile.run"
RECONCILE_SINK: Final = "reconcile_sink.run"
SAMPLE: Final = "sample.run"
TRANSLATE: Final = "translate.run"
RESOLVE: Final = "resolve.run"
RECOUNT: Final = "recount.run"
RECOUNT_WORKSPACE: Final = "recount_workspace.run"
SHELVE: Final = "shelve.run"
REVIEW: Final = "review.run"
REVIEW_TEND: Final = "review_tend.run"
REVIEW_TEND_WORKSPACE: Final = "review_tend_workspace.run"
PROBE: Final = "probe.run"
PROBE_SOURCE: Final = "probe_source.run"
RECEIVE: Final = "receive.run"
SUBSCRIBE: Final = "subscribe.run"
EXPORT: Final = "bulk.run"

CONTROL_QUEUE: Final = "control"
SINK_QUEUE_PREFIX: Final = "sink."
NODE_QUEUE_PREFIX: Final = "node."
"""One node's own queue, for its heartbeats; it goes some minutes after its node."""
QUEUE_OF: Final = {
    POLL: "poll",
    IMPORT: "imports",
    PROJECT: "project",
    RELEASE: "release",
    SWEEP: CONTROL_QUEUE,
    REFRESH_CONFIG: CONTROL_QUEUE,
    HEARTBEAT: CONTROL_QUEUE,
    SEAL_READS: CONTROL_QUEUE,
    ANCHOR_AUDIT: CONTROL_QUEUE,
    RECONCILE: "reconcile",
    RECONCILE_SINK: "reconcile",
    TRANSLATE: "translate",
    RESOLVE: "resolve",
    RECOUNT: CONTROL_QUEUE,
    RECOUNT_WORKSPACE: "resolve",
    SHELVE: "resolve",
    REVIEW: "review",
    REVIEW_TEND: CONTROL_QUEUE,
    REVIEW_TEND_WORKSPACE: "review",
    PROBE: CONTROL_QUEUE,
    PROBE_SOURCE: "reconcile",
    RECEIVE: "receive",
    SUBSCRIBE: "receive",
    EXPORT: "bulk",
}
"""The queue of each task; a drain and a sample go to the queue of their sink."""

QUEUES_OF_POOL: Final = {
    "io": (CONTROL_QUEUE, "poll", "receive", "release", "reconcile", "translate", "bulk", "review"),
    "cpu": ("imports", "project", "resolve"),
}
"""What each kind of worker consumes; ``io`` also every ``sink.…`` queue."""

KEY_PREFIX: Final = "cr:"
HINT_EXPIRES_S: Final = 60
_WAKE_S: Final = 5
_PAUSE_S: Final = 1.0
_NODE_QUEUE_S: Final = 600
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def sink_queue(workspace_slug: str, sink_name: str) -> str:
    """The queue on which one sink's drains are hinted."""
    return f"{SINK_QUEUE_PREFIX}{workspace_slug}.{sink_name}"


def _label(queue: str) -> str:
    return "node" if queue.startswith(NODE_QUEUE_PREFIX) else queue


def check_arguments(arguments: dict[str, Any]) -> None:
    """Raise BadRecord (code ``task_argument``) when a value is not an integer, an id or a short slug.

    What stands in a message can be read in Redis, in Flower and in logs.
    """
    for name, value in arguments.items():
        if isinstance(value, int) and not isinstance(value, bool):
            continue
        if not isinstance(value, str) or not _SAFE.fullmatch(value):
            raise BadRecord("a task takes ids and short slugs only", code="task_argument", where=name)


def configuration(redis_url: str) -> dict[str, Any]:
    """Celery's settings, the same in every process.

    No result backend, no countdowns, no retries by the broker: anything due later has a ``due_at`` in
    Postgres. The visibility timeout is longer than a task may take, or the task would run twice at once.
    """
    return {
        "broker_url": redis_url,
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "event_serializer": "json",
        "broker_transport_options": {
            "visibility_timeout": 600,
            "priority_steps": [0],
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "health_check_interval": 25,
            "socket_timeout": 15,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "max_connections": 20,
            "client_name": "connector_runner",
            "global_keyprefix": KEY_PREFIX,
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_pool_limit": 4,
        "broker_pool_acquire_timeout": 5,
        "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_max": 0.2},
        "task_acks_late": True,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": False,
        "task_track_started": False,
        "task_send_sent_event": False,
        "task_default_queue": CONTROL_QUEUE,
        "task_create_missing_queues": True,
        "task_routes": {name: {"queue": queue} for name, queue in QUEUE_OF.items()},
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_eta_task_limit": 100,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "beat_max_loop_interval": 1,
        "timezone": "UTC",
        "enable_utc": True,
    }


@dataclass(frozen=True, slots=True)
class Hint:
    """A message to send after the commit: a task, its arguments, and a queue when it is not the task's own."""

    task: str
    arguments: tuple[tuple[str, str | int], ...]
    queue: str | None = None

    @classmethod
    def of(cls, task: str, *, queue: str | None = None, **arguments: str | int) -> Hint:
        """A hint of ``task`` with keyword arguments."""
        return cls(task, tuple(sorted(arguments.items())), queue)

    @property
    def wake_key(self) -> str:
        """The Redis key that is there while the same hint waits in its queue."""
        text = repr((self.task, self.arguments)).encode()
        return f"{KEY_PREFIX}wake:{blake2b(text, digest_size=12).hexdigest()}"


class Publisher:
    """Sends hints. One a process; safe to share between threads and across a fork."""

    def __init__(self, redis_url: str) -> None:
        # Celery takes a tenth of a second of CPU to import, and most commands send no hint.
        from celery import Celery
        from kombu.exceptions import KombuError

        self._faults = (RedisError, KombuError, OSError)
        self._app = Celery("connector_runner.hints", set_as_current=False)
        self._app.conf.update(configuration(redis_url))
        self._redis = Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=1)
        self._closed_until = 0.0

    def hint(self, task: str, *, queue: str | None = None, **arguments: str | int) -> bool:
        """Send one hint unless the same one is still waiting; whether there is one in the queue now.

        Raises BadRecord for an argument that is no id; never because of Redis.
        """
        return self.send(Hint.of(task, queue=queue, **arguments))

    def send(self, hint: Hint) -> bool:
        """``hint`` for a Hint that was made before."""
        arguments = dict(hint.arguments)
        check_arguments(arguments)
        queue = hint.queue or QUEUE_OF[hint.task]
        if time.monotonic() < self._closed_until:
            metrics.HINTS.labels(queue=_label(queue), outcome="dropped").inc()
            return False
        try:
            if self._redis.set(hint.wake_key, 1, nx=True, ex=_WAKE_S):
                self._app.send_task(
                    hint.task,
                    kwargs=arguments,
                    queue=queue,
                    expires=HINT_EXPIRES_S,
                    argsrepr="()",
                    kwargsrepr=repr(arguments),
                )
                if queue.startswith(NODE_QUEUE_PREFIX):
                    self._redis.expire(KEY_PREFIX + queue, _NODE_QUEUE_S)
                metrics.HINTS.labels(queue=_label(queue), outcome="sent").inc()
            return True
        except self._faults:
            # Redis is down or full: leave it alone for a moment instead of waiting for it once a hint.
            self._closed_until = time.monotonic() + _PAUSE_S
            metrics.HINTS.labels(queue=_label(queue), outcome="dropped").inc()
            return False

    def started(self, hint: Hint) -> None:
        """Say that a hint left its queue, so that what happens from now on is hinted anew."""
        if time.monotonic() < self._closed_until:
            return
        try:
            self._redis.delete(hint.wake_key)
        except (RedisError, OSError):
            # The key ends by itself; until then the sweep does the hinting.
            self._closed_until = time.monotonic() + _PAUSE_S

    def depths(self, queues: list[str]) -> dict[str, int]:
        """How many hints wait in each queue.

        Raises RedisError when Redis does not answer.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for queue in queues:
            pipeline.llen(KEY_PREFIX + queue)
        return dict(zip(queues, pipeline.execute(), strict=True))
