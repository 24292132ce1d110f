"""Resources with all their versions, in memory, in the order in which they were written."""

from __future__ import annotations

import time
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .commits import CommitFile, Record
from .dates import http_date, instant
from .fhir_json import Json, dumps, loads
from .outcomes import FhirError
from .search_index import Index, index_of


def wall_clock_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True, frozen=True)
class Version:
    """One version of a resource; ``raw`` is its JSON, None for a deletion. ``seq`` orders all of a server."""

    resource_type: str
    id: str
    number: int
    seq: int
    updated_ms: int
    method: str
    raw: bytes | None
    index: Index

    @property
    def reference(self) -> str:
        """``Type/id``."""
        return f"{self.resource_type}/{self.id}"

    @property
    def etag(self) -> str:
        """Value of the ETag header."""
        return f'W/"{self.number}"'

    @property
    def last_modified(self) -> str:
        """Value of the Last-Modified header."""
        return http_date(self.updated_ms)

    def resource(self) -> Json:
        """A copy of the content to change; a deletion has none."""
        assert self.raw is not None
        content: Json = loads(self.raw)
        return content


class Store:
    """All resources of one simulated system. Not for several threads.

    Writes become durable, and final, with :meth:`commit`; :meth:`rollback` takes back those since then. ``watchers``
    are told of each commit.
    """

    def __init__(self, file: CommitFile | None = None, now_ms: Callable[[], int] = wall_clock_ms) -> None:
        self.resolution_ms = 1
        self.watchers: list[Callable[[tuple[Version, ...]], None]] = []
        self._file = file
        self._now_ms = now_ms
        self._clear(uuid.uuid4().hex)
        if file:
            self._load(file)

    def _clear(self, epoch: str) -> None:
        self.epoch = epoch
        self.log: list[Version] = []
        self._logs: dict[str, list[Version]] = {}
        self._resources: dict[str, dict[str, list[Version]]] = {}
        self._found_by: dict[tuple[str, str, Any], set[str]] = {}
        self._committed = 0
        self._clock_ms = 0

    def clear(self) -> None:
        """Forget everything, on disk too; pages handed out before are no longer valid."""
        self._clear(uuid.uuid4().hex)
        if self._file:
            self._file.restart(self.epoch)

    def _load(self, file: CommitFile) -> None:
        epoch, records = file.read()
        if epoch is None:
            file.restart(self.epoch)
            return
        self.epoch = epoch
        for record in records:
            raw = None if record.resource is None else dumps(record.resource)
            index = index_of(record.resource) if record.resource else {}
            self._append(record.resource_type, record.id, record.method, record.updated_ms, raw, index)
        self._committed = len(self.log)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written."""
        return not self.log

    @property
    def last_seq(self) -> int:
        """``seq`` of the latest version, 0 when there is none."""
        return self.log[-1].seq if self.log else 0

    @property
    def is_dirty(self) -> bool:
        """Whether there are writes that are not committed yet."""
        return self._committed < len(self.log)

    def put(
        self, resource_type: str, resource_id: str, resource: Json, method: str, at_ms: int | None = None
    ) -> Version:
        """Write a new version of ``resource``; the server's own ``id`` and ``meta`` fields replace those sent."""
        past = self._resources.get(resource_type, {}).get(resource_id, [])
        updated_ms = self._tick(at_ms)
        meta = resource.get("meta")
        stamped = {
            "resourceType": resource_type,
            "id": resource_id,
            "meta": {
                **(meta if isinstance(meta, dict) else {}),
                "versionId": str(len(past) + 1),
                "lastUpdated": instant(updated_ms),
            },
        }
        stamped.update((key, value) for key, value in resource.items() if key not in stamped)
        try:
            raw = dumps(stamped)
        except TypeError:
            raise FhirError(400, "the resource has text that is not Unicode", code="structure") from None
        return self._append(resource_type, resource_id, method, updated_ms, raw, index_of(stamped))

    def delete(self, resource_type: str, resource_id: str) -> Version:
        """Write a deletion."""
        return self._append(resource_type, resource_id, "DELETE", self._tick(None), None, {})

    def _tick(self, at_ms: int | None) -> int:
        if at_ms is not None:
            moment = at_ms
        elif self.resolution_ms > 1:
            moment = max(self._clock_ms, self._now_ms() // self.resolution_ms * self.resolution_ms)
        else:
            moment = max(self._clock_ms + 1, self._now_ms())
        self._clock_ms = moment
        return moment

    def _append(
        self, resource_type: str, resource_id: str, method: str, updated_ms: int, raw: bytes | None, index: Index
    ) -> Version:
        past = self._resources.setdefault(resource_type, {}).setdefault(resource_id, [])
        version = Version(resource_type, resource_id, len(past) + 1, self.last_seq + 1, updated_ms, method, raw, index)
        self._clock_ms = max(self._clock_ms, updated_ms)
        past.append(version)
        self.log.append(version)
        self._logs.setdefault(resource_type, []).append(version)
        for parameter in ("identifier", "patient"):
            for value in index.get(parameter, ()):
                key = value[1] if parameter == "identifier" else value
                self._found_by.setdefault((resource_type, parameter, key), set()).add(resource_id)
        return version

    def commit(self) -> tuple[Version, ...]:
        """Make the writes since the last commit final, on disk in one piece; they are returned."""
        written = tuple(self.log[self._committed :])
        if written and self._file:
            self._file.append(
                Record(v.resource_type, v.id, v.method, v.updated_ms, v.resource() if v.raw else None) for v in written
            )
        self._committed = len(self.log)
        for watch in self.watchers if written else ():
            watch(written)
        return written

    def rollback(self) -> None:
        """Take back the writes since the last commit."""
        while len(self.log) > self._committed:
            version = self.log.pop()
            self._logs[version.resource_type].pop()
            past = self._resources[version.resource_type][version.id]
            past.pop()
            if not past:
                del self._resources[version.resource_type][version.id]

    def current(self, resource_type: str, resource_id: str) -> Version | None:
        """The latest version, perhaps a deletion; None when the id was never used."""
        past = self._resources.get(resource_type, {}).get(resource_id)
        return past[-1] if past else None

    def history(self, resource_type: str, resource_id: str) -> list[Version]:
        """Every version of one resource, oldest first."""
        return self._resources.get(resource_type, {}).get(resource_id, [])

    def log_of(self, resource_type: str | None) -> list[Version]:
        """Every version of a type, or of all types, oldest first."""
        return self.log if resource_type is None else self._logs.get(resource_type, [])

    def seq_at(self, ms: int) -> int:
        """``seq`` of the last version written at or before a moment, 0 when there is none."""
        place = bisect_right(self.log, ms, key=lambda version: version.updated_ms)
        return self.log[place - 1].seq if place else 0

    def ids(self, resource_type: str) -> Iterable[str]:
        """Ids ever used, deleted ones too."""
        return self._resources.get(resource_type, {})

    def ids_found_by(self, resource_type: str, parameter: str, value: str) -> Iterable[str]:
        """Ids that ever had ``value`` for ``identifier`` (its value part) or ``patient``."""
        return sorted(self._found_by.get((resource_type, parameter, value), ()))

    def ids_updated_since(self, resource_type: str, ms: int) -> Iterable[str]:
        """Ids with a version written at or after a moment, in order of the first such."""
        log = self.log_of(resource_type)
        start = bisect_left(log, ms, key=lambda version: version.updated_ms)
        return dict.fromkeys(version.id for version in log[start:])

    def as_of(self, resource_type: str, ids: Iterable[str], seq: int) -> Iterator[Version]:
        """The version of each id that was current at ``seq``, where it was not deleted then."""
        resources = self._resources.get(resource_type, {})
        for resource_id in ids:
            past = resources.get(resource_id)
            if not past:
                continue
            version = past[-1]
            if version.seq > seq:
                place = bisect_right(past, seq, key=lambda one: one.seq)
                if not place:
                    continue
                version = past[place - 1]
            if version.raw is not None:
                yield version

    def live(self, resource_type: str) -> list[Version]:
        """Current versions that are not deletions."""
        return list(self.as_of(resource_type, self.ids(resource_type), self.last_seq))

    def counts(self) -> dict[str, int]:
        """Live resources by type."""
        counts = {resource_type: len(self.live(resource_type)) for resource_type in sorted(self._resources)}
        return {resource_type: count for resource_type, count in counts.items() if count}
