"""How it all is: the query behind ``status`` and the landing page. Counts, names and codes; no record's content."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from connector_runner.infra import metrics, schedule
from connector_runner.infra.database import Database
from connector_runner.infra.queue import QUEUES_OF_POOL, Publisher, sink_queue
from connector_runner.observability import store
from connector_runner.outbound import status as outbound
from connector_runner.resilience.quarantine import Quarantine


def of_workspace(database: Database, quarantine: Quarantine, workspace_id: str) -> dict[str, Any]:
    """Sources, sinks, events, entities and quarantine of one workspace."""
    with database.begin(workspace_id) as tx:
        sources = store.source_rows(tx)
        sinks = [sink for sink in outbound.lanes_by_state(tx, workspace_id) if sink["enabled"]]
        entities = store.entity_counts(tx)
        events = store.event_total(tx)
        waiting = quarantine.count_open(tx, workspace_id)
        unmapped = store.unmapped(tx)
        imports = store.running_imports(tx)
    return {
        "status": _verdict(sources, sinks, events),
        "sources": [_source(row) for row in sources],
        "sinks": sinks,
        "events": {"total": events},
        "entities": entities,
        "quarantine": {"open": waiting},
        "unmapped": unmapped,
        "imports": {"running": imports},
    }


def of_installation(database: Database, publisher: Publisher) -> dict[str, Any]:
    """Workers that gave a sign of life, and how many hints wait in each queue (None: Redis does not answer)."""
    with database.sweep() as tx:
        nodes = schedule.nodes(tx)
        sinks = store.sinks(tx)
    names = [name for group in QUEUES_OF_POOL.values() for name in group]
    names += [sink_queue(sink.workspace_slug, sink.name) for sink in sinks]
    now = datetime.now(UTC)
    return {
        "workers": [
            {"node": row["node"], "kind": row["kind"], "seconds_ago": round((now - row["beat_at"]).total_seconds())}
            for row in nodes
        ],
        "queues": publisher.depths(names),
    }


def together(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several workspaces as one: counts added, lists joined."""
    if len(parts) == 1:
        return parts[0]
    entities: dict[str, int] = {}
    for part in parts:
        for kind, count in part["entities"].items():
            entities[kind] = entities.get(kind, 0) + count
    order = ("degraded", "starting", "healthy")
    return {
        "status": min((part["status"] for part in parts), key=order.index, default="starting"),
        "sources": [row for part in parts for row in part["sources"]],
        "sinks": [row for part in parts for row in part["sinks"]],
        "events": {"total": sum(part["events"]["total"] for part in parts)},
        "entities": dict(sorted(entities.items())),
        "quarantine": {"open": sum(part["quarantine"]["open"] for part in parts)},
        "unmapped": [row for part in parts for row in part["unmapped"]],
        "imports": {"running": sum(part["imports"]["running"] for part in parts)},
    }


def refresh_gauges(database: Database, quarantine: Quarantine) -> None:
    """Set the gauges that stand for what is in Postgres: lanes, health, quarantine.

    Raises Unavailable when Postgres cannot be asked.
    """
    with database.sweep() as tx:
        workspaces = store.workspaces(tx)
    for gauge in (metrics.LANES, metrics.SOURCE_HEALTHY, metrics.QUARANTINE_OPEN):
        gauge.clear()
    for workspace in workspaces:
        found = of_workspace(database, quarantine, workspace["workspace_id"])
        metrics.QUARANTINE_OPEN.labels(workspace=workspace["slug"]).set(found["quarantine"]["open"])
        for source in found["sources"]:
            healthy = source["health_status"] == "healthy"
            metrics.SOURCE_HEALTHY.labels(source=f"{workspace['slug']}.{source['name']}").set(healthy)
        for sink in found["sinks"]:
            for state, count in sink["lanes"].items():
                metrics.LANES.labels(sink=f"{workspace['slug']}.{sink['name']}", state=state).set(count)


def _verdict(sources: Sequence[dict[str, Any]], sinks: Sequence[dict[str, Any]], events: int) -> str:
    """Degraded as soon as an enabled source is not healthy; starting while none has been heard yet."""
    seen = {row["health_status"] for row in sources if row["enabled"] and row["source_type"] != "file_drop"}
    if seen & {"unhealthy", "degraded"} or any(sink["paused_reason"] for sink in sinks):
        return "degraded"
    if "unknown" in seen or (not seen and not events):
        return "starting"
    return "healthy"


def _source(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "data_source_id"}
