"""The embedded Postgres: a superuser for the launcher alone, a plain role that owns the database."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from psycopg2 import sql

from connector_runner.infra.embedded.programs import Account, Program, arguments_of, find_postgres, give
from connector_runner.infra.embedded.server import Server, is_running, make_folder
from connector_runner.kernel.errors import Misconfigured, Unavailable

ADMIN, ROLE, DATABASE = "connector_runner_admin", "connector_runner", "connector_runner"

# Durable as in production: fsync, full_page_writes and synchronous_commit stay on.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_compression": "off",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A refused statement and its DETAIL hold the values it was given, which may be PHI: neither is logged.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


_CGROUP = Path("/sys/fs/cgroup/memory.max")
_LEAST_MB, _MOST_MB = 128, 4096


def shared_buffers(memory: int) -> str:
    """A quarter of the memory, in bytes, as PostgreSQL's documentation advises (section 19.4.1), within bounds.

    It is taken as the data needs it. What does not fit is read through the system's cache, or from the disk.
    """
    return f"{min(max(memory // 4 // 2**20, _LEAST_MB), _MOST_MB)}MB"


def memory_of_this_machine() -> int:
    """Bytes of memory; of a container with a limit, those that it may use."""
    limit = _CGROUP.read_text().strip() if _CGROUP.exists() else ""
    total = psutil.virtual_memory().total
    return min(total, int(limit)) if limit.isdigit() else int(total)


class EmbeddedPostgres(Server):
    """Postgres under one home."""

    kind = "postgres"
    stop_signal = signal.SIGINT  # fast: roll back, checkpoint, exit
    abrupt_signal = signal.SIGQUIT  # immediate: recovery at the next start

    def url(self) -> str:
        """URL of the plain role."""
        entry = self._entry()
        return f"postgresql://{ROLE}:{entry['password']}@127.0.0.1:{entry['port']}/{DATABASE}"

    def admin_url(self) -> str:
        """URL of the superuser, on the maintenance database."""
        entry = self._entry()
        return f"postgresql://{ADMIN}:{entry['admin_password']}@127.0.0.1:{entry['port']}/postgres"

    def _entry(self) -> dict[str, Any]:
        entry = self._own_entry()
        if not entry:
            raise Misconfigured("no embedded Postgres was set up here", code="no_services", where=str(self.home.path))
        return entry

    def _secrets(self) -> dict[str, str]:
        for data in (self.home.path / self.kind, self._elsewhere()):
            if data.exists():
                raise Misconfigured(
                    f"the passwords of {data} are gone; restore the file, or delete that folder",
                    code="home_damaged",
                    where=str(self.home.path / "services.json"),
                )
        return {"password": secrets.token_hex(16), "admin_password": secrets.token_hex(16)}

    def _connect(self, entry: dict[str, Any], database: str = "postgres") -> psycopg2.extensions.connection:
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=entry["port"],
            user=ADMIN,
            password=entry["admin_password"],
            dbname=database,
            connect_timeout=3,
            sslmode="disable",
            application_name="connector_runner launcher",
        )
        connection.autocommit = True
        return connection

    def _answers(self, entry: dict[str, Any]) -> bool:
        try:
            connection = self._connect(entry)
        except psycopg2.OperationalError:
            return False
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_is_in_recovery(), current_setting('cluster_name')")
                row = cursor.fetchone()
            return row is not None and row[0] is False and row[1] == self.home.token
        except psycopg2.Error:
            return False
        finally:
            connection.close()

    def _prepare(self, data: Path, account: Account | None, entry: dict[str, Any]) -> list[str]:
        for leftover in data.parent.glob(f"{data.name}.new-*"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        written_by = data / "PG_VERSION"
        if data.is_dir():
            program = find_postgres(account, int(written_by.read_text().split(".")[0]))
            self._drop_stale_lock(data)
        else:
            program = find_postgres(account, None)
            self._initialise(program, data, account, entry)
        buffers = shared_buffers(memory_of_this_machine())
        settings = {**SETTINGS, "shared_buffers": buffers, "port": str(entry["port"]), "cluster_name": self.home.token}
        return [
            str(program.path),
            "-D",
            str(data),
            *(f"--{name}={value}" for name, value in settings.items()),
        ]

    def _initialise(self, program: Program, data: Path, account: Account | None, entry: dict[str, Any]) -> None:
        """Make the cluster aside and move it into place: one that a crash left half made is never used."""
        new = data.with_name(f"{data.name}.new-{self.home.token}-{secrets.token_hex(4)}")
        make_folder(new, account)
        password = new.with_name(f"{new.name}.password")
        descriptor = os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(entry["admin_password"])
            give(password, account)
            # The built-in locale sorts alike on every system; before 17 it has to be the C library's.
            locale = (
                ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
                if program.version >= 17
                else ["--locale=C.UTF-8"]
            )
            command = [str(program.path.with_name("initdb")), "-D", str(new), "-U", ADMIN, "--encoding=UTF8"]
            command += ["--auth=scram-sha-256", f"--pwfile={password}", *locale]
            result = subprocess.run(command, capture_output=True, check=False, timeout=300, **arguments_of(account))
            if result.returncode != 0:
                self._log().write_bytes(result.stdout + result.stderr)
                raise Unavailable(
                    f"initdb failed; its reasons are in {self._log()}",
                    code="postgres_not_started",
                    where=str(data),
                )
            new.rename(data)
        finally:
            password.unlink(missing_ok=True)
            if new.exists():
                shutil.rmtree(new)

    def _drop_stale_lock(self, data: Path) -> None:
        """Remove a lock file whose process number now belongs to somebody else.

        When that process is gone, Postgres sees by itself that the lock is stale, and looks whether
        backends of the dead server still use its shared memory; that is left to it.
        """
        lock = data / "postmaster.pid"
        try:
            holder = psutil.Process(int(lock.read_text().splitlines()[0]))
            ours = is_running(holder) and self._owns(holder.cmdline(), self.home.token)
        except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
            return
        if not ours:
            lock.unlink()

    def _input(self, entry: dict[str, Any]) -> bytes:
        return b""

    def _after_start(self, entry: dict[str, Any]) -> None:
        connection = self._connect(entry)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,))
                if cursor.fetchone() is None:
                    statement = sql.SQL(
                        "CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD {}"
                    )
                    cursor.execute(statement.format(sql.Identifier(ROLE), sql.Literal(entry["password"])))
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if cursor.fetchone() is None:
                    statement = sql.SQL("CREATE DATABASE {} OWNER {}")
                    cursor.execute(statement.format(sql.Identifier(DATABASE), sql.Identifier(ROLE)))
        finally:
            connection.close()

    def _is_set_up(self, entry: dict[str, Any]) -> bool:
        try:
            connection = self._connect(entry)
        except psycopg2.OperationalError:
            return False
        wanted = "SELECT 1 FROM pg_roles, pg_database WHERE rolname = %s AND datname = %s"
        try:
            with connection.cursor() as cursor:
                cursor.execute(wanted, (ROLE, DATABASE))
                return cursor.fetchone() is not None
        except psycopg2.Error:
            return False
        finally:
            connection.close()

    def _is_main(self, arguments: list[str]) -> bool:
        return f"--cluster_name={self.home.token}" in arguments

    def _owns(self, arguments: list[str], token: str) -> bool:
        # The postmaster keeps its command line, a child is titled `postgres: <cluster_name>: what it does`.
        # An initdb that outlives its launcher is known by the folder that it fills.
        if not arguments:
            return False
        if arguments[0].startswith(f"postgres: {token}: "):
            return True
        if Path(arguments[0]).name not in ("postgres", "initdb"):
            return False
        return any(word == f"--cluster_name={token}" or f".new-{token}-" in word for word in arguments)
