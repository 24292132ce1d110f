"""SQL of transcripts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from connector_runner.infra.database import Row, Tx, execute, one, rows


def latest(tx: Tx, workspace_id: str, session: str) -> Row | None:
    """The last that was handed in of a conversation, without its content."""
    return one(
        tx,
        "SELECT n, digest FROM material WHERE workspace_id = :ws AND session = :session ORDER BY n DESC LIMIT 1",
        ws=workspace_id,
        session=session,
    )


def add(
    tx: Tx,
    workspace_id: str,
    session: str,
    n: int,
    *,
    digest: bytes,
    sealed: bytes,
    turns: int,
    characters: int,
    actor: str,
    now: datetime,
) -> bool:
    """Keep it as number ``n``; False when another writer was first."""
    return (
        execute(
            tx,
            "INSERT INTO material (workspace_id, session, n, digest, sealed, turns, characters, actor, received_at)"
            " VALUES (:ws, :session, :n, :digest, :sealed, :turns, :characters, :actor, :now) ON CONFLICT DO NOTHING",
            ws=workspace_id,
            session=session,
            n=n,
            digest=digest,
            sealed=sealed,
            turns=turns,
            characters=characters,
            actor=actor,
            now=now,
        )
        == 1
    )


def of_sessions(tx: Tx, workspace_id: str, sessions: Sequence[str]) -> list[Row]:
    """The last that was handed in of each conversation of which anything was."""
    return rows(
        tx,
        "SELECT m.* FROM unnest(CAST(:sessions AS text[])) AS s (session) CROSS JOIN LATERAL"
        " (SELECT session, n, sealed FROM material WHERE workspace_id = :ws AND session = s.session"
        "  ORDER BY n DESC LIMIT 1) m",
        ws=workspace_id,
        sessions=list(sessions),
    )


def numbers(tx: Tx, workspace_id: str, sessions: Sequence[str]) -> dict[str, int]:
    """Conversation -> the number of the last that was handed in of it; without those of which nothing was."""
    found = rows(
        tx,
        "SELECT m.* FROM unnest(CAST(:sessions AS text[])) AS s (session) CROSS JOIN LATERAL"
        " (SELECT session, n FROM material WHERE workspace_id = :ws AND session = s.session ORDER BY n DESC LIMIT 1) m",
        ws=workspace_id,
        sessions=list(sessions),
    )
    return {row["session"]: row["n"] for row in found}


def numbered(tx: Tx, workspace_id: str, session: str, n: int) -> Row | None:
    """What was handed in of a conversation as number ``n``."""
    return one(
        tx,
        "SELECT session, n, sealed FROM material WHERE workspace_id = :ws AND session = :session AND n = :n",
        ws=workspace_id,
        session=session,
        n=n,
    )


def entities_of(tx: Tx, workspace_id: str, session: str) -> list[str]:
    """The entities that a conversation said something of."""
    found = rows(
        tx,
        "SELECT DISTINCT entity_id FROM event WHERE workspace_id = :ws AND correlation_id = :session ORDER BY 1",
        ws=workspace_id,
        session=session,
    )
    return [row["entity_id"] for row in found]
