"""What tests of the way out share: two simulated systems, and a clinic of each test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector_runner.infra.database import Database
from connector_runner.sandbox import launch
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
