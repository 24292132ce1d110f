"""``/metrics``: what all processes counted, and gauges of what stands in Postgres, set when somebody scrapes."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, Final

from prometheus_client import Metric
from redis.exceptions import RedisError

from connector_runner.infra import metrics
from connector_runner.infra.logging import get_logger
from connector_runner.infra.shared_counters import SharedCounters
from connector_runner.kernel.errors import Unavailable
from connector_runner.web.snapshot import Snapshot, Snapshots, WorkspaceView

log = get_logger(__name__)

POSTGRES_UP: Final = metrics.gauge("postgres_up", "1 when Postgres answered this scrape; 0 leaves out what it holds")
REDIS_UP: Final = metrics.gauge("redis_up", "1 when Redis answered this scrape")
QUEUE_DEPTH: Final = metrics.gauge("queue_depth", "Hints that wait in a queue", ("queue",))
EVENTS_STORED: Final = metrics.gauge("events_stored", "Events in the log", ("workspace",))
ENTITIES: Final = metrics.gauge("entities", "Live entities", ("workspace", "entity_type"))
RELEASES_PENDING: Final = metrics.gauge("releases_pending", "Changed entities that wait for release", ("workspace",))
RELEASE_AGE: Final = metrics.gauge("release_oldest_seconds", "Age of the oldest pending release", ("workspace",))
IMPORTS_RUNNING: Final = metrics.gauge("imports_running", "Imports that are not finished", ("workspace",))
POLL_LATE: Final = metrics.gauge("poll_late_seconds", "By how much the most overdue poll is late", ("source",))
POLL_ERRORS: Final = metrics.gauge("source_consecutive_errors", "Failed polls in a row", ("source",))
ALERTS_OPEN: Final = metrics.gauge("alerts_open", "Alerts that are open", ("source", "kind"))
AUDIT_UNSEALED: Final = metrics.gauge("audit_unsealed", "Notes that wait for the audit log", ("workspace",))
AUDIT_AGE: Final = metrics.gauge("audit_unsealed_oldest_seconds", "Age of the oldest of them", ("workspace",))
PUSHES_PENDING: Final = metrics.gauge("pushes_pending", "Deliveries that wait to be worked off", ("source",))
PUSH_AGE: Final = metrics.gauge("push_oldest_seconds", "Age of the oldest delivery that waits", ("source",))
LANE_AGE: Final = metrics.gauge("lane_oldest_ready_seconds", "Since when the oldest due lane is due", ("sink",))
SINK_PAUSED: Final = metrics.gauge("sink_paused", "1 when the sink is paused", ("sink",))

_HELD: Final = (
    metrics.LANES, metrics.SOURCE_HEALTHY, metrics.QUARANTINE_OPEN, QUEUE_DEPTH, EVENTS_STORED, ENTITIES,
    RELEASES_PENDING, RELEASE_AGE, IMPORTS_RUNNING, POLL_LATE, POLL_ERRORS, ALERTS_OPEN, PUSHES_PENDING, PUSH_AGE,
    LANE_AGE, SINK_PAUSED, AUDIT_UNSEALED, AUDIT_AGE,
)  # fmt: skip
_one_at_a_time = threading.Lock()


def scrape(snapshots: Snapshots, counters: SharedCounters) -> bytes:
    """The text of one scrape. Without Postgres it has no gauges but ``postgres_up 0``, and without Redis this process's
    own counters alone.
    """
    try:
        snapshot = snapshots.latest()
    except Unavailable as exc:
        log.warning("scrape.partial", code=exc.code)
        snapshot = None
    with _one_at_a_time:
        for gauge in _HELD:
            gauge.clear()
        POSTGRES_UP.set(snapshot is not None)
        if snapshot is not None:
            _set(snapshot)
        return metrics.expose(_counted(counters))


def _counted(counters: SharedCounters) -> list[Metric] | None:
    if not counters.tell(at_once=True):
        return None
    try:
        return counters.sums()
    except RedisError as error:
        log.warning("scrape.partial", code="redis_unreachable", error=type(error).__name__)
        return None


def _set(snapshot: Snapshot) -> None:
    queues = snapshot.overall["queues"]
    REDIS_UP.set(queues is not None)
    for queue, depth in (queues or {}).items():
        QUEUE_DEPTH.labels(queue=queue).set(depth)
    for workspace in snapshot.workspaces:
        _set_workspace(workspace)


def _set_workspace(workspace: WorkspaceView) -> None:
    slug, found = workspace.slug, workspace.found
    metrics.QUARANTINE_OPEN.labels(workspace=slug).set(found["quarantine"]["open"])
    EVENTS_STORED.labels(workspace=slug).set(found["events"]["total"])
    RELEASES_PENDING.labels(workspace=slug).set(found["release"]["pending"])
    RELEASE_AGE.labels(workspace=slug).set(found["release"]["oldest_s"])
    AUDIT_UNSEALED.labels(workspace=slug).set(found["audit"]["unsealed"])
    AUDIT_AGE.labels(workspace=slug).set(found["audit"]["oldest_s"])
    IMPORTS_RUNNING.labels(workspace=slug).set(found["imports"]["running"])
    for entity_type, count in found["entities"].items():
        ENTITIES.labels(workspace=slug, entity_type=entity_type).set(count)
    for (source, kind), count in Counter((each["source"], each["kind"]) for each in found["alerts"]).items():
        ALERTS_OPEN.labels(source=f"{slug}.{source}" if source else slug, kind=kind).set(count)
    for source in found["sources"]:
        _set_source(f"{slug}.{source['name']}", source)
    for pushed in found["pushes"]:
        PUSHES_PENDING.labels(source=f"{slug}.{pushed['source']}").set(pushed["pending"])
        PUSH_AGE.labels(source=f"{slug}.{pushed['source']}").set(pushed["oldest_s"])
    for sink in found["sinks"]:
        _set_sink(f"{slug}.{sink['name']}", sink)


def _set_source(name: str, source: dict[str, Any]) -> None:
    metrics.SOURCE_HEALTHY.labels(source=name).set(source["health_status"] == "healthy")
    POLL_LATE.labels(source=name).set(source["late_s"])
    POLL_ERRORS.labels(source=name).set(source["consecutive_errors"])


def _set_sink(name: str, sink: dict[str, Any]) -> None:
    for state, count in sink["lanes"].items():
        metrics.LANES.labels(sink=name, state=state).set(count)
    LANE_AGE.labels(sink=name).set(sink["oldest_ready_s"] or 0)
    SINK_PAUSED.labels(sink=name).set(sink["paused_reason"] is not None)
