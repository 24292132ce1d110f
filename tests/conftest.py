"""What tests share: real Postgres and Redis of the session's own, a fresh migrated database for each module.

``TEST_DATABASE_URL`` (a role that may create roles and databases) and ``TEST_REDIS_URL`` (is flushed) make
the suite run against servers that are already there; each is optional.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
import redis
from hypothesis import HealthCheck, settings
from psycopg2 import sql
from sqlalchemy import text

from connector_runner.infra import migrations
from connector_runner.infra.database import Database
from connector_runner.infra.embedded import Services
from connector_runner.infra.embedded.ephemeral import EphemeralServices
from connector_runner.kernel.ids import new_id

# How long an example takes says how busy the machine is. Before a change is merged the same examples are tried again
# and again, so that what fails is the change; HYPOTHESIS_PROFILE=explore looks for others.
settings.register_profile("gate", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("explore", settings.get_profile("gate"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test touches the databases or the home of the person who runs it; the home that it sees instead."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CONNECTOR_RUNNER_")]:
            patch.delenv(name)
        for name in ("DATABASE_URL", "REDIS_URL", "FLOWER_BASIC_AUTH"):
            patch.delenv(name, raising=False)
        patch.setenv("CONNECTOR_RUNNER_HOME", str(home))
        yield home


@dataclass(frozen=True)
class Administration:
    """Makes databases on the session's Postgres. ``url`` is a superuser's, ``role_url`` a plain role's."""

    url: str
    role_url: str

    def execute(self, statement: str, *names: str, **literals: str) -> None:
        """Run one statement outside a transaction; ``{}`` are identifiers, ``{name}`` are literals."""
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                quoted = {name: sql.Literal(value) for name, value in literals.items()}
                cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names), **quoted))
        finally:
            connection.close()

    @property
    def role(self) -> str:
        """The plain role."""
        return urlsplit(self.role_url).username or ""

    def create(self, name: str, template: str | None = None) -> str:
        """Make a database that the plain role owns, empty or as ``template``; its URL for that role."""
        if template:
            self.execute("CREATE DATABASE {} OWNER {} TEMPLATE {}", name, self.role, template)
        else:
            self.execute("CREATE DATABASE {} OWNER {}", name, self.role)
        return with_database(self.role_url, name)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is still connected to it."""
        self.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def with_database(url: str, name: str) -> str:
    """The same URL for another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture(scope="session")
def _ephemeral() -> Iterator[EphemeralServices]:
    redis_given = os.environ.get("TEST_REDIS_URL")
    if redis_given:
        # Processes that test side by side must not flush each other's.
        number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        redis_given = urlunsplit(urlsplit(redis_given)._replace(path=f"/{number}"))
    with EphemeralServices(os.environ.get("TEST_DATABASE_URL"), redis_given) as ephemeral:
        yield ephemeral


@pytest.fixture(scope="session")
def services(_ephemeral: EphemeralServices) -> Services:
    """Real Postgres and Redis, started once for the whole run."""
    return _ephemeral.services


@pytest.fixture(scope="session")
def administration(_ephemeral: EphemeralServices) -> Iterator[Administration]:
    """Means to make databases, with a plain role to own them."""
    given = os.environ.get("TEST_DATABASE_URL")
    if not given:
        yield Administration(_ephemeral.admin_url, _ephemeral.services.database_url)
        return
    role, password = f"connector_runner_test_{secrets.token_hex(4)}", secrets.token_hex(16)
    parts = urlsplit(given)
    address = parts.netloc.rpartition("@")[2]
    administration = Administration(
        given, urlunsplit(parts._replace(scheme="postgresql", netloc=f"{role}:{password}@{address}"))
    )
    administration.execute("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD {password}", role, password=password)
    yield administration
    administration.execute("DROP ROLE {}", role)


@pytest.fixture(scope="session")
def services_admin(administration: Administration) -> str:
    """URL of a superuser of the session's Postgres."""
    return administration.url


@pytest.fixture(scope="session")
def _template(administration: Administration) -> Iterator[str]:
    name = f"template_{secrets.token_hex(4)}"
    migrations.upgrade(administration.create(name))
    yield name
    administration.drop(name)


@pytest.fixture(scope="session")
def new_database(administration: Administration, _template: str) -> Iterator[Callable[[], str]]:
    """Makes a migrated, empty database; its URL. For tests that need one to themselves."""
    made: list[str] = []

    def create() -> str:
        made.append(f"test_{secrets.token_hex(6)}")
        return administration.create(made[-1], _template)

    yield create
    for name in made:
        administration.drop(name)


@pytest.fixture(scope="module")
def database_url(new_database: Callable[[], str]) -> str:
    """A migrated database of this module's own, for the plain role."""
    return new_database()


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[Database]:
    """``database_url``, ready for transactions."""
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def new_workspace(database: Database) -> Callable[[], str]:
    """Makes a workspace; its id. For tests that need a second one."""

    def create() -> str:
        workspace_id = new_id()
        with database.begin(workspace_id) as tx:
            tx.execute(
                text("INSERT INTO workspace (workspace_id, slug, name) VALUES (:id, :slug, 'Test clinic')"),
                {"id": workspace_id, "slug": f"clinic-{workspace_id}"},
            )
        return workspace_id

    return create


@pytest.fixture
def workspace(new_workspace: Callable[[], str]) -> str:
    """The id of a workspace that no other test uses."""
    return new_workspace()


@pytest.fixture
def redis_url(services: Services) -> str:
    """Redis, empty at the start of each test."""
    client = redis.Redis.from_url(services.redis_url)
    client.flushdb()
    client.close()
    return services.redis_url
