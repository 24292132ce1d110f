"""Looking things up in the log: whatever an entry says of an entity or a person it is found by, once, by an index."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connector_runner.audit import log as audit
from connector_runner.audit import reading, reading_store
from connector_runner.audit.acting import Authority, acting
from connector_runner.audit.reading import Asked
from connector_runner.infra.database import Database, Row, Tx, execute, rows
from connector_runner.kernel.ids import new_id

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ADA, BEN = new_id(), new_id()

SAID: tuple[tuple[str, dict[str, Any]], ...] = (
    (ADA, {}), (ADA, {"entity_id": ADA, "other": ADA, "ids": [ADA], "entities": [ADA]}), ("item/1", {"entity_id": ADA}),
    ("item/2", {"entity_id": BEN, "other": ADA}), ("entities", {"ids": [BEN, ADA]}), ("events", {"entities": [ADA]}),
    ("item/3", {"entity_id": ADA, "entities": [ADA, BEN]}), ("item/4", {"entity_id": ADA, "entities": 2}),
)  # fmt: skip
OTHERWISE: tuple[tuple[str, dict[str, Any]], ...] = (
    (BEN, {}), ("item/5", {"event_id": ADA}), ("entities", {"ids": [BEN]}), ("x", {"ids": ADA, "entities": {"a": ADA}}),
)  # fmt: skip


@pytest.fixture
def told(database: Database, workspace: str) -> str:
    """A log with entries and notes."""
    with database.begin(workspace) as tx:
        for n, (about, detail) in enumerate([*SAID, *OTHERWISE]):
            at = NOW + timedelta(seconds=n)
            audit.append(tx, workspace, actor="ruth", action="alert.acknowledged", object=about, detail=detail, now=at)
            audit.record_read(tx, workspace, actor="ruth", action="entity.show", object=about, detail=detail, now=at)
    return workspace


def test_an_entity_is_found_however_it_is_named_and_once(database: Database, told: str) -> None:
    asked = Asked(entity=ADA)
    with database.begin(told) as tx:
        found = reading.latest(tx, told, asked, limit=100)
        assert reading.count(tx, told, asked) == 2 * len(SAID)
    assert [(one.noted, one.object, dict(one.detail)) for one in found if not one.noted] == [
        (False, about, detail) for about, detail in reversed(SAID)
    ]
    assert len(found) == len({one.key for one in found}) == 2 * len(SAID)
    assert [one.key for one in reading.all_of(database, told, asked, page=3)] == [one.key for one in reversed(found)]


def test_a_person_is_found_by_either_name(database: Database, workspace: str) -> None:
    with acting(Authority("os:ruth", "review approve", "c")), database.begin(workspace) as tx:
        for actor in ("ruth", "os:ruth", "judge"):
            audit.append(tx, workspace, actor=actor, action="review.approved", object=ADA, now=NOW)
    with database.begin(workspace) as tx:
        for asked, count in (("ruth", 1), ("os:ruth", 3), ("judge", 1), ("nobody", 0)):
            for entity in (None, ADA):
                assert reading.count(tx, workspace, Asked(actor=asked, entity=entity)) == count
                assert len(reading.latest(tx, workspace, Asked(actor=asked, entity=entity), limit=9)) == count


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (Asked(entity=BEN), ("object", "of_entity", "of_other", "names_many")),
        (Asked(actor="os:ben"), ("actor", "of_who")),
    ],
)
def test_nothing_is_walked(
    database: Database, told: str, monkeypatch: pytest.MonkeyPatch, asked: Asked, wanted: tuple[str, ...]
) -> None:
    plans: list[str] = []

    def explained(tx: Tx, sql: str, /, **values: Any) -> list[Row]:
        plans.extend(row["QUERY PLAN"] for row in rows(tx, f"EXPLAIN {sql}", **values))
        return []

    monkeypatch.setattr(reading_store, "rows", explained)
    with database.begin(told) as tx:
        execute(tx, "SET LOCAL enable_seqscan = off")
        reading.latest(tx, told, asked, limit=50)
    used = {line.split(" using ")[1].split()[0] for line in plans if " using " in line}
    used |= {line.split(" on ")[1].split()[0] for line in plans if "Bitmap Index Scan" in line}
    assert used == {f"{table}_{name}" for table in ("audit_log", "audit_read") for name in wanted}
