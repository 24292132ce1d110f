"""Reference data is read from what landed, as long as that is good."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from connector_runner.infra.database import Database
from connector_runner.intake.opening import open_source
from connector_runner.intake.reference_data import Remembering
from connector_runner.kernel.clock import utc_now
from tests.contract.scripted import ScriptedServer, bundle, patient, scripted_server
from tests.integration.polled import Clinic, Deps, deps_of


@pytest.fixture
def deps(database: Database, redis_url: str) -> Iterator[Deps]:
    with deps_of(database, redis_url) as made:
        yield made


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        server.script = lambda path, query: (
            (200, bundle(patient("p1", gender="female"))) if "/" not in path else (200, patient("p1", gender="other"))
        )
        yield server


def reading(clinic: Clinic, after_s: float = 0) -> Remembering:
    at = utc_now() + timedelta(seconds=after_s)
    return Remembering(open_source(clinic.deps, clinic.source), clinic.deps.database, clinic.source, lambda: at)


def gender(reader: Remembering, record_id: str = "p1") -> str | None:
    found = reader.read("Patient", record_id)
    return found.body["gender"] if found is not None and found.body is not None else None


def clinic_of(deps: Deps, workspace: str, scripted: ScriptedServer, **resource: object) -> Clinic:
    settings = {"full_sync_every_s": None, **resource}
    return Clinic(deps, workspace, scripted.base_url, history=False, resources={"Patient": settings})


def test_what_landed_is_good_for_its_time(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    clinic = clinic_of(deps, workspace, scripted, reference=True, ttl_s=1000)
    assert gender(reading(clinic)) == "other"
    clinic.poll(after_s=1)
    scripted.asked.clear()
    assert gender(reading(clinic)) == "female"
    assert scripted.asked == []
    assert gender(reading(clinic, after_s=1100)) == "other"
    clinic.poll(after_s=1050)
    assert gender(reading(clinic, after_s=1100)) == "female"


def test_what_is_no_reference_is_read(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    clinic = clinic_of(deps, workspace, scripted)
    clinic.poll(after_s=1)
    assert gender(reading(clinic)) == "other"


def test_what_never_landed_is_read(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    clinic = clinic_of(deps, workspace, scripted, reference=True)
    clinic.poll(after_s=1)
    scripted.script = lambda path, query: (404, {})
    assert gender(reading(clinic), "p2") is None
    assert scripted.asked[-1][0] == "Patient/p2"
    assert gender(reading(clinic)) == "female"
