"""``status`` says what there is, from real rows: exact counts, and a verdict with its reasons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connector_runner.infra.database import Database, one
from connector_runner.infra.queue import Publisher
from connector_runner.infra.sealing import Sealer
from connector_runner.observability import status
from connector_runner.resilience.quarantine import Quarantine
from tests.integration.clinic import EHR, PARTNER, Clinic, a_patient


@pytest.fixture
def quarantine() -> Quarantine:
    return Quarantine(Sealer(bytes(32)))


@pytest.fixture
def clinic(database: Database, quarantine: Quarantine, workspace: str) -> Clinic:
    return Clinic(database, quarantine, workspace)


def look(clinic: Clinic) -> dict[str, Any]:
    return status.of_workspace(clinic.database, clinic.quarantine, clinic.workspace)


def codes(found: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in found["reasons"]]


def test_it_is_starting_until_every_polled_source_was_polled(clinic: Clinic) -> None:
    assert look(clinic)["status"] == "starting"  # neither a source nor an event
    clinic.apply(PARTNER)
    assert look(clinic)["status"] == "healthy"  # a file drop waits for nobody
    ehr = clinic.apply(EHR)
    assert look(clinic)["status"] == "starting"
    clinic.polled(ehr)
    found = look(clinic)
    assert (found["status"], found["reasons"]) == ("healthy", [])
    assert [(s["name"], s["source_type"], s["health_status"]) for s in found["sources"]] == [
        ("ehr", "fhir_store", "healthy"),
        ("partner", "file_drop", "healthy"),
    ]


def test_the_counts_are_exact_whoever_brought_the_events(clinic: Clinic) -> None:
    ehr, partner = clinic.apply(EHR), clinic.apply(PARTNER)
    clinic.land(ehr, a_patient(1), a_patient(2))
    clinic.land(ehr, a_patient(1, gender="female"), a_patient(2))
    clinic.land(partner, {"resourceType": "Organization", "id": "o", "name": "North"})
    clinic.hear("Nobody")
    found = look(clinic)
    with clinic.database.begin(clinic.workspace) as tx:
        really = one(tx, "SELECT count(*) AS n FROM event")
    assert found["events"] == {"total": 5}
    assert found["events"]["total"] == (really or {})["n"]
    assert found["entities"] == {"organization": 1, "patient": 3}
    assert {s["name"]: s["event_count"] for s in found["sources"]} == {"ehr": 3, "partner": 1}


def test_one_failing_source_degrades_with_its_reason_and_recovers(clinic: Clinic) -> None:
    ehr = clinic.apply(EHR)
    clinic.polled(ehr, times_failed=3)
    found = look(clinic)
    assert found["status"] == "degraded"
    assert found["reasons"] == [{"code": "unreachable", "source": "ehr", "detail": "the address cannot be reached"}]
    assert found["sources"][0]["consecutive_errors"] == 3
    assert [(alert["source"], alert["kind"], alert["code"]) for alert in found["alerts"]] == [
        ("ehr", "health", "unreachable")
    ]
    clinic.polled(ehr)
    found = look(clinic)
    assert (found["status"], found["alerts"]) == ("healthy", [])


def test_a_disabled_source_degrades_nothing(clinic: Clinic) -> None:
    clinic.polled(clinic.apply(EHR), times_failed=3)
    assert look(clinic)["alerts"]
    clinic.apply(EHR | {"enabled": False})
    clinic.apply(PARTNER)
    assert look(clinic)["alerts"] == []
    found = look(clinic)
    assert (found["status"], found["sources"][0]["health_status"]) == ("healthy", "disabled")


def test_polls_that_nobody_takes_degrade(clinic: Clinic) -> None:
    clinic.polled(clinic.apply(EHR))
    clinic.run("UPDATE source_resource SET due_at = now() - interval '5 minutes'")
    found = look(clinic)
    assert (found["status"], codes(found)) == ("degraded", ["polls_late"])
    assert 295 < found["polls"]["late_s"] < 320
    clinic.run("UPDATE source_resource SET lease_until = now() + interval '1 minute'")
    assert look(clinic)["status"] == "healthy"  # somebody is at it, however long it takes
    clinic.run("UPDATE source_resource SET lease_until = NULL")
    clinic.run("UPDATE workspace SET status = 'suspended'")
    assert codes(look(clinic)) == []


def test_each_lane_counts_once(clinic: Clinic) -> None:
    ehr = clinic.apply(EHR)
    clinic.polled(ehr)
    assert look(clinic)["sinks"][0]["lanes"] == {"idle": 0}
    for state in ("ready", "leased", "waiting", "unknown", "paused", "quarantined", "quarantined", "idle"):
        clinic.lane(ehr, state, due_ago_s=40)
    clinic.lane(ehr, "idle", written=True)
    found = look(clinic)
    sink = found["sinks"][0]
    assert (sink["name"], sink["synced"], sink["pending"], sink["failed"], sink["held"]) == ("ehr", 1, 5, 2, 1)
    assert sink["lanes"] == {
        "idle": 2, "leased": 1, "paused": 1, "quarantined": 2, "ready": 1, "unknown": 1, "waiting": 1,
    }  # fmt: skip
    assert sum(sink["lanes"].values()) == sum(sink[name] for name in ("synced", "pending", "failed", "held"))
    assert 39 < sink["oldest_ready_s"] < 60
    assert found["status"] == "healthy"  # failed lanes are single records' trouble


def test_a_paused_sink_and_an_open_breaker_degrade(clinic: Clinic) -> None:
    clinic.polled(clinic.apply(EHR))
    clinic.run(
        "UPDATE data_source SET sink_paused_reason = 'unauthorized', sink_breaker_until = now() + interval '1 minute'"
    )
    found = look(clinic)
    assert (found["status"], codes(found)) == ("degraded", ["sink_paused", "sink_breaker_open"])
    assert found["sinks"][0]["paused_reason"] == "unauthorized"
    clinic.run("UPDATE data_source SET sink_paused_reason = NULL, sink_breaker_until = now() - interval '1 second'")
    assert look(clinic)["status"] == "healthy"


def test_what_waits_is_counted_and_quarantine_alone_does_not_degrade(clinic: Clinic) -> None:
    ehr = clinic.apply(EHR)
    clinic.polled(ehr)
    clinic.reject("one")
    clinic.reject("two")
    clinic.land(ehr, {"resourceType": "Unheard", "id": "1"})
    clinic.run(
        "INSERT INTO pending_release (workspace_id, entity_id, requested_at)"
        " VALUES (:ws, gen_random_uuid(), now() - interval '30 seconds')"
    )
    clinic.run("INSERT INTO dirty_entity (workspace_id, entity_id, reason) VALUES (:ws, gen_random_uuid(), 'x')")
    clinic.run(
        "INSERT INTO import_job (workspace_id, import_id, data_source_id, status)"
        " SELECT :ws, gen_random_uuid(), :source, unnest(ARRAY['running', 'completed'])",
        source=ehr.data_source_id,
    )
    found = look(clinic)
    assert (found["quarantine"], found["folding"], found["imports"]) == ({"open": 2}, {"pending": 1}, {"running": 1})
    assert found["release"]["pending"] == 1
    assert 29 < found["release"]["oldest_s"] < 60
    assert found["unmapped"] == [{"source": "ehr", "resource_type": "Unheard", "records": 1}]
    assert found["status"] == "healthy"
    clinic.run("UPDATE pending_release SET requested_at = now() - interval '1 hour'")
    assert codes(look(clinic)) == ["releases_late"]


def test_workspaces_do_not_see_each_other_and_add_up(
    clinic: Clinic, database: Database, quarantine: Quarantine, new_workspace: Callable[[], str]
) -> None:
    other = Clinic(database, quarantine, new_workspace())
    clinic.land(clinic.apply(PARTNER), a_patient(1), a_patient(2))
    ehr = other.apply(EHR)
    other.land(ehr, a_patient(1))
    other.polled(ehr, times_failed=3)
    other.reject("one")
    mine, others = look(clinic), look(other)
    assert (mine["events"], mine["quarantine"], mine["sinks"]) == ({"total": 2}, {"open": 0}, [])
    assert (others["events"], others["entities"]) == ({"total": 1}, {"patient": 1})
    both = status.together([mine, others])
    assert (both["status"], both["events"], both["entities"]) == ("degraded", {"total": 3}, {"patient": 3})
    assert [source["name"] for source in both["sources"]] == ["partner", "ehr"]
    assert both.keys() == mine.keys() == status.together([]).keys()


def test_without_redis_the_installation_is_degraded_and_still_answers(
    clinic: Clinic, database: Database, redis_url: str
) -> None:
    clinic.polled(clinic.apply(EHR))
    found = look(clinic)
    reached = status.with_installation(found, status.of_installation(database, Publisher(redis_url)))
    assert reached["status"] == "healthy"
    assert {"poll", "imports", "project"} <= reached["queues"].keys()
    assert any(name.startswith("sink.") and name.endswith(".ehr") for name in reached["queues"])
    lost = status.with_installation(found, status.of_installation(database, Publisher("redis://127.0.0.1:9/0")))
    assert (lost["status"], lost["queues"], codes(lost)) == ("degraded", None, ["redis_unreachable"])


def test_writes_that_are_due_need_a_worker(clinic: Clinic, database: Database, redis_url: str) -> None:
    ehr = clinic.apply(EHR)
    clinic.polled(ehr)
    clinic.lane(ehr, "ready", due_ago_s=300)
    found, publisher = look(clinic), Publisher(redis_url)
    alone = status.with_installation(found, status.of_installation(database, publisher))
    assert (alone["status"], alone["workers"], codes(alone)) == ("degraded", [], ["no_worker"])
    clinic.run("INSERT INTO node_heartbeat (node, kind) VALUES ('io@here', 'io')")
    manned = status.with_installation(found, status.of_installation(database, publisher))
    assert (manned["status"], [worker["node"] for worker in manned["workers"]]) == ("healthy", ["io@here"])
