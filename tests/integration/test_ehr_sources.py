"""Simulated Epic and Millennium that ask for tokens, polled into the world model, from named patients on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from connector_runner.connectors import directory
from connector_runner.infra.database import Database
from connector_runner.intake import polling
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.sandbox import launch
from tests.integration.polled import Clinic, Deps, deps_of
from tests.integration.tokens.bench import TokenBench, call

TENANT = "ec2458f2-0000-4000-8000-000000000001"
TYPES = ("Patient", "Condition", "Appointment")


@pytest.fixture(scope="module", params=["epic", "cerner"])
def running(request: pytest.FixtureRequest) -> Iterator[launch.Running]:
    with launch.start("ehr", patients=6, vendor=request.param, auth="smart") as system:
        yield system


@pytest.fixture
def deps(database: Database, redis_url: str) -> Iterator[Deps]:
    with deps_of(database, redis_url) as deps:
        yield deps


class Ehr(Clinic):
    """A clinic whose EHR is a vendor's."""

    def __init__(self, deps: Deps, workspace: str, running: launch.Running, vendor: str) -> None:
        self.deps, self.workspace, self.running, self.at = deps, workspace, running, utc_now()
        self.bench = TokenBench(deps.database, deps.sealer, deps.http, workspace, running)
        self.auth = self.bench.smart(scopes="system/*.cruds")
        call("POST", f"{running.switchboard}/reset", {})
        self.bench.register({"client_id": "runner", "scopes": "system/*.cruds", "jwks": self.bench.jwks()})
        self.vendor = vendor
        self.source = self.apply(self.document())

    def document(self, **more: Any) -> dict[str, Any]:
        where = (
            {"server": self.running.base_url, "tenant": TENANT}
            if self.vendor == "cerner"
            else {"base_url": self.running.base_url}
        )
        settings = {
            "adapter": self.vendor,
            "auth": self.auth,
            "page_size": 20,
            "patients": [record["id"] for record in self.records("Patient")],
            "resources": {name: {"cadence_s": 30} for name in TYPES},
            **where,
            **more,
        }
        return {"name": "ehr", "source_type": "ehr", "settings": settings}

    def records(self, resource_type: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = call("GET", f"{self.running.switchboard}/records?type={resource_type}")
        return found

    def read(self, resource_type: str, *, full: bool = False) -> None:
        """Poll a type until its window is over."""
        self.at += timedelta(seconds=4000)
        if full:
            with self.deps.database.begin(self.workspace) as tx:
                directory.request_sync(tx, self.workspace, self.source.data_source_id, now=self.at, full=True)
            self.at += timedelta(seconds=1)
        for _ in range(60):
            outcome = polling.poll(
                self.deps,
                self.workspace,
                self.source.data_source_id,
                resource_type,
                owner="one",
                now=self.at,
                slice_s=10,
            )
            self.at += timedelta(seconds=0.01)
            if not outcome.more:
                return
        raise AssertionError("the window does not end")

    def known(self, resource_type: str) -> set[str]:
        found = self.query("SELECT canonical_id FROM entity WHERE status = 'active'")
        parts = [row["canonical_id"].split(":") for row in found]
        return {part[2] for part in parts if part[1] == resource_type}


@pytest.fixture
def ehr(deps: Deps, workspace: str, running: launch.Running) -> Ehr:
    statement = call("GET", f"{running.switchboard}/vendor")
    return Ehr(deps, workspace, running, "cerner" if "tenant" in statement else "epic")


def test_what_an_ehr_has_of_the_named_patients_is_read_and_kept_in_step(ehr: Ehr) -> None:
    for resource_type in TYPES:
        ehr.read(resource_type)
        assert ehr.known(resource_type) == {record["id"] for record in ehr.records(resource_type)}, resource_type
    before = ehr.events
    for resource_type in TYPES:
        ehr.read(resource_type)
    assert ehr.events == before
    changed = ehr.records("Condition")[0] | {"recordedDate": "2021-05-05"}
    call("PUT", f"{ehr.running.switchboard}/records", [changed])
    ehr.read("Condition")
    assert ehr.events == before + 1
    assert ehr.health == ("healthy", None)
    assert len(ehr.bench.asked) == 1


def test_a_record_that_was_deleted_there_ends_here_and_one_that_is_withheld_does_not(ehr: Ehr) -> None:
    ehr.read("Patient")
    ehr.read("Condition")
    gone, kept = (record["id"] for record in ehr.records("Condition")[:2])
    call("POST", f"{ehr.running.switchboard}/delete", {"resource": f"Condition/{gone}"})
    ehr.read("Condition", full=True)
    assert gone not in ehr.known("Condition")
    assert kept in ehr.known("Condition")
    if ehr.vendor == "epic":
        held = ehr.records("Patient")[0]["id"]
        call("PUT", f"{ehr.running.switchboard}/vendor", {"restricted": [held]})
        before = ehr.known("Condition")
        ehr.read("Condition", full=True)
        assert ehr.known("Condition") == before


def test_a_wrong_tenant_stops_the_source_and_deletes_nothing(ehr: Ehr) -> None:
    if ehr.vendor != "cerner":
        with pytest.raises(Misconfigured):
            ehr.apply(ehr.document(tenant="other"))
        return
    ehr.read("Condition")
    before = ehr.known("Condition")
    assert before
    call("PUT", f"{ehr.running.switchboard}/vendor", {"tenant": "another-tenant"})
    ehr.read("Condition", full=True)
    assert ehr.known("Condition") == before
    assert ehr.health[1] == "wrong_tenant"
