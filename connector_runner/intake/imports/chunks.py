"""One file from parse to landing: a chunk a transaction, the progress in the same one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, BinaryIO

from connector_runner.connectors.base import SourceRecord
from connector_runner.infra.database import Tx
from connector_runner.intake.apart import land_apart
from connector_runner.intake.imports import references, store
from connector_runner.intake.imports.content import LINES, Content, Parser, parser_for, recognise
from connector_runner.intake.imports.items import KEPT_OF_A_FAULT, Entry, Fault, Item, Line, Unread
from connector_runner.intake.imports.ndjson import parse_line
from connector_runner.intake.imports.records import identity, record_of
from connector_runner.intake.imports.registering import Deps
from connector_runner.intake.imports.report import Report
from connector_runner.intake.landing import Origin
from connector_runner.intake.recall import Name, Recall
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import BadRecord, Conflict
from connector_runner.unification.engine import Mapping

# What is staged of so much fits into Postgres' temp_buffers (8 MB).
CHUNK_ITEMS = 4000
CHUNK_BYTES = 6 * 1024 * 1024
SMALL_BYTES = 4 * 1024 * 1024
"""A file whose bodies are not more than this is parsed once and held, names and all."""
NAMES_A_WRITE = 5000
STAGE = "import"

Progress = Callable[[Report, int], None]
"""Told after each chunk: what came of the file so far, and how far it is in bytes."""


class FileRun:
    """Works on one leased file until it is done, its time is up, or it cannot go on."""

    def __init__(
        self,
        deps: Deps,
        lease: store.FileLease,
        origin: Origin,
        content: Content,
        deadline: float,
        progress: Progress | None = None,
    ) -> None:
        """``deadline`` is a monotonic time in seconds; the chunk at hand is finished first."""
        self._deps, self._lease, self._origin, self._content = deps, lease, origin, content
        self._untyped = deps.mappings.untyped(origin.system)
        self._deadline = deadline
        self._progress = progress
        self._report = Report(lease.counts, lease.errors)
        self._names: dict[str, str] = {}
        self._parser: Parser | None = None
        self._recent = _Recent()

    def run(self) -> bool:
        """Whether the file is done. Raises Conflict (``lease_lost``) when another worker has it now."""
        lease = self._lease
        if "kind" not in lease.resume:
            try:
                lease.resume = {"kind": recognise(lease.name, self._content.head())}
            except BadRecord as error:
                self._report.tell(f"{lease.name}: {error.message}")
                self._end("failed")
                return True
        kept = self._gather_names()
        if kept is None and lease.resume["names"] == "gathering":
            return False
        for chunk, at_end in _chunks(self._items(kept)):
            land_apart(chunk, self._land, self._set_aside)
            if self._progress is not None and self._parser is not None:
                self._progress(self._report, int(self._parser.checkpoint()["byte"]))
            if self._late() and not at_end:
                return False
        self._tell_damage()
        self._end("completed")
        return True

    def _late(self) -> bool:
        return time.monotonic() >= self._deadline

    # -- reading

    def _parse(self, state: dict[str, Any] | None, *, unparsed: bool = False) -> Iterator[Sequence[Unread]]:
        with self._content.open() as raw:
            self._parser = self._open_parser(raw, state, unparsed)
            for items in self._parser.items():
                yield items if self._untyped is None else [_typed(item, *self._untyped) for item in items]

    def _open_parser(self, raw: BinaryIO, state: dict[str, Any] | None, unparsed: bool) -> Parser:
        read = self._content.from_byte(state["byte"] if state else 0, raw)
        limit = self._deps.settings.max_resource_bytes
        return parser_for(self._lease.resume["kind"], read, max_bytes=limit, state=state, unparsed=unparsed)

    def _items(self, kept: list[Sequence[Unread]] | None) -> Iterator[Sequence[Unread]]:
        if kept is None:
            yield from self._parse(self._lease.resume.get("state"), unparsed=True)
            return
        skip = self._lease.position
        for items in kept:
            skip -= len(items)
            if skip < 0:
                yield items

    def _gather_names(self) -> list[Sequence[Unread]] | None:
        """Learn the names inside the file; its items when it is small enough to be held whole."""
        resume = self._lease.resume
        if "names" not in resume:
            with self._content.open() as raw:
                named = self._may_name() and references.needs_names(self._content.from_byte(0, raw))
            resume["names"] = "gathering" if named else "none"
        if resume["names"] != "gathering":
            return None
        kept, size = [], 0
        for items in self._parse(resume.get("naming")):
            if "naming" not in resume and size <= SMALL_BYTES:
                kept.append(items)
                size += sum(len(item.raw) for item in items)
                self._names.update(_names(items))
                continue
            kept.clear()
            self._keep_names(items)
            if self._late():
                self._save_names(done=False)
                return None
        if "naming" not in resume and size <= SMALL_BYTES:
            return kept
        self._save_names(done=True)
        return None

    def _may_name(self) -> bool:
        return self._lease.resume["kind"] != LINES or b'"Bundle"' in self._content.head()

    def _keep_names(self, items: Sequence[Unread]) -> None:
        self._names.update(_names(items))
        if len(self._names) >= NAMES_A_WRITE:
            self._save_names(done=False)

    def _save_names(self, *, done: bool) -> None:
        lease, names, parser = self._lease, self._names, self._parser
        if parser is None:
            raise AssertionError("names are gathered by parsing")
        resume = {key: value for key, value in lease.resume.items() if key != "naming"}
        resume |= {"names": "stored"} if done else {"naming": parser.checkpoint()}

        def save(tx: Tx) -> None:
            self._hold(tx)
            store.add_names(tx, lease, names.items())
            store.save_progress(tx, replace(lease, resume=resume))

        self._deps.database.retrying(lease.workspace_id, save)
        lease.resume, self._names = resume, {}

    # -- landing

    def _set_aside(self, item: Unread, error: Exception, code: str, last: bool) -> None:
        if isinstance(item, Fault):
            raise error  # there is nowhere further to put it
        fault = Fault(item.place, code, "this record made the import fail; it was set aside", item.raw)
        self._land([fault], last)

    def _land(self, chunk: Sequence[Unread], last: bool) -> None:
        """``last``: the parser stands behind this chunk, so the file may be resumed there."""
        lease = self._lease
        position = lease.position + len(chunk)
        resume = dict(lease.resume)
        if last and self._parser is not None and resume["names"] != "gathering":
            resume["state"] = self._parser.checkpoint()

        def land(tx: Tx) -> Report:
            now = self._hold(tx)
            report = self._report.copy()
            recall = Recall(tx, lease.workspace_id, self._origin.name)
            landed = self._deps.intake.land(
                tx,
                lease.workspace_id,
                self._origin,
                self._records(tx, chunk, report, now, recall),
                now=now,
                resolve=references.resolver(self._names_for(tx, chunk)),
                recall=recall,
            )
            report.landed(landed)
            done = replace(lease, position=position, resume=resume, counts=report.counts(), errors=report.errors)
            if last:
                store.save_progress(tx, done)
            return report

        self._report = self._deps.database.retrying(lease.workspace_id, land)
        self._recent.keep()
        lease.position, lease.resume = position, resume
        lease.counts, lease.errors = self._report.counts(), self._report.errors

    def _hold(self, tx: Tx) -> datetime:
        now = utc_now()
        if not store.hold(tx, self._lease, now):
            raise Conflict("another worker has taken this file over", code="lease_lost")
        return now

    def _names_for(self, tx: Tx, chunk: Sequence[Unread]) -> dict[str, str]:
        if self._lease.resume["names"] != "stored":
            return self._names
        wanted = references.used_in(item.raw for item in chunk)
        return store.names_for(tx, self._lease, sorted(wanted))

    def _records(
        self, tx: Tx, chunk: Sequence[Unread], report: Report, now: datetime, recall: Recall
    ) -> Iterator[SourceRecord]:
        """The records of a chunk, each parsed when it is asked for; all else is told and put aside on the way."""
        self._recent.begin()
        changed: set[Name] = set()
        for item in self._read(chunk, report, recall, changed):
            found = record_of(item, self._place(item.place)) if isinstance(item, Entry) else item
            if isinstance(found, Fault):
                self._put_aside(tx, found, report, now)
            elif isinstance(found, str):
                report.ignored[found] += 1
            else:
                name = (found.resource_type, found.record_id)
                changed.add(name)
                self._meet(name, item.place, report)
                yield found

    def _read(self, chunk: Sequence[Unread], report: Report, recall: Recall, changed: set[Name]) -> Iterator[Item]:
        """The items with their lines parsed; those that bring the very bytes of last time are only counted.

        Not so for the records in ``changed``, to which the caller adds as it goes: after what this chunk has said
        of them, even the bytes of last time may be news.
        """
        recall.learn(name for item in chunk if (name := _name_of(item)) is not None)
        any_known = bool(recall.known)
        for item in chunk:
            if not isinstance(item, Line):
                yield item
            elif any_known and item.name not in changed and recall.says_the_same(item.name, item.raw_hash):
                self._meet(item.name, item.place, report)
                report.numbers["events_skipped"] += 1
                report.numbers["resources"] += 1
            else:
                yield from parse_line(item)

    def _meet(self, name: Name, place: str, report: Report) -> None:
        if self._recent.met(name) and not self._versions():
            report.numbers["duplicates"] += 1
            place = self._place(place)
            report.tell(f"{place}: duplicate_id: the same id as an earlier entry; the later one stands")

    def _versions(self) -> bool:
        return self._parser is not None and self._parser.bundle_type == "history"

    def _put_aside(self, tx: Tx, fault: Fault, report: Report, now: datetime) -> None:
        lease, place = self._lease, self._place(fault.place)
        report.tell(f"{place}: {fault.code}: {fault.message}")
        if fault.notice:
            return
        body = fault.raw or None
        told = (body or place.encode("utf-8", "replace"))[:KEPT_OF_A_FAULT]
        self._deps.quarantine.put(
            tx,
            lease.workspace_id,
            stage=STAGE,
            subject=f"{self._origin.data_source_id}:{blake2b(told, digest_size=12).hexdigest()}",
            code=fault.code,
            message=fault.message,
            place=place,
            data_source_id=self._origin.data_source_id,
            body=body,
            context={"import_id": lease.import_id, "file_n": lease.file_n},
            now=now,
        )
        report.numbers["quarantined"] += 1

    def _place(self, place: str) -> str:
        return f"{self._lease.name} {place}" if place else self._lease.name

    # -- ending

    def _tell_damage(self) -> None:
        if self._content.damage is not None:
            self._report.tell(f"{self._lease.name}: {self._content.damage}; what could be unpacked was taken")

    def _end(self, status: str) -> None:
        lease = self._lease
        lease.counts, lease.errors = self._report.counts(), self._report.errors

        def end(tx: Tx) -> None:
            self._hold(tx)
            store.end_file(tx, lease, status)

        self._deps.database.retrying(lease.workspace_id, end)


class _Recent:
    """The records met lately in one file, in bounded memory; a chunk counts once it has landed."""

    def __init__(self, limit: int = 50_000) -> None:
        self._limit = limit
        self._now: set[int] = set()
        self._before: set[int] = set()
        self._chunk: set[int] = set()

    def begin(self) -> None:
        self._chunk = set()

    def met(self, name: Name) -> bool:
        key = hash(name)
        if key in self._chunk or key in self._now or key in self._before:
            return True
        self._chunk.add(key)
        return False

    def keep(self) -> None:
        self._now |= self._chunk
        self._chunk = set()
        if len(self._now) >= self._limit:
            self._before, self._now = self._now, set()


def _typed(item: Unread, record_type: str, mapping: Mapping) -> Unread:
    """The item, told what it is where it does not say so itself, as records that are not FHIR do not."""
    if not isinstance(item, Entry) or not isinstance(item.resource, dict) or "resourceType" in item.resource:
        return item
    item.record_type, item.updated = record_type, mapping.updated(item.resource)
    return item


def _name_of(item: Unread) -> Name | None:
    """The record that an item is about, or seems to be about."""
    if isinstance(item, Line):
        return item.name
    if isinstance(item, Fault) or not isinstance(item.resource, dict):
        return None
    named = identity(item)
    return None if isinstance(named, Fault) else named


def _names(items: Sequence[Unread]) -> Iterator[tuple[str, str]]:
    for item in items:
        if isinstance(item, Entry) and (name := references.name_of(item)) is not None:
            yield name


def _chunks(source: Iterator[Sequence[Unread]]) -> Iterator[tuple[list[Unread], bool]]:
    """The items in chunks that end where a checkpoint may be taken, and whether it is the last one."""
    chunk: list[Unread] = []
    size = 0
    for items in source:
        chunk.extend(items)
        for item in items:
            size += len(item.raw)
        if len(chunk) >= CHUNK_ITEMS or size >= CHUNK_BYTES:
            yield chunk, False
            chunk, size = [], 0
    if chunk:
        yield chunk, True
