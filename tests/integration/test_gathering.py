"""Rows of one statement that are put off go together: all of them, once, as they were said, and with the rest."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.infra.database import Database, execute, gather, hot, later, one, rows
from connector_runner.infra.session import Session, array_of
from connector_runner.kernel.errors import Conflict
from connector_runner.kernel.ids import new_id

MARK = hot(
    "INSERT INTO pending_release (workspace_id, entity_id, prio) SELECT m.ws, m.id, m.prio FROM"
    " unnest(CAST(:ws AS uuid[]), CAST(:id AS uuid[]), CAST(:prio AS int[])) m(ws, id, prio)"
)


def marks(database: Database, workspace: str) -> dict[str, int]:
    with database.begin(workspace) as tx:
        return {row["entity_id"]: row["prio"] for row in rows(tx, "SELECT entity_id, prio FROM pending_release")}


def test_rows_go_in_one_statement_before_the_next_answer_and_the_commit(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    put_off = Session.later

    def counted(session: Session, sql: str, params: Any) -> None:
        sent.append(sql)
        put_off(session, sql, params)

    monkeypatch.setattr(Session, "later", counted)
    ids = [new_id() for _ in range(9)]
    with database.begin(workspace) as tx:
        for number, each in enumerate(ids[:5]):
            gather(tx, MARK, ws=workspace, id=each, prio=number)
        found = one(tx, "SELECT count(*) AS n FROM pending_release")
        assert found is not None
        assert found["n"] == 5
        for number, each in enumerate(ids[5:], 5):
            gather(tx, MARK, ws=workspace, id=each, prio=number)
    assert marks(database, workspace) == {each: number for number, each in enumerate(ids)}
    assert sent == [MARK, MARK]


def test_an_error_undoes_what_was_gathered_and_it_is_not_sent_later(database: Database, workspace: str) -> None:
    def fail() -> None:
        with database.begin(workspace) as tx:
            gather(tx, MARK, ws=workspace, id=new_id(), prio=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.begin(workspace) as tx:
        execute(tx, "SELECT 1")
    assert marks(database, workspace) == {}


def test_one_bad_row_undoes_the_transaction(database: Database, workspace: str) -> None:
    twice = new_id()

    def write() -> None:
        with database.begin(workspace) as tx:
            for each in (new_id(), twice, twice):
                gather(tx, MARK, ws=workspace, id=each, prio=1)

    with pytest.raises(Conflict):
        write()
    assert marks(database, workspace) == {}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", ["", "NULL", None, 'a"b', "a\\b", "{a,b}", " x ", "é\n\t", "'; --", "%s :x"]),
        ("bytea", [b"", None, b"\x00\xff\\\"'", b"null"]),
        ("bigint", [0, -1, 2**62, None]),
        ("float8", [0.5, 20, None, 1e-9]),
        ("boolean", [True, False, None]),
    ],
)
def test_every_element_arrives_as_it_was(database: Database, workspace: str, kind: str, values: list[Any]) -> None:
    with database.begin(workspace) as tx:
        # What was put off before goes with it.
        later(tx, "SELECT 1")
        found = rows(tx, f"SELECT v FROM unnest(CAST(:given AS {kind}[])) v", given=array_of(values))
    arrived = [bytes(row["v"]) if isinstance(row["v"], memoryview) else row["v"] for row in found]
    assert arrived == values


def test_what_no_array_holds_is_refused() -> None:
    with pytest.raises(TypeError, match="list"):
        array_of([["a"]])
