"""Cuts a stream of NDJSON into pieces of whole lines. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

_BEGINNING: Final = re.compile(rb'\s*\{"resourceType": ?"Patient", ?"id": ?"([A-Za-z0-9.\-]{1,64})"')


class LineCutter:
    """Takes bytes as they come and gives pieces that end with a line; holds one piece and one line at the most.

    Of a line longer than ``most_line`` only so much is kept that whoever reads it sees that it is too long.
    """

    def __init__(self, most_line: int) -> None:
        self._most = most_line
        self._held = bytearray()
        self._dropping = False
        self._dropped = 0
        self.consumed = 0
        """Bytes of the stream in the pieces given so far."""
        self.lines = 0
        """Lines given so far that are not empty."""

    def feed(self, data: bytes) -> None:
        """Add what came."""
        if self._dropping:
            head, newline, rest = data.partition(b"\n")
            self._dropped += len(head)
            if not newline:
                return
            self._dropping = False
            self._held += b"\n"
            data = rest
        self._held += data
        begin = self._held.rfind(b"\n") + 1
        if len(self._held) - begin > self._most:
            excess = len(self._held) - begin - self._most - 1
            del self._held[begin + self._most + 1 :]
            self._dropped += max(excess, 0)
            self._dropping = True

    def take(self, at_least: int) -> bytes:
        """The whole lines that came, when they are that many bytes; else nothing."""
        end = 0 if self._dropping else self._held.rfind(b"\n") + 1
        return self._give(end) if end and end >= at_least else b""

    def rest(self) -> bytes:
        """What is left at the end of the stream; its last line may lack its end."""
        return self._give(len(self._held))

    def _give(self, end: int) -> bytes:
        piece = bytes(self._held[:end])
        del self._held[:end]
        self.lines += sum(1 for _ in lines_of(piece))
        self.consumed += len(piece) + self._dropped
        self._dropped = 0
        return piece


def lines_of(piece: bytes) -> Iterator[bytes]:
    """The lines of a piece that are not empty."""
    return (line for line in piece.split(b"\n") if line and not line.isspace())


def patients_of(piece: bytes) -> Iterator[str]:
    """The ids of the patients among the lines of a piece."""
    for line in lines_of(piece):
        begins = _BEGINNING.match(line)
        if begins is not None:
            yield begins[1].decode()
            continue
        try:
            resource = json.loads(line)
        except (ValueError, RecursionError):
            continue  # quarantined when it lands
        if (
            isinstance(resource, dict)
            and resource.get("resourceType") == "Patient"
            and isinstance(resource.get("id"), str)
        ):
            yield resource["id"]
