"""Practices of athenahealth and eClinicalWorks, polled into a real Postgres: what lands, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from connector_runner.infra.database import Database
from connector_runner.intake import polling
from connector_runner.kernel.clock import utc_now
from connector_runner.sandbox import launch
from tests.integration.polled import Clinic, Deps, deps_of
from tests.integration.tokens.bench import call

OURS = "a-195900."


@pytest.fixture
def deps(database: Database, redis_url: str) -> Iterator[Deps]:
    with deps_of(database, redis_url) as made:
        yield made


class Practice(Clinic):
    """A workspace whose source is a vendor's simulated practice."""

    def __init__(self, deps: Deps, workspace: str, running: launch.Running, settings: dict[str, Any]) -> None:
        self.deps, self.workspace, self.running, self.at = deps, workspace, running, utc_now()
        call("POST", f"{running.switchboard}/reset", {})
        self.source = self.apply({"name": "practice", "source_type": "ehr", "settings": settings})

    def land(self, resource_type: str) -> polling.PollOutcome:
        """Poll a record type until its window is over."""
        while True:
            self.at += timedelta(seconds=400)
            outcome = polling.poll(
                self.deps, self.workspace, self.source.data_source_id, resource_type,
                owner="one", now=self.at, slice_s=30,
            )  # fmt: skip
            if not outcome.more:
                return outcome

    def records(self, resource_type: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = call("GET", f"{self.running.switchboard}/records?type={resource_type}")
        return found

    def put(self, *resources: dict[str, Any]) -> None:
        call("PUT", f"{self.running.switchboard}/records", list(resources))

    def states(self, entity_type: str) -> dict[str, dict[str, Any]]:
        found = self.query("SELECT canonical_id, state FROM projection WHERE entity_type = :kind", kind=entity_type)
        return {row["canonical_id"].rpartition(":")[2]: row["state"] for row in found}


def test_athenahealth_from_its_first_list_to_a_change_in_its_feeds(deps: Deps, workspace: str) -> None:
    with launch.start("ehr", patients=12, vendor="athenahealth") as running:
        settings = {
            "adapter": "athenahealth", "base_url": running.base_url, "practice": 195900, "zone": "America/New_York",
            "resources": ["Patient", "Appointment", "MedicationRequest"],
            "sink": {"entity_types": ["condition", "observation", "questionnaire_response"], "department": "1"},
        }  # fmt: skip
        practice = Practice(deps, workspace, running, settings)
        assert [practice.land(kind).status for kind in ("Patient", "Appointment", "MedicationRequest")] == ["done"] * 3
        assert set(practice.states("patient")) == {
            one["id"] for one in practice.records("Patient") if one["id"].startswith(OURS)
        }
        assert len(practice.states("medication_order")) == len(practice.records("MedicationRequest"))
        number, state = next(iter(practice.states("appointment").items()))
        stored = next(one for one in practice.records("Appointment") if one["id"].endswith(f"-{number}"))
        assert datetime.fromisoformat(state["start"]) == datetime.fromisoformat(stored["start"])
        patient = next(part for part in stored["participant"] if part["actor"]["reference"].startswith("Patient/"))
        assert state["patient"]["ref"] == f"practice:Patient:{patient['actor']['reference'].partition('/')[2]}"
        practice.put({**stored, "status": "cancelled"})
        person = next(one for one in practice.records("Patient") if one["id"].startswith(OURS))
        practice.put({**person, "birthDate": "1950-01-02"})
        before = practice.events
        practice.land("Appointment")
        practice.land("Patient")
        assert practice.events == before + 2
        assert practice.states("appointment")[number]["status"] == "cancelled"
        assert practice.states("patient")[person["id"]]["birth_date"] == "1950-01-02"
        practice.land("Patient")
        assert practice.events == before + 2
        assert practice.health == ("healthy", None)
        # Nobody was subscribed when it changed again.
        call("DELETE", f"{running.origin}/v1/195900/patients/changed/subscription")
        practice.put({**person, "birthDate": "1950-01-03"})
        practice.land("Patient")
        assert practice.states("patient")[person["id"]]["birth_date"] == "1950-01-02"
        practice.at -= timedelta(seconds=399)
        assert practice.land("Patient").status == "done"
        assert practice.states("patient")[person["id"]]["birth_date"] == "1950-01-03"
        practice.at -= timedelta(seconds=399)
        assert practice.land("Patient").status == "not_due"


def test_eclinicalworks_by_date_and_by_patient(deps: Deps, workspace: str) -> None:
    with launch.start("ehr", patients=6, vendor="eclinicalworks") as running:
        settings = {
            "adapter": "eclinicalworks", "server": running.base_url, "practice_code": "FEIGCD",
            "resources": ["Patient", "Condition", "Observation"],
            "sink": {"entity_types": ["questionnaire_response"]},
            "rate": {"per_second": 200, "burst": 200, "concurrency": 8, "per_minute_fixed": 100_000},
        }  # fmt: skip
        practice = Practice(deps, workspace, running, settings)
        assert [practice.land(kind).status for kind in ("Patient", "Condition", "Observation")] == ["done"] * 3
        assert set(practice.states("patient")) == {one["id"] for one in practice.records("Patient")}
        assert set(practice.states("condition")) == {one["id"] for one in practice.records("Condition")}
        before = practice.events
        changed = practice.records("Condition")[0]
        practice.put({**changed, "clinicalStatus": {"coding": [{"code": "remission"}]}})
        practice.land("Condition")
        assert practice.events == before + 1
        call("PUT", f"{running.switchboard}/vendor", {"per_minute": 1})
        assert practice.land("Condition").code == "rate_limited"
