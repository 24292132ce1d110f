"""A raw server, and our way out to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from connector_runner.infra.http import HTTP
from connector_runner.settings import Settings
from tests.unit.infra.raw_server import Script, Server


@pytest.fixture
def serve() -> Iterator[Callable[[Script], Server]]:
    servers: list[Server] = []

    def start(script: Script) -> Server:
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def http() -> Iterator[HTTP]:
    client = HTTP(Settings(http_allow=("127.0.0.1", "localhost")))
    yield client
    client.close()
