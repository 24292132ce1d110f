"""Sources that take few requests: what follows the pages of a poll, and probes, get their turns as well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from connector_runner.infra.database import Database
from connector_runner.intake import probing
from tests.contract.scripted import Query, ScriptedServer, bundle, patient, scripted_server
from tests.integration.polled import Clinic, Deps, deps_of

PAGE = "Patient"


@pytest.fixture
def deps(database: Database, redis_url: str) -> Iterator[Deps]:
    with deps_of(database, redis_url) as made:
        yield made


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


def statement() -> dict[str, Any]:
    resource = {"type": PAGE, "interaction": [{"code": "history-type"}, {"code": "search-type"}]}
    return {"resourceType": "CapabilityStatement", "rest": [{"mode": "server", "resource": [resource]}]}


def poll_on(clinic: Clinic, *, for_s: float) -> list[str]:
    """Poll when it is due until a poll is done."""
    seen: list[str] = []
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        started = time.monotonic()
        seen.append(clinic.poll(after_s=40).status)
        if seen[-1] not in ("put_off", "more"):
            break
        time.sleep(max(0.0, 0.3 - (time.monotonic() - started)))
    return seen


def full(clinic: Clinic) -> None:
    clinic.query("UPDATE source_resource SET full_sync_due_at = due_at, due_at = due_at RETURNING 1")


def test_a_slow_source_proves_its_deletes_without_reading_everything_again(
    deps: Deps, workspace: str, scripted: ScriptedServer
) -> None:
    here = {f"p{n}" for n in range(6)}

    def script(path: str, query: Query) -> tuple[int, Any]:
        if path == PAGE:
            return 200, bundle(*(patient(name) for name in sorted(here)))
        name = path.rpartition("/")[2]
        return (200, patient(name)) if name in here else (404, {})

    scripted.script = script
    rate = {"per_second": 1.5, "burst": 1, "concurrency": 1}
    clinic = Clinic(deps, workspace, scripted.base_url, history=False, rate=rate)
    assert poll_on(clinic, for_s=10)[-1] == "done"
    here -= {"p1", "p2", "p3"}
    full(clinic)
    scripted.asked.clear()
    assert poll_on(clinic, for_s=20)[-1] == "done"
    assert clinic.alive == {"p0", "p4", "p5"}
    assert len([path for path, _ in scripted.asked if path == PAGE]) == 1


def test_a_slow_source_is_asked_for_its_history(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    gone: list[dict[str, Any]] = []

    def script(path: str, query: Query) -> tuple[int, Any]:
        if path == "metadata":
            return 200, statement()
        if path.endswith("_history"):
            return 200, {"resourceType": "Bundle", "type": "history", "entry": gone}
        return 200, bundle(patient("p1"), patient("p2"))

    scripted.script = script
    rate = {"per_second": 1, "burst": 1, "concurrency": 1}
    resources = {PAGE: {"cadence_s": 30, "full_sync_every_s": None}}
    clinic = Clinic(deps, workspace, scripted.base_url, rate=rate, resources=resources)
    assert poll_on(clinic, for_s=10)[-1] == "done"
    gone.append(
        {
            "fullUrl": f"{scripted.base_url}/Patient/p2",
            "request": {"method": "DELETE", "url": "Patient/p2"},
            "response": {"status": "204", "lastModified": "2026-12-01T00:00:00Z"},
        }
    )
    assert poll_on(clinic, for_s=10)[-1] == "done"
    assert clinic.alive == {"p1"}


def test_what_is_slowed_down_in_its_proof_goes_on_with_the_proof(
    deps: Deps, workspace: str, scripted: ScriptedServer
) -> None:
    here = {f"p{n}" for n in range(6)}
    slowed = [False]

    def script(path: str, query: Query) -> tuple[Any, ...]:
        if path == PAGE:
            return 200, bundle(*(patient(name) for name in sorted(here)))
        if slowed[0]:
            slowed[0] = False
            return 429, {}, {"Retry-After": "2"}
        name = path.rpartition("/")[2]
        return (200, patient(name)) if name in here else (404, {})

    scripted.script = script
    clinic = Clinic(deps, workspace, scripted.base_url, history=False)
    assert clinic.poll().status == "done"
    here -= {"p1"}
    slowed[0] = True
    full(clinic)
    scripted.asked.clear()
    assert clinic.poll().status == "failed"
    assert clinic.alive == {f"p{n}" for n in range(6)}
    time.sleep(2.1)
    assert clinic.poll().status == "done"
    assert clinic.alive == {"p0", "p2", "p3", "p4", "p5"}
    assert len([path for path, _ in scripted.asked if path == PAGE]) == 1
    assert "ended" not in clinic.resource["cursor"]["sync"]


def test_a_slow_source_can_be_probed(deps: Deps, workspace: str, scripted: ScriptedServer) -> None:
    def script(path: str, query: Query) -> tuple[int, Any]:
        if path == "metadata":
            return 200, statement()
        if path.startswith("Patient/"):
            return 200, patient("p1")
        return 200, bundle() if "2999" in str(query) else bundle(patient("p1"))

    scripted.script = script
    clinic = Clinic(deps, workspace, scripted.base_url, rate={"per_second": 1.9, "burst": 1, "concurrency": 1})
    found = probing.probe(deps, clinic.source, now=clinic.at)
    assert any(finding.capability == "strategy" for finding in found.findings)
