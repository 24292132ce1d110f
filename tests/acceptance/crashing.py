"""Run a command of the product that kills itself, without a word, at a chosen point.

    python -m tests.acceptance.crashing POINT NTH TOKEN worker --pool io

POINT is before_commit, after_commit, before_request or after_request; the process dies at the NTH time that it
comes to it. The file TOKEN says that it has not happened yet, so a restarted child dies no second time.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connector_runner.cli.main import main
from connector_runner.infra.database import Database, Tx
from connector_runner.infra.http import HTTP

POINT, NTH, TOKEN = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
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
            parent = os.getppid()
            os.killpg(os.getpgid(0), signal.SIGKILL) if parent else os.kill(os.getpid(), signal.SIGKILL)


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


if __name__ == "__main__":
    arm()
    sys.argv = ["connector-runner", *sys.argv[4:]]
    main()
