"""Which slices of work run in this process, and since when."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_started: dict[int, tuple[str, float]] = {}


@contextmanager
def slice_of(task: str) -> Iterator[None]:
    """Note that this thread runs ``task`` while inside the block."""
    thread = threading.get_ident()
    _started[thread] = (task, time.monotonic())
    try:
        yield
    finally:
        _started.pop(thread, None)


def oldest() -> tuple[str, float] | None:
    """The task that has run longest and for how many seconds, or None when nothing runs."""
    if not (now_running := list(_started.values())):
        return None
    task, since = min(now_running, key=lambda entry: entry[1])
    return task, time.monotonic() - since


def count() -> int:
    """How many slices run now."""
    return len(_started)
