"""What polls have: a clinic with one source, a simulated server for a file of tests, and a scripted one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector_runner.infra.database import Database
from connector_runner.sandbox import launch
from tests.contract.scripted import ScriptedServer, bundle, patient, scripted_server
from tests.integration.polled import Clinic, Deps, Server, deps_of


@pytest.fixture
def deps(database: Database, redis_url: str) -> Iterator[Deps]:
    with deps_of(database, redis_url) as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store") as system:
        yield system


@pytest.fixture
def server(running: launch.Running) -> Server:
    return Server(running)


@pytest.fixture
def clinic(deps: Deps, workspace: str, server: Server) -> Clinic:
    return Clinic(deps, workspace, server.system.base_url)


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        server.script = lambda path, query: (200, bundle(patient("p1")))
        yield server
