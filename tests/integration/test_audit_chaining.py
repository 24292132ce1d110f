"""How entries are chained: by Postgres, in the message that brings the COMMIT."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connector_runner.audit import log as audit
from connector_runner.audit import verifying
from connector_runner.infra.database import Database, Tx, execute, one
from connector_runner.infra.session import Session

NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)


def append(tx: Tx, workspace: str, count: int = 1) -> None:
    detail = {"text": "é \"quoted\" \\ 'so' 💉 :ws %(ws)s", "ratio": 1e-7, "none": None, "deep": [{"b": 1.50}]}
    for n in range(count):
        audit.append(tx, workspace, actor="ruth", action="source.apply", object=f"s:{n}", detail=detail, now=NOW)


def entries(database: Database, workspace: str) -> int:
    """How many there are, in a chain that holds."""
    with database.begin(workspace) as tx:
        found = verifying.verify(tx, workspace)
    assert found.broken is None
    return found.entries


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    carry_out = Session._carry_out

    def noting(session: Session, cursor: object, statement: str | bytes, params: object) -> None:
        sent.append(statement.decode() if isinstance(statement, bytes) else statement)
        carry_out(session, cursor, statement, params)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "_carry_out", noting)
    return sent


def test_the_head_is_locked_for_no_answer_of_ours(database: Database, workspace: str, messages: list[str]) -> None:
    for count in (1, 3):
        messages.clear()
        with database.begin(workspace) as tx:
            execute(tx, "SELECT 1")
            append(tx, workspace, count)
            execute(tx, "SELECT 2")
        assert len(messages) == 3, "two statements, and the COMMIT with everything of the log"
        assert not any("audit" in message for message in messages[:2])
        assert messages[2].endswith("COMMIT")
    assert entries(database, workspace) == 4


def test_many_entries_of_one_transaction_make_one_chain(database: Database, workspace: str) -> None:
    with database.begin(workspace) as tx:
        append(tx, workspace, 250)
    with database.begin(workspace) as tx:
        append(tx, workspace)
        assert one(tx, "SELECT n FROM audit_head")["n"] == 250, "nothing yet"  # type: ignore[index]
    assert entries(database, workspace) == 251


def test_the_chain_is_the_same_where_no_plan_is_kept(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.begin(workspace) as tx:
        append(tx, workspace, 2)
        monkeypatch.setattr(tx.connection.dbapi_connection, "_keeps_plans", False)
        audit.flush(tx, workspace)
        append(tx, workspace, 2)
    assert entries(database, workspace) == 4


def test_an_entry_beyond_the_head_is_not_taken_into_the_chain(database: Database, workspace: str) -> None:
    with database.begin(workspace) as tx:
        append(tx, workspace, 2)
    with database.begin(workspace) as tx:
        execute(
            tx,
            "INSERT INTO audit_log SELECT workspace_id, 9, at, 'mallory', action, object, detail, txid, hash, hash"
            " FROM audit_log WHERE n = 2",
        )
    with database.begin(workspace) as tx:
        append(tx, workspace)
        assert audit.head(tx, workspace)[0] == 3  # type: ignore[index]
    with database.begin(workspace) as tx:
        broken = verifying.verify(tx, workspace).broken
    assert broken is not None
    assert (broken.n, broken.code) == (9, "surplus")
