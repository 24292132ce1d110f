"""Read-only queries over the work tables and, under a workspace, over what there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connector_runner.infra.database import Tx, rows


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


def workspaces_with_dirty(tx: Tx) -> list[str]:
    """Workspaces that have entities to fold anew; ``tx`` is a sweep."""
    return [row["workspace_id"] for row in rows(tx, "SELECT DISTINCT workspace_id FROM dirty_entity")]
