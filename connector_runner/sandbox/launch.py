"""Start simulated systems as processes, and stop them."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .api import CrmApi, FhirApi

_STOP_S = 5.0


class NotStarted(RuntimeError):
    """A simulated system did not come up."""


def base_path(system: str) -> str:
    """The path below which a system of that name has its API."""
    return CrmApi.base if system == "crm" else FhirApi.base


@dataclass(frozen=True, slots=True)
class Running:
    """A simulated system that listens. Use as a context manager to stop it at the end."""

    system: str
    origin: str
    process: subprocess.Popen[bytes]

    @property
    def base_url(self) -> str:
        """Where its API begins."""
        return self.origin + base_path(self.system)

    @property
    def switchboard(self) -> str:
        """Where its journal and its faults are."""
        return f"{self.origin}/_sandbox"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.origin.rpartition(":")[2])

    def stop(self) -> None:
        """Ask it to end, and make it end when it does not within five seconds."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._gone()

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.process.kill()
        self._gone()

    def _gone(self) -> None:
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def command(
    system: str,
    *,
    port: int = 0,
    seed: int = 7,
    patients: int | None = None,
    change_every: float = 0,
    state: Path | None = None,
    rate: float = 0,
    burst: float = 1,
    vendor: str = "",
    auth: str = "",
    clients: Path | None = None,
) -> list[str]:
    """The command line of a simulated system."""
    words = [sys.executable, "-m", "connector_runner.sandbox", "--system", system, "--port", str(port)]
    words += ["--seed", str(seed), "--change-every", str(change_every), "--rate", str(rate), "--burst", str(burst)]
    if patients is not None:
        words += ["--patients", str(patients)]
    if state is not None:
        words += ["--state", str(state)]
    if vendor:
        words += ["--vendor", vendor]
    if auth:
        words += ["--auth", auth]
    if clients is not None:
        words += ["--clients", str(clients)]
    return words


def start(
    system: str,
    port: int = 0,
    *,
    seed: int = 7,
    patients: int | None = None,
    change_every: float = 0,
    state: Path | None = None,
    rate: float = 0,
    burst: float = 1,
    vendor: str = "",
    auth: str = "",
    clients: Path | None = None,
    timeout_s: float = 60,
) -> Running:
    """Start a system and wait until it listens; ``NotStarted`` when it does not. It logs to our stderr."""
    words = command(
        system,
        port=port,
        seed=seed,
        patients=patients,
        change_every=change_every,
        state=state,
        rate=rate,
        burst=burst,
        vendor=vendor,
        auth=auth,
        clients=clients,
    )
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment)
    try:
        line = _first_line(process, timeout_s)
    except BaseException:
        process.kill()
        process.wait()
        raise
    word, _, origin = line.partition(" ")
    if word != "listening":
        process.kill()
        process.wait()
        raise NotStarted(f"system {system!r} ended with exit code {process.returncode}")
    return Running(system, origin, process)


def _first_line(process: subprocess.Popen[bytes], timeout_s: float) -> str:
    assert process.stdout is not None
    deadline, line = time.monotonic() + timeout_s, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise NotStarted(f"not listening after {timeout_s:g} s")
            part = os.read(process.stdout.fileno(), 4096)
            if not part:
                break
            line += part
    return line.decode().strip()
