"""Read-only queries over the work tables and, under a workspace, over what there is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connector_runner.infra.database import Tx, one, rows


@dataclass(frozen=True, slots=True)
class SinkRef:
    """A sink, and how its queue is called."""

    workspace_id: str
    workspace_slug: str
    sink_id: str
    name: str


def workspaces(tx: Tx) -> list[dict[str, Any]]:
    """Id and slug of each workspace, by slug. Needs a sweep, or shows one."""
    return rows(tx, "SELECT workspace_id, slug, name, status FROM workspace ORDER BY slug")


def sinks(tx: Tx) -> list[SinkRef]:
    """The enabled sinks of all workspaces; ``tx`` is a sweep."""
    found = rows(
        tx,
        "SELECT d.workspace_id, w.slug, d.data_source_id, d.name FROM data_source d"
        " JOIN workspace w USING (workspace_id)"
        " WHERE d.sink_enabled AND d.enabled AND w.status = 'active' ORDER BY w.slug, d.name",
    )
    return [SinkRef(row["workspace_id"], row["slug"], row["data_source_id"], row["name"]) for row in found]


def polled_resources(tx: Tx) -> list[dict[str, Any]]:
    """Each enabled (source, resource) with its cadence in seconds; ``tx`` is a sweep."""
    return rows(
        tx,
        "SELECT r.workspace_id, w.slug, d.data_source_id, d.name, r.resource_type, r.cadence_s"
        " FROM source_resource r JOIN data_source d USING (workspace_id, data_source_id)"
        " JOIN workspace w USING (workspace_id)"
        " WHERE r.enabled AND d.enabled AND w.status = 'active' ORDER BY w.slug, d.name, r.resource_type",
    )


def overdue_polls(tx: Tx, now: datetime, limit: int) -> list[dict[str, Any]]:
    """Resources that are due and that nobody polls now, the longest overdue first; ``tx`` is a sweep."""
    return rows(
        tx,
        "SELECT r.workspace_id, r.data_source_id, r.resource_type FROM source_resource r"
        " JOIN data_source d USING (workspace_id, data_source_id) JOIN workspace w USING (workspace_id)"
        " WHERE r.enabled AND d.enabled AND w.status = 'active' AND r.due_at <= :now"
        " AND (r.lease_until IS NULL OR r.lease_until <= :now) ORDER BY r.due_at LIMIT :limit",
        now=now,
        limit=limit,
    )


def workspaces_with_dirty(tx: Tx) -> list[str]:
    """Workspaces that have entities to fold anew; ``tx`` is a sweep."""
    return [row["workspace_id"] for row in rows(tx, "SELECT DISTINCT workspace_id FROM dirty_entity")]


def source_rows(tx: Tx) -> list[dict[str, Any]]:
    """The data sources of the workspace with their health."""
    return rows(
        tx,
        "SELECT data_source_id, name, source_type, enabled, health_status, health_code, health_detail, health_since,"
        " last_poll_at, last_ok_at, consecutive_errors, event_count FROM data_source ORDER BY name",
    )


def entity_counts(tx: Tx) -> dict[str, int]:
    """Live entities by type."""
    found = rows(
        tx, "SELECT entity_type, count(*) AS n FROM entity WHERE status = 'active' GROUP BY entity_type ORDER BY 1"
    )
    return {row["entity_type"]: row["n"] for row in found}


def event_total(tx: Tx) -> int:
    """How many events there are, counted from the entities' own counts (the log itself may be long)."""
    row = one(tx, "SELECT coalesce(sum(event_count), 0) AS n FROM entity")
    return int(row["n"]) if row else 0


def unmapped(tx: Tx) -> list[dict[str, Any]]:
    """Record types that came and have no mapping."""
    return rows(
        tx,
        "SELECT d.name AS source, u.resource_type, u.records FROM unmapped_type u"
        " JOIN data_source d USING (workspace_id, data_source_id) ORDER BY 1, 2",
    )


def running_imports(tx: Tx) -> int:
    """Imports that are not finished."""
    row = one(tx, "SELECT count(*) AS n FROM import_job WHERE status IN ('pending', 'running')")
    return int(row["n"]) if row else 0
