"""The folder in which one installation keeps its embedded servers: record, lock, ports.

``services.json`` (0600) holds, for each server, its port, its data folder and its passwords. It is replaced
whole, so a reader never sees half of it, and written before the data that needs its passwords.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from connector_runner.kernel.errors import Misconfigured, Unavailable

LOCK_WAIT_S = 360.0
# Below the ranges from which Linux (32768) and macOS (49152) hand out ports to outgoing connections.
PORTS = range(15_000, 30_000)


class Home:
    """One ``CONNECTOR_RUNNER_HOME``. Creating the object touches nothing on disk."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))

    @property
    def token(self) -> str:
        """A word that marks this home's servers in the list of processes; another checkout has another."""
        return token_of(str(self.path))

    @contextmanager
    def lock(self, kind: str) -> Iterator[None]:
        """One starter or stopper of a server at a time; the lock dies with its process.

        Raises Unavailable when another holds it for six minutes, Misconfigured when the home is not writable.
        """
        self._make()
        try:
            descriptor = os.open(self.path / f"{kind}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise self._unusable(exc) from None
        try:
            self._wait_for(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int, kind: str) -> None:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as exc:
                if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise self._unusable(exc) from None
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"another process has been starting or stopping {kind} for {LOCK_WAIT_S:.0f} s",
                    code="services_locked",
                    where=str(self.path),
                )
            time.sleep(0.05)

    def read(self, kind: str) -> dict[str, Any]:
        """What is recorded of a server; empty when it was never set up."""
        entry = self._record().get(kind, {})
        return dict(entry) if isinstance(entry, dict) else {}

    def write(self, kind: str, entry: dict[str, Any] | None) -> None:
        """Record a server, or forget it. Call it under ``lock(kind)``."""
        with self.lock("services"):
            record = self._record()
            if entry is None:
                record.pop(kind, None)
            else:
                record[kind] = entry
            self._replace("services.json", record)

    def forget(self) -> None:
        """Remove the record of every server."""
        (self.path / "services.json").unlink(missing_ok=True)

    @contextmanager
    def publishing(self, urls: dict[str, object]) -> Iterator[None]:
        """Show ``urls`` to other processes while the block runs."""
        self._make()
        self._replace("stack.json", {"pid": os.getpid(), "since": psutil.Process().create_time(), "urls": urls})
        try:
            yield
        finally:
            (self.path / "stack.json").unlink(missing_ok=True)

    def published(self) -> dict[str, object]:
        """What a process that is still alive publishes, else nothing."""
        record = self._load("stack.json")
        urls = record.get("urls")
        if isinstance(urls, dict) and is_alive(record.get("pid"), record.get("since")):
            return urls
        return {}

    def _record(self) -> dict[str, Any]:
        return self._load("services.json")

    def _load(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as exc:
            raise self._unusable(exc) from None
        except ValueError:
            raise Misconfigured(
                "the file is not JSON; restore it, or delete the folder to begin anew",
                code="home_damaged",
                where=str(self.path / name),
            ) from None
        return value if isinstance(value, dict) else {}

    def _replace(self, name: str, value: dict[str, Any]) -> None:
        temporary = self.path / f"{name}.{os.getpid()}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(value, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path / name)
        except OSError as exc:
            raise self._unusable(exc) from None

    def _make(self) -> None:
        if not self.path.is_dir():
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self.path.chmod(0o700)
            except OSError as exc:
                raise self._unusable(exc) from None

    def _unusable(self, exc: OSError) -> Misconfigured:
        return Misconfigured(
            f"this account cannot use the home folder ({errno.errorcode.get(exc.errno or 0, '?')});"
            " set CONNECTOR_RUNNER_HOME to one of its own",
            code="home_unusable",
            where=str(self.path),
        )


def token_of(path: str) -> str:
    """The mark of the home at ``path``."""
    return "connector_runner-" + hashlib.sha256(path.encode()).hexdigest()[:16]


def is_alive(pid: object, since: object) -> bool:
    """Whether the process that had ``pid`` and started at ``since`` still runs (numbers are used again)."""
    if not isinstance(pid, int) or not isinstance(since, int | float):
        return False
    try:
        process = psutil.Process(pid)
        return bool(abs(process.create_time() - since) < 1 and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose_port() -> int:
    """A free loopback port, at random, so that two checkouts hardly ever choose the same one."""
    for port in random.sample(PORTS, 200):
        if port_is_free(port):
            return port
    raise Unavailable("no free loopback port between 15000 and 29999", code="no_free_port")
