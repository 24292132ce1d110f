"""The journal of requests: what arrived, and what became of it."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .commits import LineFile

_KEPT = 100_000


@dataclass(slots=True)
class Entry:
    """One request. ``time`` is when it arrived, in seconds since 1970; ``status`` is None without an answer.

    ``resource`` is ``Type/id``, or ``Type`` when it is about no particular one; ``resources`` are all that it
    wrote; ``committed`` is whether it wrote any.
    """

    seq: int
    time: float
    method: str
    path: str
    resource: str | None = None
    status: int | None = None
    committed: bool = False
    fault: str | None = None
    resources: list[str] = field(default_factory=list)


class Journal:
    """The latest requests, in order of arrival; on disk too when it has a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._file = LineFile(folder / "requests.ndjson") if folder else None
        self._next = 1
        if self._file:
            self._load(self._file)

    def _load(self, file: LineFile) -> None:
        # An entry that changed later was written again: the last one holds.
        by_seq = {line["seq"]: Entry(**{**line, "time": float(line["time"])}) for line in file.read()}
        self._entries.extend(by_seq[seq] for seq in sorted(by_seq))
        if self._entries:
            self._next = self._entries[-1].seq + 1
        file.restart(asdict(entry) for entry in self._entries)

    def arrived(self, method: str, path: str, resource: str | None) -> Entry:
        """Note a request; the caller fills in what becomes of it, then calls :meth:`keep`."""
        entry = Entry(self._next, time.time(), method, path, resource)
        self._next += 1
        self._entries.append(entry)
        return entry

    def keep(self, entry: Entry) -> None:
        """Write an entry to disk as it is now."""
        if self._file:
            self._file.append(asdict(entry))

    def since(self, seq: int) -> list[dict[str, Any]]:
        """Entries after ``seq``."""
        return [asdict(entry) for entry in self._entries if entry.seq > seq]

    def clear(self) -> None:
        """Forget all; numbers go on."""
        self._entries.clear()
        if self._file:
            self._file.restart()
