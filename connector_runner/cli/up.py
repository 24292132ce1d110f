"""``up``: the whole product on this machine, with a simulated clinic; Ctrl-C stops all that it started."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from connector_runner.auth import client_keys, workspaces
from connector_runner.bootstrap import Addresses, Runner, ready
from connector_runner.cli import demo
from connector_runner.cli.console import ACTOR
from connector_runner.cli.processes import flower_password
from connector_runner.cli.sources import apply_documents
from connector_runner.cli.status import gather
from connector_runner.cli.supervisor import Child, Supervisor
from connector_runner.infra import migrations
from connector_runner.infra.embedded import Services, ensure_services, publishing_stack, stop_services
from connector_runner.infra.embedded.home import choose_port, port_is_free
from connector_runner.infra.http import HTTP
from connector_runner.infra.logging import configure
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured, RunnerError, Unavailable
from connector_runner.sandbox.launch import base_path
from connector_runner.settings import PROJECT_ROOT, Settings

READY_WAIT_S = 240.0
TELL_EVERY_S = 5.0
_LISTENING = re.compile(rb"^listening (http://\S+)", re.MULTILINE)


class _Stopped(BaseException):
    """SIGTERM or SIGINT came."""


def up(
    port: Annotated[
        int | None, typer.Option("--port", envvar="PORT", help="Of the page; free one if not given.")
    ] = None,
    no_sandbox: Annotated[bool, typer.Option("--no-sandbox", help="Without the simulated clinic.")] = False,
    smart: Annotated[bool, typer.Option("--smart", help="The simulated EHR asks for tokens (SMART).")] = False,
) -> None:
    """Start servers, workers, beat, web, Flower and a simulated clinic; print what flows; Ctrl-C stops all of it."""
    settings = Settings()
    configure("WARNING")
    with _stopping():
        try:
            with ExitStack() as stack:
                _run(stack, settings, port, no_sandbox, smart)
        except _Stopped:
            typer.echo("stopped")


@contextmanager
def _stopping() -> Iterator[None]:
    """Turn the signals into an exception, once; a second one while we clean up is not heard."""

    def stop(number: int, frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _run(stack: ExitStack, settings: Settings, port: int | None, no_sandbox: bool, smart: bool) -> None:
    typer.echo("starting Postgres and Redis ...")
    services = _services(stack, settings)
    runner = _prepared(settings, services)
    logs = settings.home / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    web_port, flower_port = _port(port), choose_port()
    web, flower = f"http://127.0.0.1:{web_port}", f"http://127.0.0.1:{flower_port}"
    environment = _environment(settings, services)
    base_urls: dict[str, str] = {}
    if not no_sandbox:
        typer.echo("starting the simulated clinic ...")
        key_set = f"{web}/.well-known/jwks/{demo.WORKSPACE}.json" if smart else None
        base_urls = _clinic(stack, runner, logs, environment, key_set)
    typer.echo("starting workers, beat, web and Flower ...")
    supervisor = Supervisor(_children(environment, logs, web_port, flower_port))
    stack.callback(supervisor.stop)
    supervisor.start()
    urls: dict[str, object] = {"web": web, "flower": flower, "sandbox": base_urls}
    stack.enter_context(publishing_stack(settings.home, urls))
    _watch(runner, settings, urls, no_sandbox, logs)


def _clinic(
    stack: ExitStack, runner: Runner, logs: Path, environment: dict[str, str], key_set: str | None
) -> dict[str, str]:
    """Start the simulated systems and make them data sources; where the API of each begins."""
    settings = runner.settings
    origins = _sandbox(stack, settings.home, logs, environment, key_set)
    base_urls = {name: origin + base_path(name) for name, origin in origins.items()}
    sandbox = [urlsplit(url).netloc for url in base_urls.values()]
    environment |= {"CONNECTOR_RUNNER_HTTP_ALLOW": ",".join([*settings.http_allow, *sandbox])}
    workspace_id, _ = workspaces.create(
        runner.database, runner.sealer, demo.WORKSPACE, name="Simulated clinic", actor=ACTOR, now=utc_now()
    )
    if key_set is not None:
        with runner.database.begin(workspace_id) as tx:
            client_keys.ensure(tx, workspace_id, runner.sealer, actor=ACTOR, now=utc_now())
    documents = demo.documents(base_urls, smart=key_set is not None)
    apply_documents(runner, workspace_id, documents, check=HTTP(settings, allow=sandbox).check)
    return base_urls


def _services(stack: ExitStack, settings: Settings) -> Services:
    services = ensure_services(settings)
    if services.started:
        # Only what this call started: servers that ran before go on running.
        stack.callback(stop_services, settings.home, services.started)
    return services


def _prepared(settings: Settings, services: Services) -> Runner:
    runner = Runner(settings, Addresses(services.database_url, services.redis_url))
    runner.database.check_role()
    migrations.upgrade(services.database_url)
    return ready(runner)


def _port(asked: int | None) -> int:
    if asked is None or asked == 0:
        return choose_port()
    if not port_is_free(asked):
        raise Misconfigured(f"port {asked} is in use", code="port_in_use", where="--port")
    return asked


def _environment(settings: Settings, services: Services) -> dict[str, str]:
    paths = [str(PROJECT_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "DATABASE_URL": services.database_url,
        "REDIS_URL": services.redis_url,
        "CONNECTOR_RUNNER_HOME": str(settings.home),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
    }


def _sandbox(
    stack: ExitStack, home: Path, logs: Path, environment: dict[str, str], key_set: str | None
) -> dict[str, str]:
    """Start the simulated systems; where each listens. They get the same port again when they have to restart."""
    children = {}
    for system in demo.SYSTEMS:
        port = choose_port()
        words = [sys.executable, "-m", "connector_runner.sandbox", "--system", system, "--port", str(port)]
        log_file = logs / f"sandbox-{system}.log"
        log_file.unlink(missing_ok=True)
        children[system] = Child(
            f"sandbox {system}", words + demo.command_options(system, home, key_set), environment, log_file, grace_s=5
        )
    supervisor = Supervisor(list(children.values()))
    stack.callback(supervisor.stop)
    supervisor.start()
    return {system: _listening(child) for system, child in children.items()}


def _listening(child: Child) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if child.log_file.exists() and (found := _LISTENING.search(child.log_file.read_bytes())):
            return found[1].decode("ascii")
        time.sleep(0.1)
    raise Unavailable("it did not start; see its log", code="not_started", where=str(child.log_file))


def _children(environment: dict[str, str], logs: Path, web_port: int, flower_port: int) -> list[Child]:
    program = [sys.executable, "-m", "connector_runner.cli"]

    def child(name: str, *words: str, grace_s: float = 27.0) -> Child:
        extra = {"HONCHO_PROCESS_NAME": name}
        clean = {key: value for key, value in environment.items() if key not in ("PORT", "HOST")}
        return Child(name, [*program, *words], clean | extra, logs / f"{name}.log", grace_s)

    return [
        child("web", "web", "--port", str(web_port), grace_s=5),
        child("worker_io", "worker", "--pool", "io"),
        child("worker_cpu", "worker", "--pool", "cpu"),
        child("beat", "beat", grace_s=5),
        child("flower", "flower", "--port", str(flower_port), grace_s=3),  # slow to stop, and nothing to lose
    ]


def _watch(runner: Runner, settings: Settings, urls: dict[str, object], no_sandbox: bool, logs: Path) -> None:
    """Print what flows until stopped; say once that all is ready."""
    deadline = time.monotonic() + READY_WAIT_S
    announced, told_at, told = False, 0.0, ""
    while True:
        found = _look(runner)
        if not announced and found is not None and _is_ready(str(urls["web"]), found, no_sandbox):
            announced = True
            _announce(settings, urls)
        elif not announced and time.monotonic() > deadline:
            raise Unavailable("not ready in time; see the logs", code="not_ready", where=str(logs))
        if found is not None and time.monotonic() - told_at >= TELL_EVERY_S:
            line = _line(found)
            if line != told:
                typer.echo(line)
            told_at, told = time.monotonic(), line
        time.sleep(0.5 if not announced else TELL_EVERY_S)


def _look(runner: Runner) -> dict[str, Any] | None:
    try:
        return gather(runner, None)
    except RunnerError as error:
        typer.echo(f"waiting: {error}", err=True)
        return None


def _is_ready(web: str, found: dict[str, Any], no_sandbox: bool) -> bool:
    """Web answers, both kinds of worker live, and, with the simulated clinic, its sources are healthy and data came."""
    kinds = {worker["kind"] for worker in found["workers"]}
    if not {"io", "cpu"} <= kinds or not _answers(web):
        return False
    if no_sandbox:
        return True
    mine = [source for source in found["sources"] if source["name"] in demo.SYSTEMS]
    return bool(mine) and all(s["health_status"] == "healthy" for s in mine) and found["events"]["total"] > 0


def _answers(web: str) -> bool:
    import http.client

    parts = urlsplit(web)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _announce(settings: Settings, urls: dict[str, object]) -> None:
    _, path = flower_password(settings)
    sandbox = urls["sandbox"]
    systems = " ".join(f"{name}={url}" for name, url in sandbox.items()) if isinstance(sandbox, dict) else ""
    password = f" (password in {path})" if path else ""
    typer.echo(f"ready {urls['web']} flower={urls['flower']}{password} {systems}".rstrip())


def _line(found: dict[str, Any]) -> str:
    """One line of what flows."""
    sources = " ".join(f"{s['name']}:{s['health_status']}" for s in found["sources"])
    sinks = " ".join(f"{s['name']}:{s['synced']}+{s['pending']}" for s in found["sinks"])
    return (
        f"{utc_now():%H:%M:%S}  {found['events']['total']} events  {sum(found['entities'].values())} entities of"
        f" {len(found['entities'])} types  sources {sources or '-'}  sinks (synced+pending) {sinks or '-'}"
        f"  quarantine {found['quarantine']['open']}"
    )
