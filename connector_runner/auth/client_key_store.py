"""Rows of the keys with which a workspace signs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from connector_runner.infra.database import Row, Tx, execute, one, rows
from connector_runner.kernel import exact_json

_ALL = "kid, algorithm, public_jwk, sealed, created_at, signs_from, signs_until, published_until"


def insert(
    tx: Tx,
    workspace_id: str,
    *,
    kid: str,
    algorithm: str,
    public_jwk: dict[str, Any],
    sealed: bytes,
    now: datetime,
    signs_from: datetime,
) -> bool:
    """Keep a key; False when there is one of that name."""
    made = execute(
        tx,
        "INSERT INTO client_key (workspace_id, kid, algorithm, public_jwk, sealed, created_at, signs_from)"
        " VALUES (:ws, :kid, :algorithm, CAST(:jwk AS jsonb), :sealed, :now, :signs_from)"
        " ON CONFLICT (workspace_id, kid) DO NOTHING",
        ws=workspace_id,
        kid=kid,
        algorithm=algorithm,
        jwk=exact_json.dumps(public_jwk),
        sealed=sealed,
        now=now,
        signs_from=signs_from,
    )
    return made == 1


def keys(tx: Tx, workspace_id: str) -> list[Row]:
    """All keys, the newest first."""
    return rows(
        tx,
        f"SELECT {_ALL} FROM client_key WHERE workspace_id = :ws ORDER BY signs_from DESC, created_at DESC, kid",
        ws=workspace_id,
    )


def key(tx: Tx, workspace_id: str, kid: str) -> Row | None:
    """One key, for changing it."""
    return one(
        tx,
        f"SELECT {_ALL} FROM client_key WHERE workspace_id = :ws AND kid = :kid FOR UPDATE",
        ws=workspace_id,
        kid=kid,
    )


def end(tx: Tx, workspace_id: str, kid: str, *, signs_until: datetime, published_until: datetime) -> None:
    """Say when a key signs no more, and when it leaves the published set; sooner, where that was said before."""
    execute(
        tx,
        "UPDATE client_key SET signs_until = least(signs_until, CAST(:signs_until AS timestamptz)),"
        " published_until = least(published_until, CAST(:published_until AS timestamptz))"
        " WHERE workspace_id = :ws AND kid = :kid",
        ws=workspace_id,
        kid=kid,
        signs_until=signs_until,
        published_until=published_until,
    )


def wipe(tx: Tx, workspace_id: str, now: datetime) -> None:
    """Drop the private halves of keys that have left the published set."""
    execute(
        tx,
        "UPDATE client_key SET sealed = NULL WHERE workspace_id = :ws AND published_until <= :now"
        " AND sealed IS NOT NULL",
        ws=workspace_id,
        now=now,
    )
