"""A simulated system for each adapter, and a place for verdicts.

``CONFORMANCE_RESULTS`` names a file that the verdicts of the session are written to at its end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector_runner.sandbox import launch
from tests.conformance import matrix, tokens
from tests.conformance.adapters import ADAPTERS
from tests.conformance.clinic import Adapter, Clinic
from tests.conformance.verdicts import VERDICTS, Result

Say = Callable[..., None]


@pytest.fixture(scope="session")
def simulators() -> Iterator[dict[str, launch.Running]]:
    """Those that were started so far, by adapter; they are stopped at the end."""
    started: dict[str, launch.Running] = {}
    yield started
    for running in started.values():
        running.stop()


def clinic_of(adapter: Adapter, simulators: dict[str, launch.Running]) -> Clinic:
    """The adapter's clinic as it begins: seeded, no faults, an empty journal."""
    if adapter.name not in simulators:
        simulators[adapter.name] = launch.start(
            adapter.system, patients=adapter.patients, vendor=adapter.vendor, auth=adapter.auth
        )
    clinic = Clinic(adapter, simulators[adapter.name])
    clinic.switch("POST", "reset", {})
    return clinic


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.name)
def clinic(request: pytest.FixtureRequest, simulators: dict[str, launch.Running]) -> Clinic:
    """Every adapter in turn."""
    clinic = clinic_of(request.param, simulators)
    if clinic.adapter.auth:
        tokens.register(clinic, request)
    return clinic


@pytest.fixture
def reading(clinic: Clinic) -> Clinic:
    """Every adapter that is read from."""
    if not clinic.adapter.reads:
        pytest.skip("the adapter is not read from")
    return clinic


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Say:
    """Give a verdict: ``say(clinic, capability, result="yes", note="")``."""

    def given(clinic: Clinic, capability: str, result: Result = "yes", note: str = "") -> None:
        test = request.node.nodeid.partition("[")[0].removeprefix("tests/conformance/")
        VERDICTS.say(clinic.adapter.name, capability, result, test, note)
        if "CONFORMANCE_RESULTS" not in os.environ:
            known = {(one.adapter, one.capability): one for one in matrix.kept()}
            written = known.get((clinic.adapter.name, capability))
            assert written is not None, f"docs/compatibility.md lacks this verdict: {matrix.COMMAND}"
            same = (written.result, written.note) == (result, note)
            assert same, f"docs/compatibility.md is stale: {matrix.COMMAND}"

    return given


def pytest_sessionfinish() -> None:
    """Keep the verdicts where they were asked for."""
    path = os.environ.get("CONFORMANCE_RESULTS")
    if path and VERDICTS.given:
        VERDICTS.write(Path(path))
