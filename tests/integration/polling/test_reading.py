"""Reading by a cursor into a real Postgres: nothing missed, nothing twice, nothing deleted without proof."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector_runner.connectors import registry
from connector_runner.connectors.fhir.profile import PLAIN, Profile
from connector_runner.connectors.fhir.source import FHIRSource
from connector_runner.infra.database import Database
from tests.contract.scripted import Query, bundle, patient, scripted_server
from tests.fhir_server import FHIRServer
from tests.integration.polled import Clinic, Deps, deps_of
from tests.property.test_cursor_servers import ROUND, change, changing

STAMP = "2026-03-01T00:00:00.000Z"


@pytest.fixture
def deps(database: Database, redis_url: str) -> Iterator[Deps]:
    with deps_of(database, redis_url) as made:
        yield made


class Pages:
    """Ten rows a page; what fails, by the number of a page."""

    def __init__(self, origin: str, rows: list[dict[str, Any]]) -> None:
        self.origin, self.rows, self.fails = origin, rows, set[int]()
        self.size = 10

    def __call__(self, path: str, query: Query) -> tuple[int, Any]:
        if path == "metadata":
            return 200, {"resourceType": "CapabilityStatement"}
        if "/" in path:
            found = [row for row in self.rows if path == f"Patient/{row['id']}"]
            return (200, found[0]) if found else (404, {})
        number = int(query.get("p", ["1"])[0])
        if number in self.fails:
            return 500, {}
        bound = query.get("_lastUpdated", ["ge"])[0].removeprefix("ge")
        rows = [row for row in self.rows if row["meta"]["lastUpdated"] >= bound]
        start = (number - 1) * self.size
        more = (
            f"{self.origin}/fhir/Patient?p={number + 1}&_lastUpdated=ge{bound}"
            if start + self.size < len(rows)
            else None
        )
        return 200, bundle(*rows[start : start + self.size], next_link=more)


def test_a_full_sync_whose_seventh_page_of_ten_fails_deletes_nothing(deps: Deps, workspace: str) -> None:
    with scripted_server() as server:
        pages = Pages(server.origin, [patient(f"p{n:03}", STAMP, gender="other") for n in range(100)])
        server.script = pages
        clinic = Clinic(deps, workspace, server.base_url, overlap_s=0)
        clinic.poll_on()
        assert len(clinic.alive) == 100
        pages.rows = [row for row in pages.rows if row["id"] not in ("p005", "p050", "p095")]
        pages.fails = {7}
        failed = clinic.full_sync()
        assert (failed.status, failed.pages, failed.deleted) == ("failed", 6, 0)
        again = clinic.poll()
        assert (again.status, again.deleted) == ("failed", 0)
        assert len(clinic.alive) == 100
        pages.fails = set()
        assert clinic.poll().deleted == 3
        assert len(clinic.alive) == 97


def test_more_records_of_one_instant_than_a_search_could_hold(deps: Deps, workspace: str) -> None:
    with scripted_server() as server:
        pages = Pages(server.origin, [patient(f"p{n}", STAMP, gender="other") for n in range(10_400)])
        pages.size = 1000
        server.script = pages
        clinic = Clinic(deps, workspace, server.base_url, overlap_s=0, page_size=1000)
        outcomes = clinic.poll_on(slice_s=0.5)
        assert sum(one.landed.events_created for one in outcomes) == 10_400
        pages.rows.append(patient("late", STAMP, gender="other"))
        outcomes = clinic.poll_on(slice_s=0.5)
        assert sum(one.landed.events_created for one in outcomes) == 1
        assert sum(one.landed.events_updated for one in outcomes) == 0
        assert clinic.events == 10_401


@pytest.mark.parametrize("paging", ["snapshot", "offset"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(ROUND, min_size=1, max_size=4), sorts=st.booleans(), filters=st.booleans(), stamped=st.booleans()
)
def test_nothing_is_missed_and_nothing_lands_twice(
    paging: Any,
    deps: Deps,
    new_workspace: Any,
    rounds: list[Any],
    sorts: bool,
    filters: bool,
    stamped: bool,
) -> None:
    """As in tests/property, with the real intake: each event says something that the one before did not."""
    server = FHIRServer(paging=paging, sorts=sorts, filters=filters, stamped=stamped)
    profile = Profile(lossy_pages=True) if paging == "offset" else PLAIN
    clinic = Clinic(
        deps, new_workspace(), "http://127.0.0.1:9/fhir", resources={"Patient": {"full_sync_every_s": None}}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "open_source", lambda *_, **__: FHIRSource(server, profile=profile))  # type: ignore[arg-type]
        for before, during, most_pages, faults in rounds:
            for what, which in before:
                change(server, what, which)
            server.faults = {len(server.asked) + number: status for number, status in faults.items()}
            server.during = changing(server, during)
            clinic.poll(slice_s=0 if most_pages < 3 else 10)
        server.during, server.faults = lambda: None, {}
        for _ in range(4):
            clinic.poll_on()
    rows = clinic.query(
        "SELECT fhir_resource_id AS id, content_hash, facts->>'gender' AS gender FROM event ORDER BY id DESC"
    )
    latest: dict[str, Any] = {}
    for row in clinic.query("SELECT fhir_resource_id AS rid, content_hash FROM event ORDER BY id"):
        assert latest.get(row["rid"]) != row["content_hash"], "the same again"
        latest[row["rid"]] = row["content_hash"]
    assert {row["id"] for row in rows} >= set(server.versions)
    states = clinic.query("SELECT canonical_id, state->>'gender' AS gender FROM projection")
    told = {row["canonical_id"].rpartition(":")[2]: row["gender"] for row in states}
    wanted = {row.id: "male" if row.version % 2 else "female" for row in server.rows.values()}
    assert {key: told[key] for key in wanted} == wanted
