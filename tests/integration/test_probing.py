"""Probing servers: what they declare, what they heed, what follows for reading, and what is told when it changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from operator import eq, ge, gt, lt
from typing import Any

import pytest

from connector_runner.connectors import directory
from connector_runner.connectors.probing import capability_store
from connector_runner.infra.database import Database
from connector_runner.intake import probing
from connector_runner.intake.roster import KnownPatients
from connector_runner.kernel.errors import Unavailable
from connector_runner.resilience import alerts
from connector_runner.sandbox import launch
from tests.contract.scripted import Query, bundle, patient, scripted_server
from tests.integration.polled import Clinic, Deps, Server, deps_of

STAMPS = [f"2026-01-0{day}T00:00:00.000Z" for day in range(1, 5)]


@pytest.fixture
def deps(database: Database, redis_url: str) -> Iterator[Deps]:
    with deps_of(database, redis_url) as made:
        yield made


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store") as system:
        yield system


class Wayward:
    """A server whose filter by stamps works until it is told to stop."""

    def __init__(self) -> None:
        self.rows = [patient(f"p{n}", stamp, gender="other") for n, stamp in enumerate(STAMPS)]
        self.filters = True

    def __call__(self, path: str, query: Query) -> tuple[int, Any]:
        if path == "metadata":
            kind = {"type": "Patient", "interaction": [{"code": "read"}, {"code": "search-type"}]}
            kind["searchParam"] = [{"name": "_lastUpdated", "type": "date"}]
            return 200, {"resourceType": "CapabilityStatement", "rest": [{"resource": [kind]}]}
        if "/" in path:
            found = [row for row in self.rows if path == f"Patient/{row['id']}"]
            return (200, found[0]) if found else (404, {})
        rows = self.rows
        if self.filters and "_lastUpdated" in query:
            rows = [row for row in rows if row["meta"]["lastUpdated"] >= query["_lastUpdated"][0].removeprefix("ge")]
        if query.get("_sort") == ["-_lastUpdated"]:
            rows = rows[::-1]
        return 200, bundle(*rows)


@pytest.mark.parametrize("bulk", [None, {"scope": "system"}])
def test_where_the_filter_is_ignored_exports_are_asked_for_if_they_are_stated(
    deps: Deps, workspace: str, bulk: dict[str, Any] | None
) -> None:
    with scripted_server() as scripted:
        scripted.script = server = Wayward()
        server.filters = False
        stated = {} if bulk is None else {"bulk": bulk}
        clinic = Clinic(deps, workspace, scripted.base_url, history=False, **stated)
        clinic.poll()
        probing.probe(deps, clinic.source, now=clinic.at)
        assert found(clinic, "strategy")[1] == ("whole" if bulk is None else "bulk")
        scripted.asked.clear()
        assert clinic.poll().status == "done"
        exports = clinic.query("SELECT types, state FROM export_job")
        assert bool(scripted.asked) is (bulk is None)
        assert exports == ([] if bulk is None else [{"types": ["Patient"], "state": "starting"}])
        # What is gone is found all the same, by a full sync that reads the list.
        del server.rows[0]
        assert clinic.full_sync().deleted == 1


def _elsewhere(query: Query) -> list[str]:
    """The bounds as a server of UTC-5 takes them that passes over their zone."""
    shifted = [datetime.fromisoformat(bound[2:]) + timedelta(hours=5) for bound in query.get("_lastUpdated", [])]
    return [
        bound[:2] + instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for bound, instant in zip(query.get("_lastUpdated", []), shifted, strict=True)
    ]


@pytest.mark.parametrize(
    ("bounds", "strategy"),
    [
        (lambda query: query.get("_lastUpdated", []), "last_updated"),
        (_elsewhere, "whole"),
        (lambda query: [bound.replace("ge", "eq") for bound in query.get("_lastUpdated", [])], "whole"),
        (lambda query: query.get("_lastUpdated", [])[:1], "last_updated"),
        (lambda query: query.get("_lastUpdated", [])[-1:], "last_updated"),
        (lambda query: [bound.replace("ge", "gt") for bound in query.get("_lastUpdated", [])], "last_updated"),
    ],
    ids=["as it should be", "another zone", "an instant", "the first bound", "the last bound", "without the bound"],
)
def test_a_filter_that_leaves_out_what_it_should_show_is_not_read_by(
    deps: Deps, workspace: str, bounds: Callable[[Query], list[str]], strategy: str
) -> None:
    holds: dict[str, Callable[[str, str], bool]] = {"ge": ge, "gt": gt, "lt": lt, "eq": eq}
    wayward = Wayward()

    def script(path: str, query: Query) -> tuple[int, Any]:
        wayward.filters = False
        if path != "Patient":
            return wayward(path, query)
        wanted = bounds(query)
        rows = [r for r in wayward.rows if all(holds[w[:2]](r["meta"]["lastUpdated"], w[2:]) for w in wanted)]
        return 200, bundle(*(rows[::-1] if query.get("_sort") == ["-_lastUpdated"] else rows))

    with scripted_server() as scripted:
        scripted.script = script
        clinic = Clinic(deps, workspace, scripted.base_url, history=False)
        probing.probe(deps, clinic.source, now=clinic.at)
        assert found(clinic, "strategy")[1] == strategy


def found(clinic: Clinic, capability: str, resource_type: str = "Patient") -> tuple[str | None, str | None]:
    for one in probing.matrix(clinic.deps.database, clinic.source):
        if (one.resource_type, one.capability) == (resource_type, capability):
            return one.declared, one.measured
    return None, None


def alerted(clinic: Clinic) -> list[tuple[str, str]]:
    with clinic.deps.database.begin(clinic.workspace) as tx:
        return [(row["subject"], row["detail"]) for row in alerts.listing(tx, clinic.workspace)]


def test_a_server_that_does_what_it_says_is_read_by_its_stamps(
    deps: Deps, workspace: str, running: launch.Running
) -> None:
    server = Server(running)
    for n in range(3):
        server.put(f"p{n}", gender="female")
    clinic = Clinic(deps, workspace, running.base_url)
    probe = probing.probe(deps, clinic.source, now=clinic.at)
    assert probing.strategies(probe.findings) == {"Patient": "last_updated"}
    names = ("last_updated", "sort", "paging", "count", "history", "etag", "version_id", "stamp", "id")
    present = {"etag", "version_id", "stamp"}
    assert {name: found(clinic, name)[1] for name in names} == {
        name: "present" if name in present else "honoured" for name in names
    }
    assert found(clinic, "last_updated") == found(clinic, "history") == ("yes", "honoured")
    assert found(clinic, "conditional_create") == ("yes", None), "never measured: that would be to write"
    assert probe.drifts == ()


def test_a_filter_that_is_ignored_is_found_told_and_no_longer_used(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        server = scripted.script = Wayward()
        clinic = Clinic(deps, workspace, scripted.base_url)
        probing.probe(deps, clinic.source, now=clinic.at)
        assert found(clinic, "strategy")[1] == "last_updated"
        clinic.poll()
        clinic.poll()
        assert "_lastUpdated" in scripted.asked[-1][1]
        server.filters = False
        probe = probing.probe(deps, clinic.source, now=clinic.at)
        assert {one.capability for one in probe.drifts} == {"last_updated", "strategy"}
        assert sorted(alerted(clinic)) == [
            ("Patient.last_updated", "was honoured, is ignored"),
            ("Patient.strategy", "was last_updated, is whole"),
        ]
        clinic.poll()
        assert "_lastUpdated" not in scripted.asked[-1][1]
        probing.probe(deps, clinic.source, now=clinic.at)
        assert alerted(clinic) == [], "what has come to stay needs nobody any more"


def test_polling_itself_sees_that_a_filter_is_ignored(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        server = scripted.script = Wayward()
        clinic = Clinic(deps, workspace, scripted.base_url, overlap_s=0)
        probing.probe(deps, clinic.source, now=clinic.at)
        clinic.poll()
        server.filters = False
        assert clinic.poll().landed.events_created == 0
        assert found(clinic, "last_updated") == ("yes", "ignored")
        assert alerted(clinic) == [("Patient.last_updated", "was honoured, is ignored")]
        server.rows.append(patient("behind", "2025-01-01T00:00:00.000Z", gender="other"))
        assert clinic.poll().landed.events_created == 1, "everything is read now, whatever its stamp"


def test_each_source_has_a_turn_a_day_and_one_worker_takes_it(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        scripted.script = Wayward()
        clinic = Clinic(deps, workspace, scripted.base_url)
        due = [one for one in probing.find(deps.database) if one.workspace_id == workspace]
        assert [one.data_source_id for one in due] == [clinic.source.data_source_id]
        with deps.database.begin(workspace) as tx:
            held = capability_store.claim(tx, workspace, clinic.source.data_source_id, "other", 60)
        assert held is not None
        ids = (workspace, clinic.source.data_source_id)
        assert probing.probe_due(deps, *ids, owner="one", now=clinic.at) is None
        with deps.database.begin(workspace) as tx:
            capability_store.settle(tx, *ids, held, wait_s=0, error_code=None)
        probe = probing.probe_due(deps, *ids, owner="one", now=clinic.at)
        assert probe is not None
        assert probe.findings
        assert [one for one in probing.find(deps.database) if one.workspace_id == workspace] == []


def test_a_server_that_cannot_be_asked_changes_nothing_and_is_asked_again(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        scripted.script = Wayward()
        clinic = Clinic(deps, workspace, scripted.base_url)
        probing.probe(deps, clinic.source, now=clinic.at)
        before = probing.matrix(deps.database, clinic.source)
        scripted.script = lambda path, query: (503, {})
        with deps.database.begin(workspace) as tx:
            capability_store.put_off(tx, workspace, clinic.source.data_source_id, 0)
        probe = probing.probe_due(deps, workspace, clinic.source.data_source_id, owner="one", now=clinic.at)
        assert probe is not None
        assert (probe.code, probe.findings) == ("http_503", ())
        assert probing.matrix(deps.database, clinic.source) == before


def test_another_address_is_another_server(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        scripted.script = Wayward()
        clinic = Clinic(deps, workspace, scripted.base_url)
        probing.probe(deps, clinic.source, now=clinic.at)
        settings = {"base_url": f"{scripted.base_url}/other", "resources": {"Patient": {}}}
        with deps.database.begin(workspace) as tx:
            document = {"name": "ehr", "source_type": "fhir_store", "settings": settings}
            directory.apply(tx, workspace, document, actor="test", now=clinic.at)
        assert probing.matrix(deps.database, clinic.source) == []


def test_a_roster_is_the_living_patients_of_one_source_in_order(deps: Deps, workspace: str) -> None:
    with scripted_server() as scripted:
        server = scripted.script = Wayward()
        server.rows = [patient(name, STAMPS[0]) for name in ("b", "a:1", "c", "Z")]
        clinic = Clinic(deps, workspace, scripted.base_url)
        clinic.poll()
        roster = KnownPatients(deps.database, workspace, "ehr")
        assert roster.patients(None, 10) == ["Z", "a:1", "b", "c"]
        assert roster.patients("a:1", 1) == ["b"]
        assert KnownPatients(deps.database, workspace, "eh").patients(None, 10) == []
        server.rows = [row for row in server.rows if row["id"] != "b"]
        clinic.full_sync()
        assert roster.patients(None, 10) == ["Z", "a:1", "c"]


def test_a_type_that_alone_cannot_be_asked_keeps_no_other_from_being_probed(deps: Deps, workspace: str) -> None:
    wayward = Wayward()

    def script(path: str, query: Query) -> tuple[int, Any]:
        return (500, {}) if path == "Observation" else wayward(path, query)

    with scripted_server() as server:
        server.script = script
        resources: dict[str, Any] = {"Observation": {}, "Patient": {}}
        clinic = Clinic(deps, workspace, server.base_url, resources=resources)
        probing.probe(deps, clinic.source, now=clinic.at)
        assert found(clinic, "strategy") == (None, "last_updated")
        assert found(clinic, "strategy", "Observation") == (None, None)
        assert found(clinic, "whole", "Observation") == (None, "unknown")
        server.script = lambda path, query: wayward(path, query) if path == "metadata" else (500, {})
        with pytest.raises(Unavailable):
            probing.probe(deps, clinic.source, now=clinic.at)


def test_an_index_that_is_cut_to_seconds_is_a_filter_all_the_same(deps: Deps, workspace: str) -> None:
    wayward = Wayward()
    wayward.rows = [
        patient(f"p{n}", f"2026-01-01T00:00:00.{stamp}Z", gender="other") for n, stamp in enumerate(("100", "900"))
    ]

    def script(path: str, query: Query) -> tuple[int, Any]:
        cut = {"_lastUpdated": [query["_lastUpdated"][0][:21]]} if "_lastUpdated" in query else {}
        return wayward(path, {**query, **cut})

    with scripted_server() as server:
        server.script = script
        clinic = Clinic(deps, workspace, server.base_url)
        probing.probe(deps, clinic.source, now=clinic.at)
        assert found(clinic, "last_updated") == ("yes", "honoured")


def test_another_practice_behind_the_same_address_is_another_system(deps: Deps, workspace: str) -> None:
    def document(practice: str) -> dict[str, Any]:
        settings = {"adapter": "athenahealth", "practice": practice, "auth": {"kind": "none"}, "resources": ["Patient"]}
        return {"name": "athena", "source_type": "ehr", "settings": settings}

    clinic = Clinic(deps, workspace, "http://127.0.0.1:9/fhir", resources={})
    clinic.apply(document("1"))
    clinic.query("""UPDATE source_resource SET cursor = '{"since": "2026-01-01T00:00:00Z"}' RETURNING 1""")
    clinic.apply(document("2"))
    assert [row["cursor"] for row in clinic.query("SELECT cursor FROM source_resource")] == [{}]
