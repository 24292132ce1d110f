"""Quarantine: what could not be used, with what a person needs to fix and replay it.

One open row per (stage, subject, code): the same failure met again counts up and keeps the latest body. The
body is compressed and sealed. Whoever owns a stage does the replay; audit entries are written by the caller.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from connector_runner.infra import metrics
from connector_runner.infra.database import Row, Tx, execute, gather, hot, one, rows
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel import exact_json
from connector_runner.kernel.ids import new_id

Status = Literal["open", "replayed", "discarded"]
_COLUMNS: Final = (
    "quarantine_id, stage, data_source_id, code, message, place, subject, context, status,"
    " first_seen_at, last_seen_at, times"
)

_SETTLE: Final = hot(
    "UPDATE quarantine SET status = 'replayed' WHERE workspace_id = :ws AND stage = :stage"
    " AND subject = ANY(:subjects) AND status = 'open'"
)
_SETTLE_ALL: Final = hot(
    "UPDATE quarantine q SET status = 'replayed' FROM unnest(CAST(:ws AS uuid[]), CAST(:stage AS text[]),"
    " CAST(:subject AS text[])) s(ws, stage, subject) WHERE q.workspace_id = s.ws AND q.stage = s.stage"
    " AND q.subject = s.subject AND q.status = 'open'"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One quarantined thing, without its body. ``times`` counts how often it was met while open."""

    quarantine_id: str
    stage: str
    data_source_id: str | None
    code: str
    message: str
    place: str
    subject: str
    context: Mapping[str, Any]
    status: Status
    first_seen_at: datetime
    last_seen_at: datetime
    times: int


@dataclass(frozen=True, slots=True)
class Cause:
    """Open entries that share stage, source and code."""

    stage: str
    data_source_id: str | None
    code: str
    entries: int
    last_seen_at: datetime


class Quarantine:
    """Keeps and finds entries of one workspace, inside the caller's transaction."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def put(
        self,
        tx: Tx,
        workspace_id: str,
        *,
        stage: str,
        subject: str,
        code: str,
        message: str,
        place: str = "",
        data_source_id: str | None = None,
        body: bytes | None = None,
        context: Mapping[str, Any] | None = None,
        now: datetime,
    ) -> str:
        """Keep one failure; the id of its entry.

        ``subject`` says what makes a repeat the same (a source record, a file's entry, a lane). ``message``,
        ``place`` and ``context`` are our own words, ids and codes; whatever came from outside goes into
        ``body`` (bytes as they came). Without a body a repeat keeps the one it had.
        """
        sealed = None
        if body is not None:
            sealed = self._sealer.seal(tx, workspace_id, zlib.compress(body, 1), _bound(stage, subject, code))
        row = one(
            tx,
            "INSERT INTO quarantine (workspace_id, quarantine_id, stage, data_source_id, code, message, place,"
            " subject, context, body, first_seen_at, last_seen_at)"
            " VALUES (:ws, :id, :stage, :source, :code, :message, :place, :subject, CAST(:context AS jsonb),"
            " :body, :now, :now)"
            " ON CONFLICT (workspace_id, stage, subject, code) WHERE status = 'open' DO UPDATE SET"
            " message = excluded.message, place = excluded.place, context = excluded.context,"
            " data_source_id = coalesce(excluded.data_source_id, quarantine.data_source_id),"
            " body = coalesce(excluded.body, quarantine.body),"
            " last_seen_at = greatest(excluded.last_seen_at, quarantine.last_seen_at), times = quarantine.times + 1"
            " RETURNING quarantine_id",
            ws=workspace_id,
            id=new_id(),
            stage=stage,
            source=data_source_id,
            code=code,
            message=message,
            place=place,
            subject=subject,
            context=exact_json.dumps(dict(context or {})),
            body=sealed,
            now=now,
        )
        if row is None:
            raise LookupError("the quarantine row is not visible in this transaction")
        metrics.QUARANTINED.labels(stage=stage, code=code).inc()
        return str(row["quarantine_id"])

    def list(
        self,
        tx: Tx,
        workspace_id: str,
        *,
        status: Status | None = "open",
        stage: str | None = None,
        code: str | None = None,
        data_source_id: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Sequence[Entry]:
        """Entries in the order of their ids (age), over ``after``; None of a filter means any."""
        found = rows(
            tx,
            f"SELECT {_COLUMNS} FROM quarantine WHERE workspace_id = :ws"
            " AND (CAST(:status AS text) IS NULL OR status = :status)"
            " AND (CAST(:stage AS text) IS NULL OR stage = :stage)"
            " AND (CAST(:code AS text) IS NULL OR code = :code)"
            " AND (CAST(:source AS uuid) IS NULL OR data_source_id = CAST(:source AS uuid))"
            " AND (CAST(:after AS uuid) IS NULL OR quarantine_id > CAST(:after AS uuid))"
            " ORDER BY quarantine_id LIMIT :limit",
            ws=workspace_id,
            status=status,
            stage=stage,
            code=code,
            source=data_source_id,
            after=after,
            limit=limit,
        )
        return [_entry(row) for row in found]

    def causes(self, tx: Tx, workspace_id: str) -> Sequence[Cause]:
        """Open entries counted by cause, the most first."""
        found = rows(
            tx,
            "SELECT stage, data_source_id, code, count(*) AS entries, max(last_seen_at) AS last_seen_at"
            " FROM quarantine WHERE workspace_id = :ws AND status = 'open'"
            " GROUP BY stage, data_source_id, code ORDER BY entries DESC, stage, code",
            ws=workspace_id,
        )
        return [
            Cause(row["stage"], row["data_source_id"], row["code"], row["entries"], row["last_seen_at"])
            for row in found
        ]

    def count_open(self, tx: Tx, workspace_id: str) -> int:
        """How many entries are open."""
        row = one(
            tx, "SELECT count(*) AS n FROM quarantine WHERE workspace_id = :ws AND status = 'open'", ws=workspace_id
        )
        return int(row["n"]) if row is not None else 0

    def get(self, tx: Tx, workspace_id: str, quarantine_id: str) -> Entry | None:
        """One entry, or None."""
        row = one(
            tx,
            f"SELECT {_COLUMNS} FROM quarantine WHERE workspace_id = :ws AND quarantine_id = CAST(:id AS uuid)",
            ws=workspace_id,
            id=quarantine_id,
        )
        return _entry(row) if row is not None else None

    def hold(self, tx: Tx, workspace_id: str, quarantine_id: str) -> Entry | None:
        """One open entry, locked until the transaction ends; None when it is not open (any more)."""
        row = one(
            tx,
            f"SELECT {_COLUMNS} FROM quarantine WHERE workspace_id = :ws AND quarantine_id = CAST(:id AS uuid)"
            " AND status = 'open' FOR UPDATE",
            ws=workspace_id,
            id=quarantine_id,
        )
        return _entry(row) if row is not None else None

    def met_again(self, tx: Tx, workspace_id: str, quarantine_id: str, now: datetime) -> None:
        """Count an open entry up: it was tried, and failed as it did."""
        execute(
            tx,
            "UPDATE quarantine SET times = times + 1, last_seen_at = greatest(last_seen_at, :now)"
            " WHERE workspace_id = :ws AND quarantine_id = CAST(:id AS uuid) AND status = 'open'",
            ws=workspace_id,
            id=quarantine_id,
            now=now,
        )

    def body(self, tx: Tx, workspace_id: str, quarantine_id: str) -> bytes | None:
        """The bytes as they came, or None when none were kept. They are protected data: note the read.

        Raises BadRecord (``sealed_broken``) when the row was altered.
        """
        row = one(
            tx,
            "SELECT stage, subject, code, body FROM quarantine"
            " WHERE workspace_id = :ws AND quarantine_id = CAST(:id AS uuid)",
            ws=workspace_id,
            id=quarantine_id,
        )
        if row is None or row["body"] is None:
            return None
        bound = _bound(row["stage"], row["subject"], row["code"])
        return zlib.decompress(self._sealer.open(tx, workspace_id, bytes(row["body"]), bound))

    def discard(self, tx: Tx, workspace_id: str, quarantine_ids: Sequence[str]) -> int:
        """Close open entries for good; how many were open. The body goes."""
        return self._close(tx, workspace_id, quarantine_ids, "discarded", ", body = NULL")

    def mark_replayed(self, tx: Tx, workspace_id: str, quarantine_ids: Sequence[str]) -> int:
        """Close open entries whose content went through; how many were open."""
        return self._close(tx, workspace_id, quarantine_ids, "replayed", "")

    def settle(self, tx: Tx, workspace_id: str, stage: str, subjects: Sequence[str]) -> int:
        """Close what is open about ``subjects`` in a stage, since they went through; how many there were."""
        return execute(
            tx,
            _SETTLE,
            ws=workspace_id,
            stage=stage,
            subjects=[*subjects],
        )

    def settle_unasked(self, tx: Tx, workspace_id: str, stage: str, subject: str) -> None:
        """As ``settle`` of one subject, along with the next statement and other subjects: mostly nothing is open."""
        gather(tx, _SETTLE_ALL, ws=workspace_id, stage=stage, subject=subject)

    def _close(self, tx: Tx, workspace_id: str, ids: Sequence[str], status: Status, also: str) -> int:
        return execute(
            tx,
            f"UPDATE quarantine SET status = :status{also} WHERE workspace_id = :ws"
            " AND quarantine_id = ANY(CAST(:ids AS uuid[])) AND status = 'open'",
            ws=workspace_id,
            status=status,
            ids=[*ids],
        )


def _bound(stage: str, subject: str, code: str) -> str:
    return f"quarantine|{stage}|{subject}|{code}"


def _entry(row: Row) -> Entry:
    return Entry(**{name: row[name] for name in _COLUMNS.replace(" ", "").split(",")})
