"""Polling a simulated FHIR server into a real Postgres, through what goes wrong on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from connector_runner.connectors import directory
from connector_runner.infra.database import Database, execute, one
from connector_runner.intake import polling
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.sandbox import launch
from tests.contract.scripted import Query, bundle, patient, scripted_server
from tests.integration.polled import Clinic, Deps, Server, deps_of


@pytest.fixture
def deps(database: Database, redis_url: str) -> Iterator[Deps]:
    with deps_of(database, redis_url) as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store") as system:
        yield system


@pytest.fixture
def server(running: launch.Running) -> Server:
    return Server(running)


@pytest.fixture
def clinic(deps: Deps, workspace: str, server: Server) -> Clinic:
    return Clinic(deps, workspace, server.system.base_url)


def test_everything_then_only_what_changed(clinic: Clinic, server: Server) -> None:
    for n in range(25):
        server.put(f"p{n}", gender="female")
    first = clinic.poll()
    assert (first.status, first.pages, first.landed.events_created) == ("done", 3, 25)
    again = clinic.poll()
    assert (again.landed.events_created, again.landed.events_updated) == (0, 0)
    server.put("p3", gender="male")
    changed = clinic.poll()
    assert (changed.landed.events_created, changed.landed.events_updated) == (0, 1)
    assert clinic.events == 26
    assert clinic.health == ("healthy", None)


def test_it_is_not_polled_before_its_time_nor_twice_at_once(clinic: Clinic, server: Server) -> None:
    for n in range(30):
        server.put(f"p{n}")
    with ThreadPoolExecutor(8) as pool:
        clinic.at += timedelta(seconds=1)
        outcomes = list(pool.map(lambda n: clinic.poll(after_s=0, owner=f"w{n}"), range(8)))
    assert sorted(outcome.status for outcome in outcomes) == ["done"] + ["not_due"] * 7
    assert clinic.events == 30
    assert clinic.poll(after_s=20).status == "not_due"
    assert clinic.poll(after_s=10).status == "done"


def test_slices_go_on_where_they_stopped(clinic: Clinic, server: Server) -> None:
    for n in range(45):
        server.put(f"p{n}")
    outcomes = clinic.poll_on(slice_s=0)
    assert [outcome.status for outcome in outcomes] == ["more"] * 4 + ["done"]
    assert [outcome.pages for outcome in outcomes] == [1] * 5
    assert len(clinic.alive) == 45


def test_records_at_the_very_instant_of_the_cursor_are_not_skipped(deps: Deps, workspace: str) -> None:
    stamp = "2026-03-01T00:00:00.000Z"
    with scripted_server() as scripted:
        stored = [patient(f"p{n}", stamp, gender="other") for n in range(30)]

        def script(path: str, query: Query) -> tuple[int, Any]:
            if path == "metadata":
                return 200, {"resourceType": "CapabilityStatement"}
            bound = query.get("_lastUpdated", ["ge"])[0].removeprefix("ge")
            return 200, bundle(*(row for row in stored if row["meta"]["lastUpdated"] >= bound))

        scripted.script = script
        clinic = Clinic(deps, workspace, scripted.base_url, overlap_s=0)
        clinic.poll()
        stored.append(patient("late", stamp, gender="other"))
        assert clinic.poll().landed.events_created == 1
        assert len(clinic.alive) == 31


def test_a_change_on_a_page_that_was_already_read_is_found_by_the_next_window(clinic: Clinic, server: Server) -> None:
    for n in range(30):
        server.put(f"p{n}", gender="female")
    assert clinic.poll(slice_s=0).more
    server.put("p0", gender="male")
    server.put("p29", gender="male")
    clinic.poll_on(after_s=0.01)
    clinic.poll()
    states = clinic.query(
        "SELECT state->>'gender' AS gender FROM projection  WHERE canonical_id IN ('ehr:Patient:p0', 'ehr:Patient:p29')"
    )
    assert [row["gender"] for row in states] == ["male", "male"]


def test_a_failing_page_moves_no_cursor_and_deletes_nothing(clinic: Clinic, server: Server) -> None:
    for n in range(30):
        server.put(f"p{n}")
    clinic.poll()
    before = clinic.resource
    server.put("new")
    server.faults({"on": "GET Patient", "kind": "status", "status": 503, "next": 50})
    failed = clinic.full_sync()
    assert (failed.status, failed.code) == ("failed", "http_503")
    assert clinic.resource["cursor"] == before["cursor"]
    assert clinic.resource["lease_until"] is None
    assert clinic.resource["due_at"] > clinic.at
    assert len(clinic.alive) == 30
    server.faults()
    clinic.poll()
    assert "new" in clinic.alive


def test_health_turns_after_three_failures_and_back_after_one_success(clinic: Clinic, server: Server) -> None:
    clinic.poll()
    server.faults({"on": "GET Patient", "kind": "html", "next": 50})
    seen = []
    for _ in range(4):
        clinic.poll()
        seen.append(clinic.health)
    code = clinic.resource["last_error_code"]
    assert seen == [("healthy", code), ("healthy", code), ("unhealthy", code), ("unhealthy", code)]
    server.faults()
    assert clinic.poll().status == "done"
    assert clinic.health == ("healthy", None)
    assert clinic.resource["consecutive_errors"] == 0


def test_an_unreachable_source_is_named_and_stops_no_other(deps: Deps, workspace: str, server: Server) -> None:
    down = Clinic(deps, workspace, "http://127.0.0.1:9/fhir")
    for _ in range(3):
        assert down.poll().code == "not_sent"
    assert down.health == ("unhealthy", "not_sent")
    document = {
        "name": "other",
        "source_type": "fhir_store",
        "settings": {"base_url": server.system.base_url, "resources": ["Patient"]},
    }
    other = down.apply(document)
    at = down.at + timedelta(seconds=1)
    outcome = polling.poll(deps, workspace, other.data_source_id, "Patient", owner="x", now=at)
    assert outcome.status == "done"


def test_a_secret_that_is_missing_makes_the_source_unhealthy_without_its_value(
    deps: Deps, workspace: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = {"kind": "bearer", "token": "env:EHR_TOKEN_OF_TEST"}
    monkeypatch.delenv("EHR_TOKEN_OF_TEST", raising=False)
    clinic = Clinic(deps, workspace, server.system.base_url, auth=auth)
    assert clinic.poll().status == "failed"
    (row,) = clinic.query("SELECT health_detail FROM data_source")
    assert "EHR_TOKEN_OF_TEST" in row["health_detail"]
    monkeypatch.setenv("EHR_TOKEN_OF_TEST", "t")
    assert clinic.poll().status == "done"


def test_explicit_deletes_are_taken_from_history_and_a_record_may_come_back(clinic: Clinic, server: Server) -> None:
    for n in range(12):
        server.put(f"p{n}", gender="female")
    clinic.poll()
    server.delete("p1")
    server.delete("p2")
    outcome = clinic.poll()
    assert outcome.deleted == 2
    assert len(clinic.alive) == 10
    assert clinic.poll().deleted == 0
    server.put("p1", gender="female")
    clinic.poll()
    assert "p1" in clinic.alive
    clinic.poll()
    assert "p1" in clinic.alive


@pytest.fixture
def without_history(deps: Deps, workspace: str, server: Server) -> Clinic:
    return Clinic(deps, workspace, server.system.base_url, history=False)


def test_a_complete_full_sync_finds_what_is_gone(without_history: Clinic, server: Server) -> None:
    clinic = without_history
    for n in range(25):
        server.put(f"p{n}")
    clinic.poll()
    server.delete("p7")
    assert clinic.poll().deleted == 0
    outcome = clinic.full_sync()
    assert (outcome.status, outcome.deleted) == ("done", 1)
    assert clinic.alive == {f"p{n}" for n in range(25)} - {"p7"}
    assert clinic.query("SELECT count(*) AS n FROM full_sync_seen") == [{"n": 0}]
    assert clinic.resource["full_sync_due_at"] > clinic.at


def test_a_full_sync_over_many_slices_deletes_as_one_run(without_history: Clinic, server: Server) -> None:
    clinic = without_history
    for n in range(25):
        server.put(f"p{n}")
    clinic.poll()
    server.delete("p0")
    with clinic.deps.database.begin(clinic.workspace) as tx:
        directory.request_sync(tx, clinic.workspace, clinic.source.data_source_id, now=clinic.at, full=True)
    outcomes = clinic.poll_on(slice_s=0)
    assert len(outcomes) == 3
    assert sum(outcome.deleted for outcome in outcomes) == 1
    assert "p0" not in clinic.alive


def test_too_many_deletes_at_once_wait_for_a_person(without_history: Clinic, server: Server) -> None:
    clinic = without_history
    for n in range(20):
        server.put(f"p{n}")
    clinic.poll()
    for n in range(6):
        server.delete(f"p{n}")
    outcome = clinic.full_sync()
    assert (outcome.status, outcome.deleted, outcome.parked) == ("done", 0, 6)
    clinic.full_sync()
    (row,) = clinic.quarantine
    assert (row["stage"], row["code"], row["times"]) == ("tombstones", "too_many_deletes", 2)
    assert row["context"]["ids"] == [f"p{n}" for n in range(6)]
    assert len(clinic.alive) == 20
    server.put("p5")
    polling.bury_parked(
        clinic.deps, clinic.workspace, clinic.source.data_source_id, "Patient", row["context"]["ids"], now=clinic.at
    )
    assert clinic.alive == {f"p{n}" for n in range(5, 20)}


def test_too_many_deletes_in_the_history_wait_too(clinic: Clinic, server: Server) -> None:
    for n in range(20):
        server.put(f"p{n}")
    clinic.poll()
    for n in range(6):
        server.delete(f"p{n}")
    assert clinic.poll().parked == 6
    assert len(clinic.alive) == 20
    assert [row["code"] for row in clinic.quarantine] == ["too_many_deletes"]


@pytest.mark.parametrize("missing_as", [403, 401, 500])
def test_what_may_not_be_read_is_not_deleted(deps: Deps, workspace: str, missing_as: int) -> None:
    with scripted_server() as scripted:
        stored = [patient(f"p{n}") for n in range(10)]

        def script(path: str, query: Query) -> tuple[int, Any]:
            return (missing_as, {}) if path == "Patient/p0" else (200, bundle(*stored))

        scripted.script = script
        clinic = Clinic(deps, workspace, scripted.base_url, history=False)
        clinic.poll()
        del stored[0]
        assert clinic.full_sync().status == "failed"
        assert "p0" in clinic.alive


def test_a_lost_scope_that_answers_404_is_caught_by_the_canary(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        stored = [patient(f"p{n}") for n in range(10)]
        scripted.script = lambda path, query: (200, bundle(*stored)) if path == "Patient" else (404, {})
        clinic = Clinic(deps, workspace, scripted.base_url, history=False)
        clinic.poll()
        del stored[0]
        outcome = clinic.full_sync()
        assert (outcome.status, outcome.code) == ("failed", "canary_failed")
        del stored[:]
        assert clinic.full_sync().parked == 10
        assert [row["code"] for row in clinic.quarantine] == ["nothing_listed"]
        assert len(clinic.alive) == 10


def test_what_the_listing_leaves_out_but_a_direct_read_finds_stays(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        stored = [patient(f"p{n}") for n in range(10)]
        newer = patient("p0", "2026-02-01T00:00:00Z", gender="male")
        scripted.script = lambda path, query: (200, newer if path == "Patient/p0" else bundle(*stored))
        clinic = Clinic(deps, workspace, scripted.base_url, history=False)
        clinic.poll()
        del stored[0]
        outcome = clinic.full_sync()
        assert (outcome.status, outcome.deleted) == ("done", 0)
        assert clinic.query("SELECT state->>'gender' AS g FROM projection WHERE canonical_id = 'ehr:Patient:p0'") == [
            {"g": "male"}
        ]


def test_what_is_no_record_is_quarantined_once_and_the_page_goes_on(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        scripted.script = lambda path, query: (200, bundle(patient("ok"), {"resourceType": "Patient"}))
        clinic = Clinic(deps, workspace, scripted.base_url)
        clinic.poll()
        assert clinic.poll().status == "done"
        assert clinic.alive == {"ok"}
        assert [(row["stage"], row["code"], row["times"]) for row in clinic.quarantine] == [("poll", "no_id", 2)]


def test_who_lost_the_lease_writes_nothing(deps: Deps, workspace: str) -> None:
    """While the first waits for its page, its lease runs out and a second polls; then the first's page comes."""
    asked, go = threading.Event(), threading.Event()
    with scripted_server() as scripted:

        def script(path: str, query: Query) -> tuple[int, Any]:
            if not asked.is_set():
                asked.set()
                assert go.wait(20)
                return 200, bundle(patient("stale", gender="female"))
            return 200, bundle(patient("fresh", gender="female"))

        scripted.script = script
        clinic = Clinic(deps, workspace, scripted.base_url, history=False)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(clinic.poll, after_s=1, owner="first")
            assert asked.wait(20)
            second = clinic.poll(after_s=600, owner="second")
            go.set()
            lost = first.result(30)
        assert (second.status, lost.status) == ("done", "lost")
        assert clinic.alive == {"fresh"}
        assert clinic.resource["fence"] == 2
        assert clinic.health == ("healthy", None)


def test_a_crash_between_page_and_commit_reads_the_page_again(
    clinic: Clinic, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(25):
        server.put(f"p{n}")
    landings = []
    land = clinic.deps.intake.land

    def dies(*args: Any, **kwargs: Any) -> Any:
        landed = land(*args, **kwargs)
        landings.append(landed)
        if len(landings) == 2:
            raise KeyboardInterrupt
        return landed

    monkeypatch.setattr(clinic.deps.intake, "land", dies)
    with pytest.raises(KeyboardInterrupt):
        clinic.poll()
    assert len(clinic.alive) == 10
    assert clinic.poll(after_s=1).status == "not_due", "the lease of the dead one still runs"
    assert clinic.poll().pages == 2
    assert len(clinic.alive) == 25
    assert clinic.events == 25


def test_the_sweep_finds_what_is_due_and_beat_what_is_enabled(clinic: Clinic, server: Server) -> None:
    def found(at: datetime) -> bool:
        with clinic.deps.database.sweep() as tx:
            overdue = polling.overdue(tx, at, 10_000)
        return any(str(row["workspace_id"]) == clinic.workspace for row in overdue)

    def entries() -> list[tuple[str, str, float]]:
        with clinic.deps.database.sweep() as tx:
            return [
                (row["source"], row["resource_type"], row["cadence_s"])
                for row in polling.entries(tx)
                if str(row["workspace_id"]) == clinic.workspace
            ]

    assert found(clinic.at)
    clinic.poll()
    assert not found(clinic.at)
    assert found(clinic.at + timedelta(seconds=31))
    assert entries() == [("ehr", "Patient", 30)]
    settings = {"base_url": server.system.base_url, "resources": ["Observation"]}
    clinic.apply({"name": "ehr", "source_type": "fhir_store", "settings": settings})
    assert entries() == [("ehr", "Observation", 60)]
    clinic.apply({"name": "ehr", "source_type": "fhir_store", "enabled": False, "settings": settings})
    assert entries() == []
    assert not found(clinic.at + timedelta(days=1))
    assert clinic.health[0] == "disabled"


def test_applying_is_audited_idempotent_and_begins_anew_at_another_address(clinic: Clinic, server: Server) -> None:
    server.put("a")
    clinic.poll()
    assert clinic.resource["cursor"]["since"]
    settings = {"base_url": server.system.base_url, "page_size": 10, "resources": {"Patient": {"cadence_s": 30}}}
    document = {"name": "ehr", "source_type": "fhir_store", "settings": settings}
    outcomes = []
    for _ in range(2):
        with clinic.deps.database.begin(clinic.workspace) as tx:
            (applied,) = directory.apply(
                tx, clinic.workspace, {**document, "name": "other"}, actor="test", now=clinic.at
            )
        outcomes.append(applied.outcome)
    assert outcomes == ["created", "unchanged"]
    settings["page_size"] = 20
    clinic.apply(document)
    cursor = "SELECT cursor FROM source_resource WHERE data_source_id = :id"
    (row,) = clinic.query(cursor, id=clinic.source.data_source_id)
    assert row["cursor"]["since"], "a changed page size keeps the cursor"
    settings["base_url"] = "http://127.0.0.1:9/fhir"
    clinic.apply(document)
    (row,) = clinic.query(cursor, id=clinic.source.data_source_id)
    assert row["cursor"] == {}
    actions = clinic.query("SELECT action, detail->>'outcome' AS outcome FROM audit_log ORDER BY n")
    assert {"action": "source.apply", "outcome": "created"} in actions
    assert actions[-1] == {"action": "source.apply", "outcome": "changed"}


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"name": "x", "source_type": "fhir_store", "settings": {}}, "f.yaml: settings.base_url"),
        ({"name": "x", "source_type": "fhir_store", "settings": {"base_url": "ftp://x"}}, "f.yaml: settings.base_url"),
        ({"name": "x", "source_type": "fax"}, "f.yaml: source_type"),
        ({"name": "X y", "source_type": "file_drop"}, "f.yaml: name"),
        ({"name": "x", "source_type": "file_drop", "colour": 1}, "f.yaml: colour"),
        (
            {"name": "x", "source_type": "fhir_store",
             "settings": {"base_url": "http://x", "auth": {"kind": "bearer", "token": "hunter2"}}},
            "f.yaml: settings.auth.token",
        ),
        (
            {"name": "x", "source_type": "fhir_store",
             "settings": {"base_url": "http://x", "resources": {"Patient": {"cadence": 3}}}},
            "f.yaml: settings.resources.Patient.cadence",
        ),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_by_file_and_key(
    database: Database, workspace: str, document: dict[str, Any], where: str
) -> None:
    with pytest.raises(Misconfigured) as caught, database.begin(workspace) as tx:
        directory.apply(tx, workspace, document, actor="test", now=utc_now(), file="f.yaml")
    assert caught.value.where == where
    assert "hunter2" not in str(caught.value)
    with database.begin(workspace) as tx:
        assert one(tx, "SELECT 1 FROM data_source") is None


def test_a_suspended_workspace_is_not_polled(clinic: Clinic) -> None:
    with clinic.deps.database.begin(clinic.workspace) as tx:
        execute(tx, "UPDATE workspace SET status = 'suspended'")
    assert clinic.poll().status == "not_due"


def test_a_source_can_be_tried_without_landing_anything(clinic: Clinic, server: Server) -> None:
    server.put("a")
    tried = polling.test_connection(clinic.deps, clinic.source)
    assert tried == {"ok": True, "resources": {"Patient": {"ok": True, "records": 1, "unusable": 0}}}
    server.faults({"on": "GET Patient", "kind": "status", "status": 403, "next": 50})
    tried = polling.test_connection(clinic.deps, clinic.source)
    assert not tried["ok"]
    assert tried["resources"]["Patient"]["code"] == "forbidden"
    assert clinic.events == 0
    assert clinic.resource["cursor"] == {}
