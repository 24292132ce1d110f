"""Quarantine on Postgres: one open entry a failure, its body sealed and whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector_runner.infra.database import Database, execute, one
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import new_id
from connector_runner.resilience.quarantine import Quarantine

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
BODY = b'{"family":"Quatermass", "broken\xff\x00'


@pytest.fixture
def quarantine() -> Quarantine:
    return Quarantine(Sealer(os.urandom(32)))


def put(quarantine: Quarantine, database: Database, workspace: str, **changes: Any) -> str:
    values: dict[str, Any] = {
        "stage": "intake",
        "subject": "ehr:Patient:1",
        "code": "bad_date",
        "message": "not a date",
        "place": "birthDate",
        "body": BODY,
        "context": {"resource_type": "Patient"},
        "now": NOW,
    }
    with database.begin(workspace) as tx:
        return quarantine.put(tx, workspace, **{**values, **changes})


def test_an_entry_keeps_everything_and_seals_its_body(
    quarantine: Quarantine, database: Database, workspace: str
) -> None:
    source = new_id()
    entry_id = put(quarantine, database, workspace, data_source_id=source)
    with database.begin(workspace) as tx:
        entry = quarantine.get(tx, workspace, entry_id)
        assert entry is not None
        assert (entry.stage, entry.subject, entry.code, entry.message, entry.place) == (
            "intake", "ehr:Patient:1", "bad_date", "not a date", "birthDate",
        )  # fmt: skip
        assert (entry.data_source_id, entry.context, entry.status, entry.times) == (
            source, {"resource_type": "Patient"}, "open", 1,
        )  # fmt: skip
        assert quarantine.body(tx, workspace, entry_id) == BODY
        row = one(tx, "SELECT * FROM quarantine WHERE quarantine_id = :id", id=entry_id)
        assert row is not None
        assert b"Quatermass" not in bytes(row["body"])
        assert "Quatermass" not in str({name: row[name] for name in row if name != "body"})


def test_the_same_failure_counts_up_and_keeps_the_latest_body(
    quarantine: Quarantine, database: Database, workspace: str
) -> None:
    first = put(quarantine, database, workspace)
    again = put(quarantine, database, workspace, body=b"newer", message="still not", now=NOW + timedelta(hours=1))
    third = put(quarantine, database, workspace, body=None, now=NOW)
    assert first == again == third
    with database.begin(workspace) as tx:
        entry = quarantine.get(tx, workspace, first)
        assert entry is not None
        assert (entry.times, entry.first_seen_at, entry.last_seen_at) == (3, NOW, NOW + timedelta(hours=1))
        assert quarantine.body(tx, workspace, first) == b"newer"
        assert quarantine.count_open(tx, workspace) == 1


def test_other_subject_code_or_stage_is_another_entry(
    quarantine: Quarantine, database: Database, workspace: str
) -> None:
    ids = {
        put(quarantine, database, workspace),
        put(quarantine, database, workspace, subject="ehr:Patient:2"),
        put(quarantine, database, workspace, code="not_json"),
        put(quarantine, database, workspace, stage="outbound"),
    }
    assert len(ids) == 4
    with database.begin(workspace) as tx:
        causes = [(cause.stage, cause.code, cause.entries) for cause in quarantine.causes(tx, workspace)]
        assert causes == [("intake", "bad_date", 2), ("intake", "not_json", 1), ("outbound", "bad_date", 1)]
        assert len(quarantine.list(tx, workspace, stage="intake")) == 3
        assert len(quarantine.list(tx, workspace, stage="intake", code="not_json")) == 1
        page = quarantine.list(tx, workspace, limit=3)
        rest = quarantine.list(tx, workspace, after=page[-1].quarantine_id)
        assert {entry.quarantine_id for entry in [*page, *rest]} == ids


def test_a_closed_entry_does_not_swallow_a_new_failure(
    quarantine: Quarantine, database: Database, workspace: str
) -> None:
    first = put(quarantine, database, workspace)
    with database.begin(workspace) as tx:
        assert quarantine.mark_replayed(tx, workspace, [first]) == 1
        assert quarantine.mark_replayed(tx, workspace, [first]) == 0
        assert quarantine.discard(tx, workspace, [first]) == 0
    second = put(quarantine, database, workspace)
    assert second != first
    with database.begin(workspace) as tx:
        assert [entry.quarantine_id for entry in quarantine.list(tx, workspace)] == [second]
        assert [entry.status for entry in quarantine.list(tx, workspace, status=None)] == ["replayed", "open"]


def test_discarding_drops_the_body(quarantine: Quarantine, database: Database, workspace: str) -> None:
    entry_id = put(quarantine, database, workspace)
    with database.begin(workspace) as tx:
        assert quarantine.discard(tx, workspace, [entry_id, new_id()]) == 1
        assert quarantine.body(tx, workspace, entry_id) is None
        assert quarantine.count_open(tx, workspace) == 0


def test_a_subject_that_went_through_is_settled(quarantine: Quarantine, database: Database, workspace: str) -> None:
    put(quarantine, database, workspace)
    put(quarantine, database, workspace, code="not_json")
    kept = put(quarantine, database, workspace, subject="ehr:Patient:2")
    with database.begin(workspace) as tx:
        assert quarantine.settle(tx, workspace, "intake", ["ehr:Patient:1"]) == 2
        assert [entry.quarantine_id for entry in quarantine.list(tx, workspace)] == [kept]


def test_a_body_moved_to_another_entry_does_not_open(
    quarantine: Quarantine, database: Database, workspace: str
) -> None:
    first = put(quarantine, database, workspace)
    second = put(quarantine, database, workspace, subject="ehr:Patient:2", body=b"other")
    with database.begin(workspace) as tx:
        execute(
            tx,
            "UPDATE quarantine SET body = (SELECT body FROM quarantine WHERE quarantine_id = :first)"
            " WHERE quarantine_id = :second",
            first=first,
            second=second,
        )
        with pytest.raises(BadRecord) as caught:
            quarantine.body(tx, workspace, second)
    assert caught.value.code == "sealed_broken"


def test_a_large_body_comes_back_whole(quarantine: Quarantine, database: Database, workspace: str) -> None:
    body = os.urandom(1_000_000) + b" " * 4_000_000
    entry_id = put(quarantine, database, workspace, body=body)
    with database.begin(workspace) as tx:
        assert quarantine.body(tx, workspace, entry_id) == body


def test_another_workspace_sees_and_closes_nothing(
    quarantine: Quarantine, database: Database, new_workspace: Callable[[], str]
) -> None:
    mine, other = new_workspace(), new_workspace()
    entry_id = put(quarantine, database, mine)
    with database.begin(other) as tx:
        assert quarantine.list(tx, mine, status=None) == []
        assert quarantine.get(tx, mine, entry_id) is None
        assert quarantine.body(tx, mine, entry_id) is None
        assert quarantine.discard(tx, mine, [entry_id]) == 0
