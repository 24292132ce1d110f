"""What the benchmarks share: embedded servers of their own, CPU accounting over processes, and figures out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import psutil
import psycopg2

from connector_runner.infra import migrations
from connector_runner.infra.database import Database, execute
from connector_runner.infra.embedded.ephemeral import EphemeralServices
from connector_runner.kernel.ids import new_id

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Bench:
    """Servers of one run, and the CPU that Postgres has used."""

    database_url: str
    redis_url: str
    admin_url: str
    home: Path
    postmaster: psutil.Process

    def postgres_cpu_s(self) -> float:
        """CPU seconds of the postmaster and every backend, ended ones included."""
        return cpu_s_of(self.postmaster)

    def checkpoint(self) -> None:
        """Have Postgres write what is dirty, so that what is measured next does not do it."""
        connection = psycopg2.connect(self.admin_url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("CHECKPOINT")
        finally:
            connection.close()

    def database(self) -> Database:
        """The application's role on the benchmark's database."""
        return Database(self.database_url)

    def workspace(self, slug: str) -> str:
        """A new workspace."""
        workspace_id = new_id()
        with self.database().begin(workspace_id) as tx:
            execute(tx, "INSERT INTO workspace (workspace_id, slug) VALUES (:id, :slug)", id=workspace_id, slug=slug)
        return workspace_id

    def environment(self) -> dict[str, str]:
        """For processes of the product that use these servers."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return kept | {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "CONNECTOR_RUNNER_HOME": str(self.home),
            "CONNECTOR_RUNNER_HTTP_ALLOW": "127.0.0.1",
        }


def cpu_s_of(parent: psutil.Process) -> float:
    """CPU seconds of a process, of those that it has waited for, and of those of its that run."""
    total = sum(parent.cpu_times()[:4])
    for child in parent.children():
        try:
            total += _running_s(child)
        except psutil.NoSuchProcess:
            continue
    return float(total)


def _running_s(process: psutil.Process) -> float:
    """CPU seconds of one process of one thread: to the nanosecond where the kernel tells, as its ticks are of 10 ms."""
    try:
        return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        return float(sum(process.cpu_times()[:2]))


@contextmanager
def bench() -> Iterator[Bench]:
    """Fresh embedded Postgres and Redis with the schema, stopped at the end."""
    with EphemeralServices() as ephemeral:
        migrations.upgrade(ephemeral.services.database_url)
        home = Path(ephemeral.home)
        yield Bench(
            ephemeral.services.database_url,
            ephemeral.services.redis_url,
            ephemeral.admin_url,
            home,
            _postmaster(ephemeral.services.database_url),
        )


def _postmaster(url: str) -> psutil.Process:
    database = Database(url)
    with database.engine.connect() as connection:
        backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        parent = psutil.Process(backend).parent()
    database.dispose()
    if parent is None:
        raise RuntimeError("the backend has no postmaster")
    return parent


@dataclass(frozen=True)
class Run:
    """One finished process: its CPU seconds and its peak resident memory."""

    cpu_s: float
    peak_mb: float
    stdout: str


def run(arguments: Sequence[str], environment: dict[str, str]) -> Run:
    """Run a process to its end; its own CPU and that of the children it waited for."""
    with subprocess.Popen(arguments, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        peak = Peak(process.pid)
        stdout = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}:\n{stdout}")
    return Run(usage.ru_utime + usage.ru_stime, peak.megabytes, stdout)


class Peak:
    """The resident memory of a process, looked at twenty times a second.

    The kernel's own high-water mark counts the memory of the process that forked it.
    """

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        threading.Thread(target=self._watch, args=(psutil.Process(pid),), daemon=True).start()

    def _watch(self, process: psutil.Process) -> None:
        while True:
            try:
                self.megabytes = max(self.megabytes, process.memory_info().rss / 2**20)
            except psutil.NoSuchProcess:
                return
            time.sleep(0.05)


def people(directory: Path, resources: int, seed: int = 1) -> int:
    """Write the sandbox's generated population as NDJSON; the bytes written."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "connector_runner.sandbox.people", "--resources", str(resources), "--seed", str(seed),
         "--out", str(directory)],
        check=True,
        cwd=ROOT,
    )  # fmt: skip
    return sum(path.stat().st_size for path in directory.iterdir())


def birth_date(n: int) -> str:
    """Of the n-th person: few share one, or a sink asked for who could be the same would answer with all of them."""
    return str(date(1930, 1, 1) + timedelta(days=n % 30_000))


def report(name: str, figures: dict[str, object]) -> None:
    """Print figures as one JSON line."""
    print(json.dumps({"benchmark": name} | figures), flush=True)
