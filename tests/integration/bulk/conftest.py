"""One simulated server for the tests of bulk exports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector_runner.bootstrap import Addresses, Runner
from connector_runner.sandbox import launch
from connector_runner.settings import Settings
from tests.integration.bulk.stack import Clinic, Server


@pytest.fixture(scope="module")
def simulated() -> Iterator[launch.Running]:
    with launch.start("store", patients=0) as system:
        yield system


@pytest.fixture
def deps(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    monkeypatch.setenv("CONNECTOR_RUNNER_ENCRYPTION_KEY", "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=")
    runner = Runner(Settings(http_allow=("127.0.0.1",)), Addresses(database_url, redis_url))
    yield runner
    runner.http.close()
    runner.database.dispose()


@pytest.fixture
def server(simulated: launch.Running) -> Server:
    return Server(simulated)


@pytest.fixture
def clinic(deps: Runner, workspace: str, server: Server) -> Clinic:
    return Clinic(deps, workspace, server.base)
