"""A workspace that takes imports."""

from __future__ import annotations

import pytest

from connector_runner.infra.database import Database
from connector_runner.infra.http import HTTP
from connector_runner.infra.sealing import Sealer
from connector_runner.intake.landing import Intake
from connector_runner.resilience.quarantine import Quarantine
from connector_runner.settings import Settings
from connector_runner.world.service import World
from tests.integration.imports.stack import (
    MAPPINGS,
    Parts,
)


@pytest.fixture
def deps(database: Database) -> Parts:
    settings = Settings(http_allow=("127.0.0.1",))
    quarantine = Quarantine(Sealer(b"k" * 32))
    intake = Intake(World(), MAPPINGS, quarantine)
    return Parts(settings, database, HTTP(settings), MAPPINGS, intake, quarantine)
