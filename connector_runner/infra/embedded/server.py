"""Starting, finding and stopping a server that outlives its launcher."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import psutil

from connector_runner.infra.embedded.home import Home, choose_port, port_is_free, token_of
from connector_runner.infra.embedded.programs import Account, account_for, arguments_of, can_enter, give
from connector_runner.kernel.errors import Misconfigured, Unavailable

# Recovery after a crash replays at most max_wal_size of log, or the whole append-only file.
START_WAIT_S = 300.0
STOP_WAIT_S = 30.0
ELSEWHERE = Path("/var/lib/connector_runner")
"""Holds the data when the home lies where the servers' account cannot go."""

# A Popen that is collected while its server runs would warn; the servers are meant to outlive it.
_started: list[subprocess.Popen[bytes]] = []


class Server(ABC):
    """One embedded server of one home. Subclasses say how their program is prepared, started and asked."""

    kind: str
    stop_signal: int
    abrupt_signal: int

    def __init__(self, home: Home) -> None:
        self.home = home

    @abstractmethod
    def url(self) -> str:
        """URL for the product, whether or not the server runs."""

    @abstractmethod
    def _answers(self, entry: dict[str, Any]) -> bool:
        """Whether our server, not just any, takes a command on the recorded port."""

    @abstractmethod
    def _secrets(self) -> dict[str, str]:
        """New passwords for a server that is set up for the first time."""

    @abstractmethod
    def _prepare(self, data: Path, account: Account | None, entry: dict[str, Any]) -> list[str]:
        """Bring the data folder about; the command that serves it."""

    @abstractmethod
    def _input(self, entry: dict[str, Any]) -> bytes:
        """What the program reads on its standard input: what must not show in the list of processes."""

    @abstractmethod
    def _after_start(self, entry: dict[str, Any]) -> None:
        """Bring roles and databases about; must be repeatable: whoever started the server may have died before it."""

    def _is_set_up(self, entry: dict[str, Any]) -> bool:
        """Whether that was done to the end."""
        return True

    @abstractmethod
    def _is_main(self, arguments: list[str]) -> bool:
        """Whether a process that ``_owns`` knows is the server itself rather than a child of it."""

    @abstractmethod
    def _owns(self, arguments: list[str], token: str) -> bool:
        """Whether a process with this command line is part of the server that ``token`` marks."""

    def ready(self) -> bool:
        """Whether the server runs and answers, and holds what it is to hold."""
        entry = self._own_entry()
        return bool(entry) and self._answers(entry) and self._is_set_up(entry)

    def ensure(self) -> bool:
        """Have the server running; True when it had to be started."""
        if self.ready():
            return False
        with self.home.lock(self.kind):
            return self._ensure_locked()

    def stop(self) -> None:
        """Stop the server if it runs."""
        if not self.home.path.is_dir():
            return
        with self.home.lock(self.kind):
            self._signal_and_wait(self._processes(), self.stop_signal)

    def restart(self, *, abrupt: bool = False, wipe: bool = False) -> None:
        """Stop and start on the same port: ``abrupt`` as a crash would, ``wipe`` with its data gone."""
        with self.home.lock(self.kind):
            self._signal_and_wait(self._processes(), self.abrupt_signal if abrupt or wipe else self.stop_signal)
            if wipe:
                shutil.rmtree(self._data(self._own_entry()))
            self._ensure_locked()

    def erase(self) -> None:
        """Delete the data of a stopped server."""
        if not self.home.path.is_dir():
            return
        with self.home.lock(self.kind):
            data = self._data(self._own_entry())
            if data.is_dir():
                shutil.rmtree(data)
            if data.parent.parent == ELSEWHERE:
                for folder in (data.parent, ELSEWHERE):
                    if folder.is_dir() and not any(folder.iterdir()):
                        folder.rmdir()

    def _ensure_locked(self) -> bool:
        self._settle_move()
        entry = self.home.read(self.kind)
        if not entry:
            entry = {"port": choose_port(), **self._secrets()}
        alive = self._processes()
        main = [process for process in alive if self._is_main(process.info["cmdline"])]
        if main and self._wait_until_ready(entry, main):
            self._after_start(entry)
            return False
        self._signal_and_wait(alive, self.stop_signal)
        self._start(entry)
        return True

    def _start(self, entry: dict[str, Any]) -> None:
        for _ in range(5):
            if not port_is_free(entry["port"]):
                entry["port"] = choose_port()
            data, account = self._place(entry)
            entry.update(home=str(self.home.path), data=str(data))
            self.home.write(self.kind, entry)
            process = self._launch(self._prepare(data, account, entry), account, entry)
            if self._wait_until_ready(entry, [psutil.Process(process.pid)]):
                self._after_start(entry)
                return
            if process.poll() is None:
                self._signal_and_wait(self._processes(), self.abrupt_signal)
                break
            if port_is_free(entry["port"]):
                break  # it did not die of a port that somebody else took meanwhile
        raise Unavailable(
            f"the embedded {self.kind} does not start; its reasons are in {self._log()}",
            code=f"{self.kind}_not_started",
            where=str(self.home.path),
        )

    def _launch(self, command: list[str], account: Account | None, entry: dict[str, Any]) -> subprocess.Popen[bytes]:
        log = self._log()
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            with tempfile.TemporaryFile() as given:  # complete before the start: nothing is lost if we die now
                given.write(self._input(entry))
                given.seek(0)
                process = subprocess.Popen(
                    command,
                    stdin=given,
                    stdout=descriptor,
                    stderr=descriptor,
                    start_new_session=True,  # a Ctrl-C is for the stack, which then stops us in order
                    **arguments_of(account),
                )
        except OSError as exc:
            raise Misconfigured(
                f"the embedded {self.kind} cannot be started ({type(exc).__name__})",
                code=f"{self.kind}_not_started",
            ) from None
        finally:
            os.close(descriptor)
        _started.append(process)
        return process

    def _log(self) -> Path:
        return self.home.path / f"{self.kind}.log"

    def _own_entry(self) -> dict[str, Any]:
        """The record, unless it came here with a copied or moved folder: then its port is not ours."""
        entry = self.home.read(self.kind)
        return entry if entry.get("home") == str(self.home.path) else {}

    def _settle_move(self) -> None:
        """Make a record that was copied or moved here ours."""
        entry = self.home.read(self.kind)
        before = entry.get("home")
        if before is None or before == str(self.home.path):
            return
        if Path(before).is_dir():  # copied: the original keeps its port, its server and data outside the home
            if Path(entry["data"]).parent.parent == ELSEWHERE:
                entry = {}
        else:  # moved, perhaps while the server was running
            self._signal_and_wait(self._processes(token_of(before)), self.stop_signal)
        if entry:
            if Path(entry["data"]).parent == Path(before):
                entry["data"] = str(self.home.path / self.kind)
            entry.update(home=str(self.home.path), port=choose_port())
        self.home.write(self.kind, entry or None)

    def _data(self, entry: dict[str, Any]) -> Path:
        return Path(entry.get("data", self.home.path / self.kind))

    def _place(self, entry: dict[str, Any]) -> tuple[Path, Account | None]:
        """The data folder and the account that serves it."""
        data = self._data(entry)
        account = account_for(data)
        if account is None or data.parent != self.home.path:
            return data, account
        if not can_enter(account, self.home.path):
            mode = self.home.path.stat().st_mode
            self.home.path.chmod(mode | 0o011)  # pass through, not list; what is secret in it is 0600
        if can_enter(account, self.home.path):
            return data, account
        if data.exists():
            raise Misconfigured(
                f"the account that owns {data} can no longer reach it; a folder above denies it",
                code="home_unreachable",
                where="CONNECTOR_RUNNER_HOME",
            )
        root = self._elsewhere().parent
        try:
            root.mkdir(parents=True, exist_ok=True)
            for folder in (ELSEWHERE, root):
                folder.chmod(0o755)
        except OSError:
            raise Misconfigured(
                f"the servers' account can reach neither {self.home.path} nor {root}",
                code="home_unreachable",
                where="CONNECTOR_RUNNER_HOME",
            ) from None
        return root / self.kind, account_for(root / self.kind)

    def _elsewhere(self) -> Path:
        return ELSEWHERE / self.home.token / self.kind

    def _processes(self, token: str | None = None) -> list[psutil.Process]:
        """The running processes of this server, found by the mark in their command line.

        Not by a recorded number, which a killed launcher may not have come to write, and not by their folder,
        which root in a container may not look up.
        """
        token = token or self.home.token
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if self._owns(process.info["cmdline"] or [], token) and process.pid != os.getpid()
        ]

    def _wait_until_ready(self, entry: dict[str, Any], processes: list[psutil.Process]) -> bool:
        """Wait while the server lives and recovers; False when it died or never answered."""
        deadline = time.monotonic() + START_WAIT_S
        pause = 0.01
        while time.monotonic() < deadline:
            if not any(is_running(process) for process in processes):
                return False
            if "home" in entry and self._answers(entry):
                return True
            time.sleep(pause)
            pause = min(pause * 1.5, 0.25)
        return False

    def _signal_and_wait(self, processes: list[psutil.Process], number: int) -> None:
        """Signal the processes of the server, then kill what is left; returns when none is."""
        numbers = {process.pid for process in processes}
        for process in processes:
            if _parent(process) not in numbers:  # the others are for their parent to stop
                self._send(process, number)
        _, left = psutil.wait_procs(processes, timeout=STOP_WAIT_S if processes else 0)
        for process in left:
            self._send(process, 9)
        _, left = psutil.wait_procs(left, timeout=STOP_WAIT_S if left else 0)
        late = self._processes() if processes else []  # children that a dying parent left behind
        for process in late:
            self._send(process, 9)
        if psutil.wait_procs(left + late, timeout=STOP_WAIT_S if left or late else 0)[1]:
            raise Unavailable(f"the embedded {self.kind} does not stop", code=f"{self.kind}_not_stopped")

    def _send(self, process: psutil.Process, number: int) -> None:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            return
        except psutil.AccessDenied:
            raise Misconfigured(
                f"the embedded {self.kind} runs under another account (process {process.pid})",
                code="home_of_another",
                where="CONNECTOR_RUNNER_HOME",
            ) from None


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def make_folder(path: Path, account: Account | None) -> None:
    """A folder that only ``account`` can look into."""
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    give(path, account)


def is_running(process: psutil.Process) -> bool:
    """Whether a process lives; one that died unread (a zombie) does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
