"""Streaming parse of NDJSON: one resource, or one Bundle, a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

from connector_runner.infra import quick_json
from connector_runner.intake.imports.items import KEPT_OF_A_FAULT, Entry, Fault, Item, Line, Unread
from connector_runner.intake.imports.text import READ_BYTES
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord

# How nearly every exporter begins a resource.
_BEGINNING = re.compile(rb'\{"resourceType": ?"([A-Z][A-Za-z]{1,63})", ?"id": ?"([A-Za-z0-9.\-]{1,64})"')


class LineParser:
    """Parses one file of lines; can be resumed behind any line with what ``checkpoint`` said."""

    bundle_type: str | None = None

    def __init__(
        self,
        read: Callable[[int], bytes],
        *,
        max_bytes: int,
        state: dict[str, Any] | None = None,
        unparsed: bool = False,
    ) -> None:
        """``read`` answers up to about n bytes, none at the end, beginning at the state's ``byte``.

        ``unparsed``: a line that begins as resources do is left as a Line, for ``parse_line``.
        """
        self._unparsed = unparsed
        state = state or {}
        self._read = read
        self._max = max_bytes
        self._line: int = state.get("n", 0)
        self._byte: int = state.get("byte", 0)

    def checkpoint(self) -> dict[str, Any]:
        """Where the last line ended; ``byte`` is where a stream to resume from has to begin."""
        return {"n": self._line, "byte": self._byte}

    def items(self) -> Iterator[Sequence[Unread]]:
        """The entries and faults of each line that is not empty."""
        for line, size, ended in self._lines():
            self._line += 1
            self._byte += size
            if size > self._max:
                message = f"a resource is larger than {self._max} bytes"
                yield [Fault(f"line {self._line}", "too_large", message, line[:KEPT_OF_A_FAULT])]
            elif line and not line.isspace():
                yield self._parse(line.strip(b" \t\r\n"), ended)

    def _lines(self) -> Iterator[tuple[bytes, int, bool]]:
        """Each line, its size with its end, and whether it has one; of a line too large only the first part."""
        rest, dropped = b"", 0
        while data := self._read(READ_BYTES):
            first, *others = data.split(b"\n")
            if not others:
                rest, dropped = self._hold(rest + first, dropped)
                continue
            rest, dropped = self._hold(rest + first, dropped)
            yield rest, len(rest) + dropped + 1, True
            dropped = 0
            for line in others[:-1]:
                yield line, len(line) + 1, True
            rest = others[-1]
        if rest:
            yield rest, len(rest) + dropped, False

    def _hold(self, line: bytes, dropped: int) -> tuple[bytes, int]:
        if len(line) + dropped <= self._max:
            return line, dropped
        return line[:KEPT_OF_A_FAULT], dropped + len(line[KEPT_OF_A_FAULT:])

    def _parse(self, line: bytes, ended: bool) -> Sequence[Unread]:
        place = f"line {self._line}"
        begins = _BEGINNING.match(line) if self._unparsed else None
        if begins is None or begins[1] == b"Bundle":
            return _parsed(place, line, ended, self._byte)
        name = (begins[1].decode(), begins[2].decode())
        return [Line(place, line, name, blake2b(line, digest_size=16).digest(), ended, self._byte)]


def parse_line(line: Line) -> list[Item]:
    """What is on a line that was left unparsed."""
    return _parsed(line.place, line.raw, line.ended, line.at_byte, line.raw_hash, line.name)


def _parsed(
    place: str,
    line: bytes,
    ended: bool,
    at_byte: int,
    raw_hash: bytes | None = None,
    name: tuple[str, str] | None = None,
) -> list[Item]:
    try:
        value = quick_json.loads(line)
    except BadRecord as error:
        told = error.message.replace("at line 1 column", "at column")
        if not ended and error.code == "not_json":
            message = f"the file ends early, at byte {at_byte}: {told}"
            return [Fault(place, "truncated", message, line)]
        return [Fault(place, error.code, told, line)]
    if isinstance(value, dict) and value.get("resourceType") == "Bundle":
        return entries_of(value, place, line)
    return [Entry(place, value, line.removeprefix(b"\xef\xbb\xbf"), raw_hash=raw_hash, name=name)]


def entries_of(bundle: dict[str, Any], place: str, raw: bytes) -> list[Item]:
    """The entries of a Bundle that was parsed whole."""
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        return [Fault(f"{place} entry", "wrong_type", "a Bundle's entry is a list", raw)]
    return [_entry(f"{place} entry[{n}]", value) for n, value in enumerate(entries)]


def _entry(place: str, value: Any) -> Item:
    if not isinstance(value, dict):
        return Fault(place, "wrong_type", "an entry is an object", exact_json.dumps(value).encode())
    resource, full_url = value.get("resource"), value.get("fullUrl")
    request, response, search = value.get("request"), value.get("response"), value.get("search")
    return Entry(
        place,
        resource,
        b"" if resource is None else exact_json.dumps(resource).encode(),
        full_url=full_url if isinstance(full_url, str) else None,
        request=None if request is None else request if isinstance(request, dict) else {},
        response=response if isinstance(response, dict) else None,
        search_mode=search.get("mode") if isinstance(search, dict) else None,
    )
