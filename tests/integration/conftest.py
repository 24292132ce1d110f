"""What tests of the way out share: two simulated systems, and a clinic of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from connector_runner.infra.database import Database
from connector_runner.sandbox import launch
from tests.integration.audit_log import Tamper
from tests.integration.outbound_stack import Clinic, System, outbound_of


@pytest.fixture(scope="module")
def running_ehr() -> Iterator[System]:
    with launch.start("ehr", patients=0) as running:
        yield System(running)


@pytest.fixture(scope="module")
def running_store() -> Iterator[System]:
    with launch.start("store", patients=0) as running:
        yield System(running)


@pytest.fixture
def ehr(running_ehr: System) -> System:
    running_ehr.reset()
    return running_ehr


@pytest.fixture
def store(running_store: System) -> System:
    running_store.reset()
    return running_store


@pytest.fixture
def clinic(database: Database, workspace: str, redis_url: str) -> Clinic:
    return Clinic(outbound_of(database, redis_url), workspace)


@pytest.fixture
def tamper(services_admin: str, database_url: str) -> Tamper:
    """Runs a statement as a superuser with triggers off, as an intruder with the whole database would."""
    url = urlunsplit(urlsplit(services_admin)._replace(path=urlsplit(database_url).path))

    def run(sql: str, *parameters: object) -> None:
        connection = psycopg2.connect(url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SET session_replication_role = replica")
                cursor.execute(sql, parameters)
                assert cursor.rowcount > 0, "the statement touched nothing"
        finally:
            connection.close()

    return run
