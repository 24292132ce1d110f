"""From an EHR's record to a CRM that is not FHIR: created once, changed in part, and never asked back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests

from connector_runner.connectors import directory
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.operating.status import lanes_by_state
from connector_runner.outbound.sinks.sink_state_store import end_pause
from connector_runner.sandbox import launch
from tests.integration.outbound_stack import FAST, Clinic, System, a_patient, an_appointment, eventually, sinks_of

RECORDS: dict[str, dict[str, Any]] = {
    "Contact": {
        "path": "contacts",
        "external_id_field": "externalId",
        "upsert_path": "contacts/by-external-id/{external_id}",
        "list_field": "results",
        "version": "etag",
        "updated_field": "updatedAt",
        "read_only": ["createdAt", "version"],
    },
    "Activity": {
        "path": "activities",
        "external_id_field": "externalId",
        "create": "idempotent_post",
        "search_param": "externalId",
        "list_field": "results",
        "version": "none",
        "read_only": ["createdAt", "version", "updatedAt"],
    },
}


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("crm") as system:
        yield system


@pytest.fixture
def crm(running: launch.Running) -> System:
    system = System(running)
    system.reset()
    return system


def apply_crm(clinic: Clinic, system: System, *, records: dict[str, Any] = RECORDS, **sink: Any) -> None:
    settings = {
        "mapping": "crm",
        "request_timeout_s": 2,
        "records": records,
        "errors": {"code": "error.code", "field": "error.field", "outcomes": {"EXISTS": "poison"}},
        "base_url": system.running.base_url,
        "sink": {"entity_types": ["patient", "appointment"], "accept_from": ["ehr"], "quiet_period_s": 0.3,
                 "rate": FAST, **sink},
    }  # fmt: skip
    document = {"name": "crm", "source_type": "rest_api", "settings": settings}
    with clinic.database.begin(clinic.workspace) as tx:
        applied = directory.apply(tx, clinic.workspace, document, actor="test", now=utc_now())
    clinic.ids["crm"] = applied[0].source.data_source_id
    sinks = sinks_of(clinic.database, clinic.outbound.sealer, clinic.outbound.limiter)
    clinic.outbound = replace(clinic.outbound, sinks=sinks)


def contacts(system: System, kind: str = "contacts") -> list[dict[str, Any]]:
    return list(requests.get(f"{system.running.base_url}/{kind}", timeout=10).json()["results"])


def test_a_patient_and_an_appointment_reach_a_crm_once(clinic: Clinic, ehr: System, crm: System) -> None:
    clinic.source("ehr", ehr)
    apply_crm(clinic, crm)
    clinic.land("ehr", an_appointment("a1"), a_patient())
    clinic.flow("crm")
    (contact,) = contacts(crm)
    assert contact.items() >= {
        "firstName": "Ada", "lastName": "Okafor", "birthDate": "1982-03-04", "phone": "617-555-0101",
    }.items()  # fmt: skip
    (activity,) = contacts(crm, "activities")
    assert (activity["contactId"], activity["kind"], activity["status"]) == (contact["id"], "appointment", "booked")
    assert clinic.lane("crm")["sink_ref"] == f"Contact/{contact['id']}"
    clinic.land("ehr", a_patient(phone="617-555-0199"))
    requests.patch(f"{crm.running.base_url}/contacts/1", json={"ownerNote": "VIP"}, timeout=10).raise_for_status()
    clinic.flow("crm")
    (contact,) = contacts(crm)
    assert contact.items() >= {"phone": "617-555-0199", "ownerNote": "VIP", "lastName": "Okafor"}.items()
    writes = len(crm.writes())
    clinic.land("ehr", a_patient(phone="617-555-0199", maritalStatus={"text": "Married"}))
    clinic.flow("crm")
    assert len(crm.writes()) == writes


def test_where_a_sink_has_no_clock_what_took_the_place_of_ours_stays(clinic: Clinic, ehr: System, crm: System) -> None:
    """Another's edit, that no poll has seen, came after what it replaced; only news of ours goes over it."""
    clinic.source("ehr", ehr)
    timeless = {**RECORDS, "Contact": {**RECORDS["Contact"], "updated_field": None, "version": "none"}}
    apply_crm(clinic, crm, records=timeless)
    clinic.land("ehr", a_patient(phone="617-555-0101"))
    clinic.flow("crm")
    requests.patch(f"{crm.running.base_url}/contacts/1", json={"phone": "617-555-0777"}, timeout=10).raise_for_status()
    clinic.land("ehr", a_patient(phone="617-555-0101", gender="male"))
    clinic.flow("crm")
    (contact,) = contacts(crm)
    assert (contact["gender"], contact["phone"]) == ("male", "617-555-0777")
    clinic.land("ehr", a_patient(phone="617-555-0199", gender="male"))
    clinic.flow("crm")
    assert contacts(crm)[0]["phone"] == "617-555-0199"


@pytest.mark.parametrize("kind", ["drop_answer", "late", "html", "no_id", "error_in_200", "infinite_body"])
def test_a_lost_create_is_looked_up_and_not_repeated(clinic: Clinic, ehr: System, crm: System, kind: str) -> None:
    clinic.source("ehr", ehr)
    apply_crm(clinic, crm, quiet_period_s=0.6)
    committed = {} if kind in ("drop_answer", "late", "no_id") else {"commit": True}
    crm.faults(
        {"on": "PUT contacts", "kind": kind, "next": 1, "seconds": 0.3, **committed},
        {"on": "POST activities", "kind": kind, "next": 1, "seconds": 0.3, **committed},
    )
    clinic.land("ehr", a_patient(), an_appointment("a1"))

    def settled() -> bool:
        clinic.flow("crm")
        return [lane["state"] for lane in clinic.lanes("crm")] == ["idle", "idle"]

    assert eventually(settled, 20)
    assert {lane["reason"] for lane in clinic.lanes("crm")} <= {"landed", "landed_otherwise", "in_step"}
    assert len(contacts(crm)) == len(contacts(crm, "activities")) == 1
    made = [entry for entry in crm.writes() if entry["committed"] and entry["method"] == "POST"]
    assert len(made) == 1


def test_a_wrong_address_pauses_the_sink_and_quarantines_nobody(clinic: Clinic, ehr: System, crm: System) -> None:
    clinic.source("ehr", ehr)
    apply_crm(clinic, crm)
    crm.faults({"on": "PUT contacts", "kind": "html", "status": 404})
    clinic.land("ehr", *(a_patient(f"p{number}") for number in range(3)))
    clinic.flow("crm")
    assert {(lane["state"], lane["reason"]) for lane in clinic.lanes("crm")} <= {("ready", "auth"), ("ready", None)}
    assert len(crm.writes()) <= 2, "no more than what was on its way"
    assert clinic.drain("crm").closed == "paused"
    with clinic.database.begin(clinic.workspace) as tx:
        (shown,) = [sink for sink in lanes_by_state(tx, clinic.workspace) if sink["name"] == "crm"]
        assert shown["paused_reason"] == "http_404"
        end_pause(tx, clinic.workspace, clinic.ids["crm"])
    crm.faults()
    clinic.execute("UPDATE sync_lane SET due_at = now() WHERE state = 'ready'")
    clinic.flow("crm")
    assert len(contacts(crm)) == 3


def test_a_sink_that_may_duplicate_stays_closed_until_that_is_accepted(
    clinic: Clinic, ehr: System, crm: System
) -> None:
    clinic.source("ehr", ehr)
    careless = {
        name: {**record, "create": "post", "search_param": None, "read_by_external_id": False}
        for name, record in RECORDS.items()
    }
    apply_crm(clinic, crm, records=careless)
    clinic.land("ehr", a_patient())
    clinic.release()
    assert clinic.drain("crm").closed == "possible_duplicates"
    assert contacts(crm) == []
    with clinic.database.begin(clinic.workspace) as tx:
        (shown,) = [sink for sink in lanes_by_state(tx, clinic.workspace) if sink["name"] == "crm"]
        assert (shown["paused_reason"], shown["possible_duplicates"]) == ("possible_duplicates", True)
        end_pause(tx, clinic.workspace, clinic.ids["crm"])
    apply_crm(clinic, crm, records=careless, allow_possible_duplicates=True)
    clinic.flow("crm")
    assert len(contacts(crm)) == 1


def test_what_changed_before_a_create_was_repeated_is_not_lost_in_the_answer_to_the_first(
    clinic: Clinic, ehr: System, crm: System
) -> None:
    """An API that knows the key again answers what it made then, whatever it is sent now."""
    clinic.source("ehr", ehr)
    unsearched = {**RECORDS, "Activity": {**RECORDS["Activity"], "search_param": None}}
    apply_crm(clinic, crm, records=unsearched)
    clinic.land("ehr", a_patient())
    clinic.flow("crm")
    crm.faults({"on": "POST activities", "kind": "drop_answer", "next": 1})
    clinic.land("ehr", an_appointment("a1", meta={"lastUpdated": "2026-11-20T10:00:00Z"}))
    clinic.flow("crm")
    moved = {"start": "2026-12-02T15:00:00Z", "end": "2026-12-02T15:20:00Z"}
    clinic.land("ehr", an_appointment("a1", **moved, meta={"lastUpdated": "2026-11-20T11:00:00Z"}))

    def settled() -> bool:
        clinic.flow("crm")
        return clinic.lane("crm", "appointment")["state"] == "idle"

    assert eventually(settled, 20)
    (activity,) = contacts(crm, "activities")
    assert activity["startsAt"] == "2026-12-02T15:00:00Z"
