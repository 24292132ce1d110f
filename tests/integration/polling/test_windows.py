"""What a poll asks for: everything, then what changed, slice by slice, and nothing skipped at the cursor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from connector_runner.infra.database import Database, execute
from connector_runner.intake import polling
from tests.contract.scripted import Query, ScriptedServer, bundle, patient, scripted_server
from tests.integration.polled import Clinic, Deps, Server
from tests.integration.polling.scripts import clinic_of


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


def test_a_type_counts_as_read_once_all_of_it_and_what_came_meanwhile_has_landed(
    clinic: Clinic, server: Server
) -> None:
    """A window has what was there when it was opened; of a large system it is open for hours."""
    for number in range(25):
        server.put(f"p{number}")
    assert clinic.poll(slice_s=0).more
    assert clinic.resource["read_whole_at"] is None, "half of it was read"
    server.put("registered-meanwhile")
    server.faults({"on": "GET Patient", "kind": "status", "status": 500, "next": 1})
    assert clinic.poll(slice_s=0).status == "failed"
    server.faults()
    clinic.poll_on(slice_s=0)
    assert clinic.resource["listed_whole_at"] is not None
    assert clinic.resource["read_whole_at"] is None
    clinic.poll_on()
    assert "registered-meanwhile" in clinic.alive
    first = clinic.resource["read_whole_at"]
    assert first is not None
    clinic.full_sync()
    assert clinic.resource["read_whole_at"] == first


def test_a_type_counts_as_read_though_looking_for_deletes_fails(clinic: Clinic, server: Server) -> None:
    """All has landed; what is asked next may fail for as long as the server is as it is."""
    server.put("p1")
    server.faults({"on": "GET Patient/_history", "kind": "status", "status": 500})
    for _ in range(2):
        assert clinic.poll().status == "failed"
    assert clinic.alive == {"p1"}
    assert clinic.resource["read_whole_at"] is not None


def test_what_was_off_for_a_while_is_read_anew_and_counts_once_it_was(clinic: Clinic, server: Server) -> None:
    """Not only at the next full sync, a day from now; nor with the second half of a window from before."""
    for number in range(25):
        server.put(f"p{number}")
    assert clinic.poll(slice_s=0).more
    settings: dict[str, Any] = {"base_url": server.system.base_url, "page_size": 10}
    for _ in ("in the middle of a window", "once all was read"):
        for enabled in (False, True):
            resources = {"Patient": {"cadence_s": 30, "enabled": enabled}}
            clinic.apply({"name": "ehr", "source_type": "fhir_store", "settings": settings | {"resources": resources}})
        clinic.poll_on()
        assert len(clinic.alive) == 25
        assert clinic.resource["read_whole_at"] is None
        clinic.poll_on()
        assert clinic.resource["read_whole_at"] is not None


@pytest.mark.parametrize("ever", [True, False])
def test_changes_alone_are_not_all_unless_all_is_never_asked_for(
    deps: Deps, workspace: str, server: Server, ever: bool
) -> None:
    """Some systems are never read in full: what waits for that would wait for ever."""
    clinic = Clinic(deps, workspace, server.system.base_url, resources={"Patient": {"full_sync_every_s": 86400}})
    server.put("p1")
    clinic.poll_on()
    every = 86400 if ever else None
    with deps.database.begin(workspace) as tx:
        execute(tx, "UPDATE source_resource SET listed_whole_at = NULL, full_sync_every_s = :every", every=every)
        if not ever:
            execute(tx, "UPDATE source_resource SET full_sync_due_at = NULL")
    for _ in range(2):
        clinic.poll_on()
    assert (clinic.resource["read_whole_at"] is None) is ever


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


# -- poison


POISON = """
CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF new.facts->>'gender' = 'other' THEN RAISE EXCEPTION 'poison'; END IF;
    RETURN new;
END $$;
CREATE TRIGGER poison BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION refuse_poison();
"""


@pytest.fixture
def poisoned(database: Database) -> Iterator[None]:
    """A database that refuses events of one kind of record, for a reason that nobody foresaw."""
    with database.sweep() as tx:
        execute(tx, POISON)
    yield
    with database.sweep() as tx:
        execute(tx, "DROP TRIGGER poison ON event; DROP FUNCTION refuse_poison()")


@pytest.mark.usefixtures("poisoned")
def test_a_record_that_makes_landing_fail_is_set_apart_and_the_rest_of_its_page_lands(
    deps: Deps, workspace: str, scripted: ScriptedServer
) -> None:
    page = [patient(f"p{n}", gender="other" if n in (3, 7) else "female") for n in range(9)]
    scripted.script = lambda path, query: (200, bundle(*page))
    resources = {"Patient": {"cadence_s": 30}}
    clinic = clinic_of(deps, workspace, scripted, resources=resources)
    outcome = clinic.poll()
    assert outcome.status == "done"
    assert clinic.alive == {f"p{n}" for n in range(9)} - {"p3", "p7"}
    assert outcome.landed.quarantined == 2
    assert clinic.resource["cursor"]["since"]
    found = clinic.query("SELECT stage, code, place, data_source_id::text AS source, context, times FROM quarantine"
                         " WHERE status = 'open' ORDER BY place")  # fmt: skip
    assert [(row["stage"], row["code"], row["place"]) for row in found] == [
        ("poll", "internal_error", "Patient/p3"),
        ("poll", "internal_error", "Patient/p7"),
    ]
    assert {row["source"] for row in found} == {clinic.source.data_source_id}
    assert clinic.health == ("healthy", None)
    clinic.poll()
    again = clinic.query("SELECT times FROM quarantine WHERE status = 'open'")
    assert len(again) == 2
