"""How many deliveries a web process has in hand. Those that come slowly take no place from those that came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from connector_runner.intake.push.receiving import MAX_BYTES

MOST_WAITING = 400
"""Deliveries that came, and are being stored."""
MOST_READ = 4000
"""Deliveries on their way."""
MOST_BYTES = 64 * MAX_BYTES
"""Of the bodies of both."""


class Full(Exception):
    """There is no room now: the sender is to come again."""


@dataclass(slots=True)
class Place:
    """One delivery's part of the room."""

    room: Room
    size: int = 0

    def take(self, size: int) -> None:
        """So many bytes more came. Raises Full."""
        if self.room.size + size > MOST_BYTES:
            raise Full
        self.room.size += size
        self.size += size


class Room:
    """Used by one event loop alone."""

    def __init__(self) -> None:
        self.size = 0
        self._read = self._waiting = 0

    @contextmanager
    def reading(self) -> Iterator[Place]:
        """While a delivery comes and is stored. Raises Full."""
        if self._read >= MOST_READ:
            raise Full
        self._read += 1
        place = Place(self)
        try:
            yield place
        finally:
            self._read -= 1
            self.size -= place.size

    @contextmanager
    def storing(self) -> Iterator[None]:
        """While one that came is stored. Raises Full."""
        if self._waiting >= MOST_WAITING:
            raise Full
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
