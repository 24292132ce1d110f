"""Arms a process of the product to kill itself, without a word, at a chosen point.

Python imports a module of this name at start when its folder is on the path, so it reaches a worker through
whatever starts it. ``CRASH_AT`` is POINT:NTH:TOKEN; POINT is before_commit, after_commit, before_request or
after_request. The process group dies at the NTH time that one of its processes comes to the point. The file
TOKEN says that it has not happened yet.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connector_runner.infra.database import Database, Tx
from connector_runner.infra.http import HTTP

_point, _nth, _token = os.environ["CRASH_AT"].split(":", 2)
POINT, NTH, TOKEN = _point, int(_nth), Path(_token)
_lock = threading.Lock()
_seen = 0


def reached(point: str) -> None:
    """Die here when it is time."""
    global _seen
    if point != POINT:
        return
    with _lock:
        _seen += 1
        if _seen == NTH and TOKEN.exists():
            TOKEN.unlink()
            os.killpg(os.getpgid(0), signal.SIGKILL)


def arm() -> None:
    """Put the points into the way of every commit of a workspace and every HTTP call."""
    transaction, request = Database._transaction, HTTP.request

    @contextmanager
    def counted_transaction(self: Database, setting: str, value: str) -> Iterator[Tx]:
        with transaction(self, setting, value) as tx:
            yield tx
            if setting == "app.workspace_id":
                reached("before_commit")
        if setting == "app.workspace_id":
            reached("after_commit")

    def counted_request(self: HTTP, *arguments: Any, **options: Any) -> Any:
        reached("before_request")
        answer = request(self, *arguments, **options)
        reached("after_request")
        return answer

    Database._transaction = counted_transaction  # type: ignore[method-assign]
    HTTP.request = counted_request  # type: ignore[method-assign]


arm()
