"""A simulated system that asks for tokens, for each file of tests; what each test has there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector_runner.infra.database import Database
from connector_runner.infra.sealing import Sealer
from connector_runner.sandbox import launch
from tests.integration.tokens.bench import KEY, TokenBench, http


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store", auth="smart") as system:
        yield system


@pytest.fixture
def bench(database: Database, workspace: str, running: launch.Running) -> Iterator[TokenBench]:
    way_out = http()
    yield TokenBench(database, Sealer(KEY), way_out, workspace, running)
    way_out.close()
