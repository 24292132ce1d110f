"""Which slices of work run in this process, and since when."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_started: dict[int, tuple[str, float]] = {}
_taken: Counter[str] = Counter()
_places = threading.Lock()


@contextmanager
def slice_of(task: str) -> Iterator[None]:
    """Note that this thread runs ``task`` while inside the block."""
    thread = threading.get_ident()
    _started[thread] = (task, time.monotonic())
    try:
        yield
    finally:
        _started.pop(thread, None)


@contextmanager
def share_of(what: str, most: int) -> Iterator[bool]:
    """Take one of ``most`` places for ``what`` in this process while inside the block; False when all are taken."""
    with _places:
        mine = _taken[what] < most
        _taken[what] += mine
    try:
        yield mine
    finally:
        with _places:
            _taken[what] -= mine
            if not _taken[what]:
                del _taken[what]


def oldest() -> tuple[str, float] | None:
    """The task that has run longest and for how many seconds, or None when nothing runs."""
    if not (now_running := list(_started.values())):
        return None
    task, since = min(now_running, key=lambda entry: entry[1])
    return task, time.monotonic() - since


def count() -> int:
    """How many slices run now."""
    return len(_started)
