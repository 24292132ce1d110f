"""What runs every so often, claimed in Postgres: whoever comes first runs it, so two beats or none do no harm."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from connector_runner.infra.database import Tx, execute, one, rows


def ensure(tx: Tx, entries: Mapping[str, float]) -> None:
    """Make a row for each entry (name and period in seconds) and correct the period of those that are there."""
    for name, every_s in entries.items():
        execute(
            tx,
            "INSERT INTO schedule (name, every_s) VALUES (:name, :every) ON CONFLICT (name)"
            " DO UPDATE SET every_s = excluded.every_s WHERE schedule.every_s <> excluded.every_s",
            name=name,
            every=every_s,
        )


def claim(tx: Tx, names: Sequence[str], claimant: str, *, late_s: float = 0.0) -> list[str]:
    """Take those of ``names`` that have been due for ``late_s`` seconds, and set when they are due next."""
    found = rows(
        tx,
        "UPDATE schedule SET last_run_at = now(), last_run_by = :by, due_at = now() + every_s * interval '1 second'"
        " WHERE name IN (SELECT name FROM schedule WHERE name = ANY(:names)"
        "  AND due_at <= now() - :late * interval '1 second' ORDER BY name FOR UPDATE SKIP LOCKED)"
        " RETURNING name",
        by=claimant,
        names=[*names],
        late=late_s,
    )
    return sorted(row["name"] for row in found)


def mark(tx: Tx, name: str, marker: str) -> None:
    """Note that an entry ran out of turn."""
    execute(tx, "UPDATE schedule SET last_run_at = now(), last_run_by = :by WHERE name = :name", by=marker, name=name)


def last_run(tx: Tx, name: str) -> datetime | None:
    """When an entry last ran."""
    row = one(tx, "SELECT last_run_at FROM schedule WHERE name = :name", name=name)
    return row["last_run_at"] if row else None


def beat(tx: Tx, node: str, kind: str, detail: Mapping[str, Any]) -> None:
    """Note that a node is alive. ``detail`` is numbers and words of ours."""
    execute(
        tx,
        "INSERT INTO node_heartbeat (node, kind, beat_at, detail) VALUES (:node, :kind, now(), CAST(:detail AS jsonb))"
        " ON CONFLICT (node) DO UPDATE SET kind = excluded.kind, beat_at = now(), detail = excluded.detail",
        node=node,
        kind=kind,
        detail=json.dumps(dict(detail)),
    )


def nodes(tx: Tx, within_s: float = 45.0) -> list[dict[str, Any]]:
    """Nodes that gave a sign of life in the last ``within_s`` seconds; older rows go after a day."""
    execute(tx, "DELETE FROM node_heartbeat WHERE beat_at < now() - interval '1 day'")
    return rows(
        tx,
        "SELECT node, kind, beat_at, detail FROM node_heartbeat"
        " WHERE beat_at > now() - :within * interval '1 second' ORDER BY kind, node",
        within=within_s,
    )


def beat_at(tx: Tx, node: str) -> datetime | None:
    """When a node last gave a sign of life."""
    row = one(tx, "SELECT beat_at FROM node_heartbeat WHERE node = :node", node=node)
    return row["beat_at"] if row else None
