"""Rows of workspaces and API keys."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.database import Tx, execute, one


def insert_workspace(tx: Tx, workspace_id: str, slug: str, name: str) -> bool:
    """Make the row; False when the slug is taken."""
    made = execute(
        tx,
        "INSERT INTO workspace (workspace_id, slug, name) VALUES (:id, :slug, :name) ON CONFLICT (slug) DO NOTHING",
        id=workspace_id,
        slug=slug,
        name=name,
    )
    return made == 1


def workspace_named(tx: Tx, slug: str) -> dict[str, Any] | None:
    """The workspace with this slug; ``tx`` is a sweep."""
    return one(tx, "SELECT workspace_id, slug, name, status FROM workspace WHERE slug = :slug", slug=slug)


def slug_of(tx: Tx, workspace_id: str) -> str:
    """The slug of the transaction's workspace."""
    found = one(tx, "SELECT slug FROM workspace WHERE workspace_id = :ws", ws=workspace_id)
    return str(found["slug"]) if found is not None else workspace_id


def insert_key(tx: Tx, workspace_id: str, key: dict[str, Any]) -> None:
    """Keep a key's digest and what it may do."""
    execute(
        tx,
        "INSERT INTO api_key (workspace_id, key_id, prefix, digest, role, confidence_ceiling, expires_at)"
        " VALUES (:ws, :key_id, :prefix, :digest, :role, :ceiling, :expires_at)",
        ws=workspace_id,
        **key,
    )
