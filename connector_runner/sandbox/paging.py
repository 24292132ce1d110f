"""Pages that stay as they were when the first one was asked for, whatever is written meanwhile.

A next link carries the query, a place in time and an offset, so it outlives a restart of the system.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from .fhir_json import dumps, loads
from .messages import Pairs
from .outcomes import FhirError
from .store import Store, Version

_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: ``seq`` is the place in time, None for rows as they are now."""

    path: str
    pairs: Pairs
    seq: int | None
    offset: int

    def token(self, epoch: str) -> str:
        """Opaque text for a link."""
        value = [epoch, self.path, self.pairs, self.seq, self.offset]
        return base64.urlsafe_b64encode(dumps(value)).rstrip(b"=").decode()

    @staticmethod
    def parse(token: str, epoch: str) -> Cursor:
        """The cursor of a link; ``FhirError`` 400 when it is none, 410 when the system was reset since."""
        try:
            padded = token.encode() + b"=" * (-len(token) % 4)
            its_epoch, path, pairs, seq, offset = loads(base64.urlsafe_b64decode(padded))
        except (ValueError, TypeError, binascii.Error):
            raise FhirError(400, "this is no page of ours", code="value") from None
        if its_epoch != epoch:
            raise FhirError(410, "this page is gone, begin anew", code="expired")
        return Cursor(path, [(name, value) for name, value in pairs], seq, offset)


class Pages:
    """The latest result lists, so that later pages need no new search."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lists: OrderedDict[tuple[str, str, str, int], list[Version]] = OrderedDict()

    def rows(self, cursor: Cursor, find: Callable[[int], list[Version]]) -> list[Version]:
        """The whole list that ``cursor`` is a page of; ``find`` makes it for a place in time."""
        if cursor.seq is None:
            return find(self._store.last_seq)
        if self._store.is_dirty:
            return find(cursor.seq)
        key = (self._store.epoch, cursor.path, repr(cursor.pairs), cursor.seq)
        rows = self._lists.get(key)
        if rows is None:
            rows = self._lists[key] = find(cursor.seq)
            if len(self._lists) > _REMEMBERED:
                self._lists.popitem(last=False)
        self._lists.move_to_end(key)
        return rows
