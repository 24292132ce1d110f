"""Statements that are run for each record read what they ask for and no more, however many others there are.

In a workspace that came since Postgres looked last, as a new clinic's is while all of it is read for the first time:
what it knows is that there are next to no rows. And under row-level security an index finds a row by a plain value
only: a value that ``coalesce`` makes of another table's column might tell somebody of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from connector_runner.audit import log as audit
from connector_runner.audit import store as audit_store
from connector_runner.infra.database import Row, Tx, id_array, one, rows
from connector_runner.intake import sync_store
from connector_runner.intake.sync_store import Scope
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.ids import entity_id_of, new_id
from connector_runner.outbound.planning import duplicate_store, member_store
from connector_runner.outbound.reconciling import reconcile_store
from connector_runner.world import reading, store
from tests.integration.outbound_stack import Clinic, System, a_patient

MANY = 400
FEW = 20
TABLES = (
    "entity, event, record_version, adopted_record, full_sync_seen, pending_release, sync_lane, release_mark,"
    " relationship, business_identifier"
)


class Explained:
    """Stands in for ``rows`` and ``one``: runs a statement, and keeps the most rows that a step of it left out."""

    def __init__(self) -> None:
        self.left_out = -1

    def rows(self, tx: Tx, sql: str, /, **values: Any) -> list[Row]:
        self._run(tx, sql, **values)
        return list(rows(tx, sql, **values))

    def _run(self, tx: Tx, sql: str, /, **values: Any) -> None:
        [answer] = rows(tx, f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", **values)
        found = answer["QUERY PLAN"]
        [top] = json.loads(found) if isinstance(found, str) else found
        self.left_out = max(self.left_out, *_left_out(top["Plan"]))

    def one(self, tx: Tx, sql: str, /, **values: Any) -> Row | None:
        self._run(tx, sql, **values)
        return one(tx, sql, **values)

    def gather(self, tx: Tx, sql: str, /, **row: Any) -> None:
        """For a message to which only one row went."""
        self._run(tx, sql, **{name: id_array([value]) for name, value in row.items()})


def _left_out(node: dict[str, Any]) -> Iterator[int]:
    removed = sum(count for name, count in node.items() if name.startswith("Rows Removed by"))
    yield int(removed * node["Actual Loops"])
    for below in node.get("Plans", ()):
        yield from _left_out(below)


@pytest.fixture
def ids(clinic: Clinic, ehr: System) -> list[str]:
    """Of many entities, of none of which Postgres knows."""
    with clinic.database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(f"VACUUM ANALYZE {TABLES}")
    clinic.source("ehr", ehr)
    clinic.land("ehr", *(a_patient(f"p{number}") for number in range(MANY)))
    return sorted(entity_id_of(clinic.workspace, f"ehr:Patient:p{number}") for number in range(MANY))


@pytest.mark.parametrize(
    "work",
    [
        lambda tx, workspace, record: store.lock_holder(tx, record),
        lambda tx, workspace, record: store.fold_seen(tx, workspace, record, "seen"),
    ],
    ids=["lock", "fold"],
)
def test_the_holder_of_a_record_is_found_by_its_id(
    clinic: Clinic, ids: list[str], monkeypatch: pytest.MonkeyPatch, work: Callable[[Tx, str, str], None]
) -> None:
    explained = Explained()
    monkeypatch.setattr(store, "gather", explained.gather)
    with clinic.database.begin(clinic.workspace) as tx:
        work(tx, clinic.workspace, ids[0])
    assert 0 <= explained.left_out < FEW


@pytest.mark.parametrize("name", ["ehr:Patient:p7", "canonical"])
def test_an_entity_is_found_by_either_name(
    clinic: Clinic, ids: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    explained = Explained()
    monkeypatch.setattr(reading, "one", explained.one)
    monkeypatch.setattr(reading, "rows", explained.rows)
    monkeypatch.setattr(duplicate_store, "one", explained.one)
    with clinic.database.begin(clinic.workspace) as tx:
        if name == "canonical":
            assert duplicate_store.name_of(tx, ids[0]) is not None
        else:
            view = reading.view(tx, clinic.workspace, name)
            assert view is not None
            reading.related(tx, clinic.workspace, view)
    assert 0 <= explained.left_out < FEW


@pytest.mark.parametrize("look", [sync_store.missing, sync_store.canary])
def test_what_a_window_did_not_hold_is_looked_up_record_by_record(
    clinic: Clinic, ids: list[str], monkeypatch: pytest.MonkeyPatch, look: Callable[..., Any]
) -> None:
    explained, scope, window = Explained(), Scope(clinic.workspace, clinic.ids["ehr"], "Patient"), new_id()
    with clinic.database.begin(clinic.workspace) as tx:
        sync_store.mark_seen(tx, scope, window, ids[:-1])
    monkeypatch.setattr(sync_store, "rows", explained.rows)
    monkeypatch.setattr(sync_store, "one", explained.one)
    with clinic.database.begin(clinic.workspace) as tx:
        found = look(tx, scope, window)
    assert found
    assert 0 <= explained.left_out < MANY + FEW


@pytest.mark.parametrize("look", [audit_store.surplus, audit_store.unanchored])
def test_the_log_is_not_read_from_its_beginning(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, look: Callable[..., Any]
) -> None:
    with clinic.database.begin(clinic.workspace) as tx:
        for _ in range(FEW * 3):
            audit.append(tx, clinic.workspace, actor="ada", action="link.same", object="x", now=utc_now())
    with clinic.database.begin(clinic.workspace) as tx:
        assert audit.anchor(tx, clinic.workspace, clinic.outbound.sealer, now=utc_now()) is not None
    explained = Explained()
    monkeypatch.setattr(audit_store, "one", explained.one)
    with clinic.database.begin(clinic.workspace) as tx:
        look(tx, clinic.workspace)
    assert 0 <= explained.left_out < FEW


def test_who_waits_for_a_release_is_looked_up_entity_by_entity(
    clinic: Clinic, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    explained = Explained()
    with clinic.database.begin(clinic.workspace) as tx:
        member_store.release_regrouped(tx, clinic.workspace, ids, ["patient"])
    monkeypatch.setattr(reconcile_store, "rows", explained.rows)
    with clinic.database.begin(clinic.workspace) as tx:
        part = reconcile_store.look(tx, clinic.workspace, new_id(), "patient", reconcile_store.NO_ID, 1, MANY)
    assert part.looked == len(ids)
    assert part.behind == (), "all of them wait"
    assert 0 <= explained.left_out < MANY + FEW
