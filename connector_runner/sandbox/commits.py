"""A file of what was committed, so that a system that is killed comes back with its resources."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .fhir_json import Json, dumps, loads


@dataclass(frozen=True, slots=True)
class Record:
    """One version as it was written; ``resource`` is None for a deletion."""

    resource_type: str
    id: str
    method: str
    updated_ms: int
    resource: Json | None


class LineFile:
    """JSON lines, each written with one system call: a killed process leaves at most one torn line, the last."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - kept open for the life of the process

    def read(self) -> list[Json]:
        """Every whole line; what follows the last whole one is cut off."""
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self._path, whole)
        return [loads(line) for line in data[:whole].splitlines()]

    def append(self, line: Json) -> None:
        """Add one line."""
        data = memoryview(dumps(line) + b"\n")
        while data:
            data = data[self._file.write(data) or 0 :]

    def restart(self, lines: Iterable[Json] = ()) -> None:
        """Replace the whole content."""
        self._file.truncate(0)
        for line in lines:
            self.append(line)


class CommitFile:
    """One line a commit, so a transaction is there as a whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._lines = LineFile(folder / "commits.ndjson")

    def read(self) -> tuple[str | None, list[Record]]:
        """The epoch, None for a new file, and every version in order."""
        lines = self._lines.read()
        if not lines:
            return None, []
        return lines[0]["epoch"], [Record(*record) for line in lines[1:] for record in line["commit"]]

    def append(self, records: Iterable[Record]) -> None:
        """Add one commit."""
        rows = [[r.resource_type, r.id, r.method, r.updated_ms, r.resource] for r in records]
        self._lines.append({"commit": rows})

    def restart(self, epoch: str) -> None:
        """Begin anew."""
        self._lines.restart([{"epoch": epoch}])
