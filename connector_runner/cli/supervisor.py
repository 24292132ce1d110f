"""Start processes, start them again when they die, stop them all: what a PaaS does, for one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from connector_runner.infra.logging import get_logger

log = get_logger(__name__)

GRACE_S = 27.0
"""Between asking to stop and making it stop; a PaaS kills after thirty seconds."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _STEADY_S = 0.5, 30.0, 60.0


@dataclass
class Child:
    """One process that should run. ``grace_s`` is how long it may take to stop."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_file: Path
    grace_s: float = GRACE_S
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    _pause_s: float = field(default=_FIRST_PAUSE_S, repr=False)
    _start_after: float = field(default=0.0, repr=False)
    _started_at: float = field(default=0.0, repr=False)

    def tend(self) -> None:
        """Start it if it does not run, after a pause that grows while it keeps dying."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._start_after:
                self._start(now)
        elif (code := self.process.poll()) is not None:
            self._pause_s = _FIRST_PAUSE_S if now - self._started_at > _STEADY_S else self._pause_s * 2
            self._pause_s = min(self._pause_s, _LONGEST_PAUSE_S)
            self._start_after = now + self._pause_s
            self.process = None
            self.restarts += 1
            log.warning("child.died", kind=self.name, status=code, again_in_s=self._pause_s)

    def _start(self, now: float) -> None:
        with self.log_file.open("ab") as output:
            # A session of its own: Ctrl-C on the terminal reaches the supervisor, which stops it in its turn.
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started_at = now


class Supervisor:
    """Keeps children running until ``stop``."""

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = list(children)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._tend, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start all, and go on looking after them."""
        for child in self.children:
            child.tend()
        self._thread.start()

    def stop(self) -> None:
        """Ask all to stop, then make those stop that do not in time; whatever they started goes with them."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        running = [child for child in self.children if child.process is not None and child.process.poll() is None]
        for child in running:
            _signal(child, signal.SIGTERM, group=False)
        began = time.monotonic()
        for child in running:
            assert child.process is not None
            try:
                child.process.wait(max(0.1, began + child.grace_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("child.killed", kind=child.name)
            _signal(child, signal.SIGKILL, group=True)
            child.process.wait()

    def _tend(self) -> None:
        while not self._ending.wait(0.25):
            for child in self.children:
                child.tend()


def _signal(child: Child, number: signal.Signals, *, group: bool) -> None:
    assert child.process is not None
    try:
        if group:
            os.killpg(child.process.pid, number)
        else:
            child.process.send_signal(number)
    except ProcessLookupError:
        return  # gone already, with all that it started
