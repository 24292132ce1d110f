"""Writes to a simulated Epic and Millennium: no ids of ours, no conditional create, answers that are lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from connector_runner.connectors import directory
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.planning import duplicate_search
from connector_runner.sandbox import launch
from tests.integration.outbound_stack import FAST, Clinic, System, a_patient, an_appointment, sinks_of
from tests.integration.tokens.bench import call

TENANT = "ec2458f2-0000-4000-8000-000000000001"
TYPES = ["patient", "condition", "appointment"]


@pytest.fixture(scope="module", params=["epic", "cerner"])
def running(request: pytest.FixtureRequest) -> Iterator[tuple[str, launch.Running]]:
    with launch.start("ehr", patients=0, vendor=request.param) as system:
        yield request.param, system


class Vendor:
    """A vendor's system, and a sink of a clinic's there."""

    def __init__(self, name: str, system: launch.Running) -> None:
        self.name, self.system = name, system
        self.turn("POST", "reset", {"empty": True})
        if name == "epic":
            self.turn("PUT", "vendor", {"versions": True})

    def turn(self, method: str, what: str, body: Any = None) -> Any:
        return call(method, f"{self.system.switchboard}/{what}", body)

    def all(self, resource_type: str) -> list[dict[str, Any]]:
        return list(self.turn("GET", f"records?type={resource_type}"))

    def methods(self) -> list[str]:
        journal = self.turn("GET", "journal")
        return [
            f"{one['method']} {(one['resource'] or '').partition('/')[0]}"
            for one in journal
            if one["method"] != "GET" and not one["path"].endswith("_search")
        ]

    def sink(self, clinic: Clinic) -> None:
        where = {"server": self.system.base_url, "tenant": TENANT}
        settings = {
            "adapter": self.name,
            "request_timeout_s": 2,
            **(where if self.name == "cerner" else {"base_url": self.system.base_url}),
            "sink": {"quiet_period_s": 0.3, "rate": FAST, "accept_from": ["ehr"], "entity_types": TYPES},
        }
        document = {"name": "vendor", "source_type": "ehr", "settings": settings}
        with clinic.database.begin(clinic.workspace) as tx:
            applied = directory.apply(tx, clinic.workspace, document, actor="test", now=utc_now())
        clinic.ids["vendor"] = applied[0].source.data_source_id
        sinks = sinks_of(clinic.database, clinic.outbound.sealer, clinic.outbound.limiter)
        clinic.outbound = replace(clinic.outbound, sinks=sinks)


@pytest.fixture
def vendor(running: tuple[str, launch.Running], clinic: Clinic, ehr: System) -> Vendor:
    made = Vendor(*running)
    clinic.source("ehr", ehr)
    made.sink(clinic)
    return made


def a_problem() -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "id": "c1",
        "clinicalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]
        },
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "38341003"}], "text": "Hypertension"},
        "subject": {"reference": "Patient/p1"},
    }


def settle(clinic: Clinic) -> None:
    """Until every lane of the vendor rests, past the quiet period of a lost answer."""
    for _ in range(40):
        clinic.flow("vendor")
        if all(lane["state"] in ("idle", "quarantined") for lane in clinic.lanes("vendor")):
            return
        clinic.execute("SELECT pg_sleep(0.1)")
    raise AssertionError([(lane["entity_type"], lane["state"], lane["reason"]) for lane in clinic.lanes("vendor")])


@pytest.mark.parametrize("lost", ["drop_answer", "reset"])
def test_a_record_is_made_once_whatever_becomes_of_the_answer(vendor: Vendor, clinic: Clinic, lost: str) -> None:
    vendor.turn("PUT", "faults", [{"on": f"POST {kind}", "kind": lost, "next": 1} for kind in ("Patient", "Condition")])
    clinic.land("ehr", a_patient(), a_problem())
    settle(clinic)
    assert [len(vendor.all(kind)) for kind in ("Patient", "Condition")] == [1, 1]
    [patient], [problem] = vendor.all("Patient"), vendor.all("Condition")
    assert problem["subject"]["reference"] == f"Patient/{patient['id']}"
    posts = 2 if lost == "drop_answer" else 4
    assert vendor.methods().count("POST Patient") + vendor.methods().count("POST Condition") == posts
    assert clinic.count("open_intent") == 0


def test_a_change_goes_as_the_vendor_has_it_or_not_at_all(vendor: Vendor, clinic: Clinic) -> None:
    clinic.land("ehr", a_patient(meta={"lastUpdated": "2026-01-01T00:00:00Z"}))
    settle(clinic)
    clinic.land("ehr", a_patient(gender="other", meta={"lastUpdated": "2026-02-01T00:00:00Z"}))
    settle(clinic)
    lane, [patient] = clinic.lane("vendor"), vendor.all("Patient")
    if vendor.name == "cerner":
        assert (lane["state"], patient["gender"]) == ("idle", "other")
        assert vendor.methods() == ["POST Patient", "PATCH Patient"]
    else:
        assert (lane["state"], lane["reason"]) == ("quarantined", "not_offered")
        assert vendor.methods() == ["POST Patient"]


def test_an_appointment_is_made_where_that_is_taken(vendor: Vendor, clinic: Clinic) -> None:
    clinic.land("ehr", a_patient(), an_appointment("a1", status="proposed"))
    settle(clinic)
    lane = clinic.lane("vendor", "appointment")
    if vendor.name == "cerner":
        assert (lane["state"], len(vendor.all("Appointment"))) == ("idle", 1)
    else:
        assert (lane["state"], lane["reason"]) == ("quarantined", "not_offered")
        assert "POST Appointment" not in vendor.methods()


def test_what_the_vendor_keeps_otherwise_is_not_made_again(vendor: Vendor, clinic: Clinic) -> None:
    """Its booking of what we proposed, without our number: it may be ours, and only a person can tell."""
    if vendor.name != "cerner":
        pytest.skip("the vendor takes no appointments")
    clinic.land("ehr", a_patient())
    settle(clinic)
    vendor.turn("PUT", "faults", [{"on": "POST Appointment", "kind": "drop_answer", "next": 1}])
    clinic.land("ehr", an_appointment("a1", status="proposed"))
    assert clinic.flow("vendor").outcomes["unknown"] == 1
    [made] = vendor.all("Appointment")
    del made["identifier"]
    vendor.turn("PUT", "records", [{**made, "status": "booked"}])
    settle(clinic)
    lane = clinic.lane("vendor", "appointment")
    assert (lane["state"], lane["reason"]) == ("quarantined", "possible_duplicate")
    ref = f"Appointment/{made['id']}"
    duplicate_search.decide(clinic.outbound, clinic.workspace, str(lane["lane_id"]), ref, actor="nurse")
    settle(clinic)
    lane = clinic.lane("vendor", "appointment")
    assert (lane["state"], lane["sink_ref"], len(vendor.all("Appointment"))) == ("idle", ref, 1)
