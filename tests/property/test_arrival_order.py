"""Any arrival order of one set of raw records gives byte-equal state, through the real landing and Postgres."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector_runner.connectors.base import SourceRecord
from connector_runner.infra.database import Database, execute, rows
from connector_runner.intake.landing import Intake, Origin
from connector_runner.kernel import exact_json
from connector_runner.kernel.ids import new_id
from connector_runner.settings import PROJECT_ROOT
from connector_runner.unification.loader import load_mappings
from connector_runner.world.service import World

T0 = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
MAPPINGS = load_mappings(PROJECT_ROOT / "mappings")


class NoRejects:
    """Every record of these tests is sound; one that is not fails the test."""

    def put(self, *_: object, **what: object) -> None:
        raise AssertionError(f"quarantined: {what['code']} at {what['place']}")


def a_patient(n: int, minute: int, phones: list[str], family: str) -> SourceRecord:
    updated = T0 + timedelta(minutes=minute)
    body: dict[str, Any] = {
        "resourceType": "Patient",
        "id": f"p{n}",
        "meta": {"lastUpdated": updated.isoformat(), "versionId": str(minute)},
        "name": [{"family": family, "given": ["Ada"]}],
        "telecom": [{"system": "phone", "use": use, "value": f"617-555-{tail}"}
                    for use, tail in zip(("home", "work", "mobile"), phones, strict=False)],
    }  # fmt: skip
    raw = json.dumps(body).encode()
    return SourceRecord("Patient", f"p{n}", raw, exact_json.loads(raw), str(minute), updated)


# One record a minute at most: which of two contents with one stamp is the newer is for arrival to say.
versions = st.builds(
    a_patient,
    st.integers(0, 1),
    st.integers(0, 500),
    st.lists(st.sampled_from(["0101", "0102", "0103"]), max_size=3),
    st.sampled_from(["Okafor", "Lindqvist"]),
)
record_sets = st.lists(versions, min_size=1, max_size=7, unique_by=lambda record: (record.record_id, record.version))


def land(database: Database, pages: list[list[SourceRecord]]) -> str:
    """The states, as Postgres holds them, after the pages landed in a workspace of their own."""
    workspace, source = new_id(), new_id()
    intake = Intake(World(), MAPPINGS, NoRejects())
    origin = Origin(source, "ehr", "fhir_r4")
    with database.begin(workspace) as tx:
        execute(tx, "INSERT INTO workspace (workspace_id, slug) VALUES (:id, :s)", id=workspace, s=f"w{workspace}")
    for page in pages:
        with database.begin(workspace) as tx:
            intake.land(tx, workspace, origin, page, now=NOW)
    with database.begin(workspace) as tx:
        found = rows(tx, "SELECT canonical_id, status, state::text, provenance->'by'->0->>'since' AS since"
                         " FROM projection ORDER BY canonical_id")  # fmt: skip
    return repr(found)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=record_sets, data=st.data())
def test_any_arrival_order_gives_byte_equal_state(database: Database, records: list[SourceRecord], data: Any) -> None:
    in_order = sorted(records, key=lambda record: (record.last_updated, record.record_id))
    shuffled = data.draw(st.permutations(records), label="arrival")
    cut = data.draw(st.integers(0, len(shuffled)), label="page boundary")
    expected = land(database, [in_order])
    assert land(database, [shuffled[:cut], shuffled[cut:]]) == expected
    assert land(database, [[record] for record in reversed(shuffled)]) == expected


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=record_sets)
def test_records_that_come_again_change_nothing(database: Database, records: list[SourceRecord]) -> None:
    assert land(database, [records, records, list(reversed(records))]) == land(database, [records])
