"""Fetches the files of an export: several at a time, whole lines at a time, into storage that every worker reaches.

What is stored of a file and how far it is are written in one transaction, so a worker that dies loses no more than
the lines it held. Small files are stored together: servers make them by the ten thousand.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import blake2b
from typing import Any, Final

from connector_runner.connectors.base import DataSource
from connector_runner.connectors.fhir.bulk.client import Arriving, BulkClient, ExportLost
from connector_runner.connectors.fhir.bulk.manifest import deletions_on, issue_on
from connector_runner.infra.database import Tx
from connector_runner.infra.http import Taker
from connector_runner.intake.bulk import file_store, store
from connector_runner.intake.bulk.file_store import FileLease
from connector_runner.intake.bulk.lines import LineCutter, lines_of, patients_of
from connector_runner.intake.imports import store as imports
from connector_runner.intake.imports.registering import Deps
from connector_runner.intake.imports.storage import PART_BYTES
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import BadRecord, Conflict, RateLimited, RunnerError, TryAgain, Unavailable
from connector_runner.resilience.retry import Backoff

PIECE_BYTES: Final = 4 * 1024 * 1024
FILES_A_CLAIM: Final = 32
"""A connection's share of the files that are leased together."""
STAGE: Final = "bulk"
_HOLD_S: Final = 15.0
_BACKOFF = Backoff(2, 120, floor=0.5)
_FATAL: Final = frozenset({"foreign_link", "address_refused", "bad_url", "bad_redirect"})
_MOST_ISSUES: Final = 1000


@dataclass(slots=True)
class _Stored:
    """What is to be written of one file, with the lease as it stands then."""

    lease: FileLease
    piece: bytes
    done: bool
    short: bool = False
    """Of one that is done: not all of it came."""


@dataclass(slots=True)
class Fetched:
    """What a slice came to. ``lost``: the export has to be made anew; ``fatal``: nothing can be fetched at all."""

    files: int = 0
    lost: ExportLost | None = None
    fatal: RunnerError | None = None


@dataclass(slots=True)
class Fetcher:
    """Fetches files of one step of one job, on which its caller holds the lease."""

    deps: Deps
    source: DataSource
    client: BulkClient
    job: store.Job
    owner: str
    deadline: float
    connections: int
    outcome: Fetched = field(default_factory=Fetched)
    _batch: list[_Stored] = field(default_factory=list)
    _size: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.Lock = field(default_factory=threading.Lock)
    """Held from taking a batch until it is stored: what a thread gave is stored before it goes on."""
    _held_at: float = 0.0

    @property
    def wants_patients(self) -> bool:
        """Whether the members of the group are learned from the files."""
        return self.job.scope == "group" and (self.job.step == "roster" or self.job.since is None)

    def run(self) -> Fetched:
        """Fetch until nothing is left, the time is up, or it cannot go on. Raises Conflict when the lease is lost."""
        with ThreadPoolExecutor(self.connections, thread_name_prefix="export") as pool:
            while time.monotonic() < self.deadline and not self._stopped():
                leases = self._claim()
                if not leases:
                    break
                untouched = [lease for lease in pool.map(self._one, leases) if lease is not None]
                self._flush()
                if untouched:
                    self._write(lambda tx, left=tuple(untouched): file_store.give_back(tx, left))
        return self.outcome

    def _stopped(self) -> bool:
        return self.outcome.lost is not None or self.outcome.fatal is not None

    def _claim(self) -> list[FileLease]:
        found: list[FileLease] = []

        def claim(tx: Tx) -> None:
            found[:] = file_store.claim(tx, self.job, self.owner, utc_now(), self.connections * FILES_A_CLAIM)

        self._write(claim)
        return found

    def _write(self, step: object) -> None:
        """Run a step in a transaction that proves the lease of the job."""

        def held(tx: Tx) -> None:
            if not store.hold(tx, self.job, utc_now()):
                raise Conflict("another worker has taken this export over", code="lease_lost")
            step(tx)  # type: ignore[operator]

        self.deps.database.retrying(self.job.workspace_id, held)
        self._held_at = time.monotonic()

    def alive(self, lease: FileLease) -> None:
        """Renew the leases now and then; raises Conflict when the file is another worker's."""
        if time.monotonic() - self._held_at < _HOLD_S:
            return

        def hold(tx: Tx) -> None:
            if not file_store.hold(tx, lease, utc_now()):
                raise Conflict("another worker has taken this file over", code="lease_lost")

        self._write(hold)

    def _one(self, lease: FileLease) -> FileLease | None:
        """Fetch one file; the lease back when it was not begun."""
        if self._stopped() or time.monotonic() >= self.deadline:
            return lease
        taker = _FileTaker(self, lease, self.deps.settings.max_resource_bytes)
        try:
            self.client.fetch(
                lease.url,
                authorized=self.job.requires_token,
                position=lease.position,
                etag=lease.etag,
                begin=taker.begin,
            )
            rest = taker.rest()
            short = ends_early(lease, rest)
            if short and not lease.attempts:
                raise Unavailable("the file ends early", code="file_short", where="export file")
            self.keep(_Stored(replace(lease), rest, done=True, short=short))
        except ExportLost as error:
            self.outcome.lost = error
        except Conflict:
            raise
        except RunnerError as error:
            self._failed(lease, error)
        return None

    def _failed(self, lease: FileLease, error: RunnerError) -> None:
        if error.code in _FATAL:
            self.outcome.fatal = error
        stated = error.retry_after_s if isinstance(error, TryAgain) else None
        pause_s = _BACKOFF.pause_s(lease.attempts + 1, retry_after_s=stated)
        due_at = utc_now() + timedelta(seconds=pause_s)

        def postpone(tx: Tx) -> None:
            file_store.postpone(tx, lease, error.code, due_at, counts=not isinstance(error, RateLimited))
            if lease.attempts >= file_store.ATTEMPTS:
                problem = {"code": "file_failed", "cause": error.code, "step": lease.step, "file_n": lease.file_n}
                store.note(tx, self.job.export_id, problem, lacking=True)

        self._write(postpone)

    # -- storing

    def keep(self, stored: _Stored) -> None:
        """Add to what is written next; a piece's worth is written at once."""
        with self._lock:
            self._batch.append(stored)
            self._size += len(stored.piece)
            if self._size < PIECE_BYTES and (stored.done or not stored.piece):
                return
        self._flush()

    def _flush(self) -> None:
        with self._writing:
            with self._lock:
                batch, self._batch, self._size = self._batch, [], 0
            if batch:
                self._store(batch)

    def _store(self, batch: Sequence[_Stored]) -> None:
        def write(tx: Tx) -> None:
            kept = [stored for stored in batch if file_store.hold(tx, stored.lease, utc_now())]
            self._store_records(tx, [stored for stored in kept if stored.lease.kind == "output"])
            for stored in kept:
                if stored.lease.kind == "deleted":
                    self._store_deletions(tx, stored)
                elif stored.lease.kind == "outcome":
                    self._store_issues(tx, stored)
                file_store.advance(tx, stored.lease)
            done = [stored for stored in kept if stored.done]
            for stored in done:
                self._check_count(tx, stored.lease, short=stored.short)
            file_store.finish(tx, [stored.lease for stored in done])

        self._write(write)
        self.outcome.files += sum(stored.done for stored in batch)

    def _store_records(self, tx: Tx, kept: Sequence[_Stored]) -> None:
        pieces = [s.piece if s.piece.endswith(b"\n") else s.piece + b"\n" for s in kept if s.piece.strip()]
        if self.wants_patients:
            found = [one for s in kept if s.lease.resource_type in ("", "Patient") for one in patients_of(s.piece)]
            store.add_roster(tx, self.job.workspace_id, self.job.export_id, found)
        if not pieces:
            return
        numbers = sorted({s.lease.file_n for s in kept if s.piece.strip()})
        types = sorted({s.lease.resource_type or "records" for s in kept if s.piece.strip()})
        name = f"{'+'.join(types[:3])}.{numbers[0]}-{numbers[-1]}.ndjson"
        body = b"".join(pieces)
        import_id, ws = self.job.import_id, self.job.workspace_id
        file_n = file_store.next_file(tx, import_id)
        imports.add_file(tx, ws, import_id, file_n, name, None, len(body))
        for part_n, at in enumerate(range(0, len(body), PART_BYTES)):
            imports.add_part(tx, ws, import_id, file_n, part_n, body[at : at + PART_BYTES])
        imports.set_stored(tx, import_id, file_n, len(body))
        imports.release_job(tx, import_id, utc_now())

    def _store_deletions(self, tx: Tx, stored: _Stored) -> None:
        for line in lines_of(stored.piece):
            try:
                told = deletions_on(line)
            except BadRecord as fault:
                self._reject(tx, stored.lease, line, fault.code, fault.message, ())
                store.note(tx, self.job.export_id, {"code": fault.code, "file_n": stored.lease.file_n}, lacking=False)
                continue
            rows = ((one.resource_type, one.record_id, one.at) for one in told)
            store.add_deletions(tx, self.job.workspace_id, self.job.export_id, rows)

    def _store_issues(self, tx: Tx, stored: _Stored) -> None:
        grave = 0
        for n, line in enumerate(lines_of(stored.piece)):
            issue = issue_on(line)
            if not issue.grave:
                continue
            grave += 1
            if n < _MOST_ISSUES:
                message = "the server could not export something, and says why"
                self._reject(tx, stored.lease, line, "export_issue", message, issue.codes)
        if grave:
            problem = {
                "code": "export_issue",
                "step": stored.lease.step,
                "file_n": stored.lease.file_n,
                "issues": grave,
            }
            store.note(tx, self.job.export_id, problem, lacking=False)

    def _reject(self, tx: Tx, lease: FileLease, line: bytes, code: str, message: str, codes: Sequence[str]) -> None:
        digest = blake2b(line, digest_size=12).hexdigest()
        self.deps.quarantine.put(
            tx,
            self.job.workspace_id,
            stage=STAGE,
            subject=f"{self.job.data_source_id}:{digest}",
            code=code,
            message=message,
            place=f"{lease.kind} file {lease.file_n}",
            data_source_id=self.job.data_source_id,
            body=line,
            context={"export_id": self.job.export_id, "step": lease.step, "file_n": lease.file_n, "codes": list(codes)},
            now=utc_now(),
        )

    def _check_count(self, tx: Tx, lease: FileLease, *, short: bool) -> None:
        problem: dict[str, Any] = {"code": "file_short", "step": lease.step, "file_n": lease.file_n}
        if lease.expected is not None and lease.expected != lease.lines:
            problem |= {"code": "count_mismatch", "expected": lease.expected, "lines": lease.lines}
        elif not short:
            return
        store.note(tx, self.job.export_id, problem, lacking=short)


def ends_early(lease: FileLease, rest: bytes) -> bool:
    """Whether a file holds fewer lines than its manifest says, or ends (with ``rest``) in the middle of one.

    What only tells of problems is not held to that.
    """
    if lease.kind == "outcome":
        return False
    if lease.expected is not None and lease.lines < lease.expected:
        return True
    last = rest.rpartition(b"\n")[2].strip()
    return bool(last) and not last.endswith(b"}")


class _FileTaker:
    """Takes the bytes of one file, and has what makes a piece stored."""

    def __init__(self, fetcher: Fetcher, lease: FileLease, most_line: int) -> None:
        self._fetcher, self._lease = fetcher, lease
        self._most = most_line
        self._cutter = LineCutter(most_line)
        self._base, self._lines = lease.position, lease.lines

    def begin(self, arriving: Arriving) -> Taker:
        """A file that does not go on where it was begins anew; what landed of it says nothing new then."""
        if not arriving.resumed:
            self._base = self._lines = 0
        self._lease.etag = arriving.etag
        self._cutter = LineCutter(self._most)
        return self._take

    def _take(self, data: bytes) -> None:
        self._cutter.feed(data)
        piece = self._cutter.take(PIECE_BYTES)
        if piece:
            self._count()
            self._fetcher.keep(_Stored(replace(self._lease), piece, done=False))
        else:
            self._fetcher.alive(self._lease)

    def rest(self) -> bytes:
        """What came behind the last piece."""
        piece = self._cutter.rest()
        self._count()
        return piece

    def _count(self) -> None:
        self._lease.position = self._base + self._cutter.consumed
        self._lease.lines = self._lines + self._cutter.lines
