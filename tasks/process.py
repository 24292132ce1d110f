"""The Runner of this process, built when first needed and anew after a fork."""

from __future__ import annotations

import os
import socket
import threading

from connector_runner.bootstrap import Runner, build
from connector_runner.settings import Settings

_built: dict[int, Runner] = {}


def runner() -> Runner:
    """This process' Runner. Sockets and pools are never shared across a fork."""
    pid = os.getpid()
    found = _built.get(pid)
    # No lock: a fork could copy it held. Two threads that both build keep the first one's.
    return found if found is not None else _built.setdefault(pid, _counting(build(Settings())))


def tell_counters() -> None:
    """Add what this process counted to what all did, now and then; nothing where it did nothing yet."""
    found = _built.get(os.getpid())
    if found is not None:
        found.counters.tell()


def _counting(made: Runner) -> Runner:
    """From now on: what the parent counted before it forked is the parent's."""
    made.counters.tell()
    return made


def owner() -> str:
    """The name under which this process takes leases."""
    return f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
