"""SQL behind ``status``: counts and ages, answered from indexes and counters so that asking often is cheap."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.database import Tx, one, rows


def sources(tx: Tx, workspace_id: str) -> list[dict[str, Any]]:
    """The data sources with their health.

    ``polled`` is how many record types are polled, ``late_s`` by how many seconds the one that waits longest is
    overdue and in nobody's hands (0: none is), ``active`` whether the source and its workspace are enabled.
    """
    return rows(
        tx,
        "SELECT d.data_source_id, d.name, d.source_type, d.enabled, d.enabled AND w.status = 'active' AS active,"
        " d.health_status, d.health_code, d.health_detail, d.health_since, d.last_poll_at, d.last_ok_at,"
        " d.consecutive_errors, d.event_count, d.sink_enabled, d.sink_paused_reason,"
        " CASE WHEN d.read_breaker_until > now() THEN d.read_breaker_until END AS read_breaker_until,"
        " CASE WHEN d.sink_breaker_until > now() THEN d.sink_breaker_until END AS sink_breaker_until,"
        " coalesce(r.polled, 0) AS polled, coalesce(greatest(r.late_s, 0), 0) AS late_s"
        " FROM data_source d JOIN workspace w ON w.workspace_id = d.workspace_id LEFT JOIN"
        " (SELECT data_source_id, count(*) AS polled, max(extract(epoch FROM now() - due_at)::float8)"
        "   FILTER (WHERE lease_until IS NULL OR lease_until <= now()) AS late_s"
        "  FROM source_resource WHERE workspace_id = :ws AND enabled GROUP BY data_source_id) r"
        " ON r.data_source_id = d.data_source_id WHERE d.workspace_id = :ws ORDER BY d.name",
        ws=workspace_id,
    )


def lanes(tx: Tx, workspace_id: str) -> list[dict[str, Any]]:
    """How many lanes each sink has in each state, and how many of them were ever written."""
    return rows(
        tx,
        "SELECT sink_id, state, count(*) AS lanes, count(*) FILTER (WHERE synced_revision > 0) AS written"
        " FROM sync_lane WHERE workspace_id = :ws GROUP BY sink_id, state",
        ws=workspace_id,
    )


def oldest_ready(tx: Tx, workspace_id: str) -> dict[str, float]:
    """For each sink with a lane that is due now: for how many seconds the oldest one has been."""
    found = rows(
        tx,
        "SELECT sink_id, max(extract(epoch FROM now() - due_at)::float8) AS age_s FROM sync_lane"
        " WHERE workspace_id = :ws AND state IN ('ready', 'waiting') AND due_at <= now() GROUP BY sink_id",
        ws=workspace_id,
    )
    return {row["sink_id"]: row["age_s"] for row in found}


def event_total(tx: Tx, workspace_id: str) -> int:
    """How many events there are: each source's counter, and those that no source brought, from their own index.

    The counters move in the transaction that appends, so the sum is exact.
    """
    row = one(
        tx,
        "SELECT (SELECT coalesce(sum(event_count), 0) FROM data_source WHERE workspace_id = :ws)::bigint"
        " + (SELECT count(*) FROM event WHERE workspace_id = :ws AND data_source_id IS NULL) AS n",
        ws=workspace_id,
    )
    return int(row["n"]) if row else 0


def entity_counts(tx: Tx, workspace_id: str) -> dict[str, int]:
    """Live entities by type."""
    found = rows(
        tx,
        "SELECT entity_type, count(*) AS n FROM entity WHERE workspace_id = :ws AND status = 'active'"
        " GROUP BY entity_type ORDER BY entity_type",
        ws=workspace_id,
    )
    return {row["entity_type"]: row["n"] for row in found}


def unmapped(tx: Tx, workspace_id: str) -> list[dict[str, Any]]:
    """Record types that came and have no mapping. A type's name is what the source wrote."""
    return rows(
        tx,
        "SELECT d.name AS source, u.resource_type, u.records FROM unmapped_type u"
        " JOIN data_source d USING (workspace_id, data_source_id) WHERE u.workspace_id = :ws ORDER BY 1, 2",
        ws=workspace_id,
    )


def work(tx: Tx, workspace_id: str) -> dict[str, Any]:
    """What waits to be folded, released and imported; ``release_s`` is the age of the oldest release in seconds."""
    row = one(
        tx,
        "SELECT (SELECT count(*) FROM dirty_entity WHERE workspace_id = :ws) AS folds,"
        " (SELECT count(*) FROM import_job WHERE workspace_id = :ws AND status IN ('pending', 'running')) AS imports,"
        " p.n AS releases, greatest(p.age_s, 0) AS release_s"
        " FROM (SELECT count(*) AS n, coalesce(extract(epoch FROM now() - min(requested_at)), 0)::float8 AS age_s"
        "  FROM pending_release WHERE workspace_id = :ws) p",
        ws=workspace_id,
    )
    return row or {"folds": 0, "imports": 0, "releases": 0, "release_s": 0.0}
