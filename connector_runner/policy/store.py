"""SQL of the policies of workspaces."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connector_runner.infra.database import Tx, hot, one
from connector_runner.kernel import exact_json


def version(tx: Tx, workspace_id: str) -> int:
    """The version that holds; 0 while none was ever applied."""
    found = one(tx, hot("SELECT version FROM workspace_policy WHERE workspace_id = :ws"), ws=workspace_id)
    return 0 if found is None else int(found["version"])


def body(tx: Tx, workspace_id: str) -> tuple[int, dict[str, Any]]:
    """The version that holds and its document."""
    found = one(tx, "SELECT version, body FROM workspace_policy WHERE workspace_id = :ws", ws=workspace_id)
    return (0, {}) if found is None else (int(found["version"]), found["body"])


def put(tx: Tx, workspace_id: str, document: dict[str, Any], *, actor: str, now: datetime) -> int | None:
    """Let a document hold from now on; its version, or None where it held already."""
    found = one(
        tx,
        "INSERT INTO workspace_policy AS p (workspace_id, version, body, applied_by, applied_at)"
        " VALUES (:ws, 1, CAST(:body AS jsonb), :actor, :now) ON CONFLICT (workspace_id) DO UPDATE"
        " SET version = p.version + 1, body = excluded.body, applied_by = excluded.applied_by,"
        " applied_at = excluded.applied_at WHERE p.body <> excluded.body RETURNING version",
        ws=workspace_id,
        body=exact_json.dumps(document),
        actor=actor,
        now=now,
    )
    return None if found is None else int(found["version"])
