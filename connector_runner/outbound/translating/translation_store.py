"""SQL of translations: what was decided, what is still asked, and which entities wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from connector_runner.infra.database import Row, Tx, execute, one, rows


@dataclass(frozen=True, slots=True)
class Known:
    """What is held of a text. ``decided`` with no ``code``: it was decided that none fits."""

    code: str | None
    decided: bool
    state: str
    """Of the request: ``asked``, ``person``, ``decided`` or ``dropped``."""


@dataclass(frozen=True, slots=True)
class Request:
    """A text that waits for a code. ``sealed`` is the text."""

    digest: bytes
    vocabulary: str
    vocabulary_version: str
    sealed: bytes
    state: str
    llm: bool
    blocking: bool
    reason: str | None
    attempts: int
    asked_at: datetime
    entities: int


_REQUEST = (
    "t.digest, t.vocabulary, t.vocabulary_version, t.sealed, r.state, r.llm, r.blocking, r.reason, r.attempts,"
    " r.asked_at, (SELECT count(*) FROM translation_waiter w WHERE w.workspace_id = t.workspace_id"
    " AND w.digest = t.digest) AS entities"
)


def _request(row: Row) -> Request:
    return Request(**{**row, "digest": bytes(row["digest"]), "sealed": bytes(row["sealed"])})


def known(tx: Tx, workspace_id: str, digests: Sequence[bytes]) -> dict[bytes, Known]:
    """What is held of each text that was met before."""
    found = rows(
        tx,
        "SELECT t.digest, t.code, t.decided_at IS NOT NULL AS decided, r.state FROM translation t"
        " JOIN translation_request r USING (workspace_id, digest)"
        " WHERE t.workspace_id = :ws AND t.digest = ANY(:digests)",
        ws=workspace_id,
        digests=[*digests],
    )
    return {bytes(row["digest"]): Known(row["code"], row["decided"], row["state"]) for row in found}


def ask(
    tx: Tx,
    workspace_id: str,
    digest: bytes,
    *,
    vocabulary: str,
    version: str,
    sealed: bytes,
    llm: bool,
    blocking: bool,
) -> bool:
    """Note a text that wants a code; False when it was noted before, though it may matter more now."""
    made = execute(
        tx,
        "INSERT INTO translation (workspace_id, digest, vocabulary, vocabulary_version, sealed)"
        " VALUES (:ws, :digest, :vocabulary, :version, :sealed) ON CONFLICT DO NOTHING",
        ws=workspace_id,
        digest=digest,
        vocabulary=vocabulary,
        version=version,
        sealed=sealed,
    )
    execute(
        tx,
        "INSERT INTO translation_request AS r (workspace_id, digest, llm, blocking)"
        " VALUES (:ws, :digest, :llm, :blocking) ON CONFLICT (workspace_id, digest) DO UPDATE SET"
        " llm = r.llm OR excluded.llm, blocking = r.blocking OR excluded.blocking,"
        " state = CASE WHEN r.state = 'dropped' THEN 'asked' ELSE r.state END, due_at = clock_timestamp()"
        " WHERE (excluded.llm AND NOT r.llm) OR (excluded.blocking AND NOT r.blocking)"
        " OR (r.state = 'dropped' AND r.due_at < clock_timestamp() - interval '1 day')",
        ws=workspace_id,
        digest=digest,
        llm=llm,
        blocking=blocking,
    )
    return made == 1


def wait(tx: Tx, workspace_id: str, digest: bytes, entity_id: str) -> None:
    """Note that an entity is to be looked at again once there is an answer."""
    execute(
        tx,
        "INSERT INTO translation_waiter (workspace_id, digest, entity_id) VALUES (:ws, :digest, :entity)"
        " ON CONFLICT DO NOTHING",
        ws=workspace_id,
        digest=digest,
        entity=entity_id,
    )


def claim(tx: Tx, workspace_id: str, *, limit: int, lease_s: float) -> list[Request]:
    """Take requests that are due; nobody else gets them for ``lease_s`` seconds."""
    found = rows(
        tx,
        "WITH due AS MATERIALIZED (SELECT workspace_id, digest FROM translation_request"
        " WHERE workspace_id = :ws AND state = 'asked' AND due_at <= clock_timestamp()"
        " ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED)"
        " UPDATE translation_request r SET attempts = r.attempts + 1,"
        " due_at = clock_timestamp() + :lease * interval '1 second' FROM due, translation t"
        " WHERE r.workspace_id = due.workspace_id AND r.digest = due.digest"
        " AND t.workspace_id = due.workspace_id AND t.digest = due.digest"
        f" RETURNING {_REQUEST}",
        ws=workspace_id,
        limit=limit,
        lease=lease_s,
    )
    return [_request(row) for row in found]


def decide(
    tx: Tx,
    workspace_id: str,
    digest: bytes,
    *,
    code: str | None,
    method: str,
    decided_by: str,
    model: str | None = None,
    prompt_version: str | None = None,
) -> list[str] | None:
    """Keep an answer; the entities that waited for it. None when there is no such text.

    A person's answer replaces any other; a model's never replaces one that is there.
    """
    kept = one(
        tx,
        "UPDATE translation SET code = :code, method = :method, model = :model, prompt_version = :prompt,"
        " decided_by = :by, decided_at = clock_timestamp() WHERE workspace_id = :ws AND digest = :digest"
        " AND (decided_at IS NULL OR :method = 'person') RETURNING 1 AS kept",
        ws=workspace_id,
        digest=digest,
        code=code,
        method=method,
        model=model,
        prompt=prompt_version,
        by=decided_by,
    )
    if kept is None:
        return None
    set_state(tx, workspace_id, digest, "decided", None)
    return waiting(tx, workspace_id, digest)


def waiting(tx: Tx, workspace_id: str, digest: bytes) -> list[str]:
    """The entities that wait for an answer."""
    found = rows(
        tx,
        "SELECT entity_id FROM translation_waiter WHERE workspace_id = :ws AND digest = :digest ORDER BY entity_id",
        ws=workspace_id,
        digest=digest,
    )
    return [row["entity_id"] for row in found]


def set_state(
    tx: Tx, workspace_id: str, digest: bytes, state: str, reason: str | None, *, delay_s: float = 0.0
) -> None:
    """Where a request is now and why; it is due again after ``delay_s`` if it is still asked."""
    execute(
        tx,
        "UPDATE translation_request SET state = :state, reason = :reason,"
        " due_at = clock_timestamp() + :delay * interval '1 second' WHERE workspace_id = :ws AND digest = :digest",
        ws=workspace_id,
        digest=digest,
        state=state,
        reason=reason,
        delay=delay_s,
    )


def request_of(tx: Tx, workspace_id: str, digest: bytes) -> Request | None:
    """One request."""
    row = one(
        tx,
        f"SELECT {_REQUEST} FROM translation t JOIN translation_request r USING (workspace_id, digest)"
        " WHERE t.workspace_id = :ws AND t.digest = :digest FOR UPDATE OF r",
        ws=workspace_id,
        digest=digest,
    )
    return None if row is None else _request(row)


def open_requests(tx: Tx, workspace_id: str, limit: int) -> list[Request]:
    """What has no answer yet, what a person is to answer first."""
    found = rows(
        tx,
        f"SELECT {_REQUEST} FROM translation t JOIN translation_request r USING (workspace_id, digest)"
        " WHERE t.workspace_id = :ws AND r.state IN ('person', 'asked')"
        " ORDER BY r.state DESC, r.asked_at, t.digest LIMIT :limit",
        ws=workspace_id,
        limit=limit,
    )
    return [_request(row) for row in found]


def workspaces_due(tx: Tx) -> list[str]:
    """Workspaces with a request that is due; for a sweep."""
    found = rows(
        tx,
        "SELECT DISTINCT workspace_id FROM translation_request"
        " WHERE state = 'asked' AND due_at <= clock_timestamp() ORDER BY workspace_id",
    )
    return [row["workspace_id"] for row in found]
