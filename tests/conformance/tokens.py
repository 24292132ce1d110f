"""An adapter whose simulator asks for tokens: a workspace with keys, and a client that is registered with them."""

from __future__ import annotations

import pytest

from connector_runner.auth.opening import Credentials
from connector_runner.connectors.base import site_of
from connector_runner.infra.http import HTTP
from connector_runner.infra.sealing import Sealer
from connector_runner.settings import Settings
from tests.conformance.clinic import Clinic
from tests.integration.tokens.bench import TokenBench


def register(clinic: Clinic, request: pytest.FixtureRequest) -> None:
    """Let the clinic's source and sink get tokens of their own, signed for by a key of a new workspace."""
    database, workspace = request.getfixturevalue("database"), request.getfixturevalue("workspace")
    http, sealer = HTTP(Settings(http_allow=("127.0.0.1",))), Sealer(b"k" * 32)
    bench = TokenBench(database, sealer, http, workspace, clinic.running)
    clinic.switch("POST", "reset", {})
    clinic.more["auth"] = bench.smart(scopes="system/*.cruds")
    clinic.workspace_id, clinic.data_source_id = workspace, bench.source_id
    opener = Credentials(database, http, sealer).opener(site_of(clinic.data_source()), lambda reference: reference)
    clinic.open_credential = opener
