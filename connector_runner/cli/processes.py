"""``worker``, ``beat``, ``flower``, ``web``, ``migrate``: one process of the product each."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from connector_runner.bootstrap import addresses, build, ready
from connector_runner.cli.console import Json, show
from connector_runner.infra import migrations
from connector_runner.infra.database import Database
from connector_runner.infra.logging import configure
from connector_runner.infra.queue import QUEUES_OF_POOL
from connector_runner.settings import PROJECT_ROOT, Settings

SOFT_SHUTDOWN = "SIGQUIT"


class Pool(StrEnum):
    """``io`` waits for others in threads; ``cpu`` computes in processes."""

    IO = "io"
    CPU = "cpu"


def worker(
    pool: Annotated[Pool, typer.Option(help="io: polls, release and sinks. cpu: imports and folding.")],
    concurrency: Annotated[
        int | None, typer.Option("-c", "--concurrency", min=1, help="Threads, or processes.")
    ] = None,
) -> None:
    """Run a worker. It takes queues of new sinks as they appear, and starts what a silent beat leaves overdue."""
    settings = _checked()
    slots = concurrency or (settings.io_threads if pool is Pool.IO else settings.cpu_processes)
    name = os.environ.get("HONCHO_PROCESS_NAME", f"{pool.value}-{os.getpid()}").replace(".", "-")
    words = ["worker", "--pool", "threads" if pool is Pool.IO else "prefork", "--concurrency", str(slots)]
    words += ["--queues", ",".join(QUEUES_OF_POOL[pool.value]), "--hostname", f"{name}@{socket.gethostname()}"]
    words += ["--loglevel", settings.log_level, "--without-gossip", "--without-mingle"]
    extra = {"CONNECTOR_RUNNER_POOL": pool.value}
    if pool is Pool.IO:
        # What is shared out between sinks and connections is what there is.
        extra["CONNECTOR_RUNNER_IO_THREADS"] = str(slots)
    if pool is Pool.CPU:
        # Ends a task that outlasts the grace, and puts its message back; threads cannot be ended.
        extra["REMAP_SIGTERM"] = SOFT_SHUTDOWN
    _become(["celery", "--quiet", "-A", "tasks.app", *words], extra)


def beat() -> None:
    """Run beat: it hints what is due, from Postgres. A second one does no harm."""
    settings = _checked()
    _become(["celery", "--quiet", "-A", "tasks.app", "beat", "--loglevel", settings.log_level, "--pidfile="], {})


def flower(
    port: Annotated[int, typer.Option(min=0, max=65535, envvar="PORT", help="0 picks a free one.")] = 5555,
    address: Annotated[str, typer.Option(envvar="HOST")] = "127.0.0.1",
) -> None:
    """Run Flower, always behind a password: FLOWER_BASIC_AUTH, or one made and kept in the home folder."""
    settings = _checked()
    given, path = flower_password(settings)
    if path is not None:
        typer.echo(f"Flower's user and password are in {path}", err=True)
    extra = {"FLOWER_BASIC_AUTH": given, "FLOWER_UNAUTHENTICATED_API": "false", "FLOWER_PERSISTENT": "false"}
    _become(["tasks.flower", f"--port={port}", f"--address={address}"], extra)


def web(
    port: Annotated[int, typer.Option(min=0, max=65535, envvar="PORT", help="Where to listen.")] = 8000,
    host: Annotated[str, typer.Option(envvar="HOST")] = "127.0.0.1",
) -> None:
    """Run the web server: health, readiness, metrics and the page of what flows."""
    settings = Settings()
    configure(settings.log_level)
    build(settings)  # says in one line what is missing
    _become(["connector_runner.web"], {"HOST": host, "PORT": str(port)})


def migrate(as_json: Json = False) -> None:
    """Bring the database to the schema of this release; harmless while others run."""
    settings = Settings()
    configure("WARNING")
    url = addresses(settings, start=True).database_url
    before = migrations.is_current(url)
    # The role is checked first: tables made by one that is above the rules would not obey them.
    Database(url).check_role()
    migrations.upgrade(url)
    outcome = {"current": True, "changed": not before}
    show(outcome, as_json, lambda: typer.echo("the schema was current" if before else "the schema is now current"))


def flower_password(settings: Settings) -> tuple[str, Path | None]:
    """``user:password`` of Flower, and the file that keeps it when it was made here."""
    if settings.flower_basic_auth:
        return settings.flower_basic_auth, None
    path = settings.home / "flower"
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text("ascii").strip(), path
    with os.fdopen(descriptor, "w") as file:
        file.write(f"admin:{secrets.token_urlsafe(18)}\n")
    return path.read_text("ascii").strip(), path


def _checked() -> Settings:
    settings = Settings()
    configure(settings.log_level)
    runner = ready(build(settings))
    runner.database.dispose()
    return settings


def _become(module: list[str], extra: dict[str, str]) -> NoReturn:
    """Go on as a Python module, in this very process, so that signals reach it."""
    paths = [str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **extra, "PYTHONPATH": os.pathsep.join(paths)}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", *module], environment)  # noqa: S606 - our own program
