"""The audit log on Postgres: what was tampered with is found, by number."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from connector_runner.audit import log as audit
from connector_runner.audit.chain import SEAL_ACTION
from connector_runner.infra.database import Database, execute, rows

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
Tamper = Callable[..., None]


@pytest.fixture
def tamper(services_admin: str, database_url: str) -> Tamper:
    """Runs a statement as a superuser with triggers off, as an intruder with the whole database would."""
    url = urlunsplit(urlsplit(services_admin)._replace(path=urlsplit(database_url).path))

    def run(sql: str, *parameters: object) -> None:
        connection = psycopg2.connect(url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SET session_replication_role = replica")
                cursor.execute(sql, parameters)
                assert cursor.rowcount > 0, "the statement touched nothing"
        finally:
            connection.close()

    return run


def fill(database: Database, workspace: str, count: int = 6) -> None:
    for n in range(count):
        with database.begin(workspace) as tx:
            detail = {
                "n": n,
                "ratio": 0.1,
                "dose": Decimal("1.00"),
                "big": 1e16,
                "names": ["é", None],
                "deep": {"b": 1},
            }
            audit.append(
                tx, workspace, actor="operator:1", action="source.apply", object=f"source:{n}", detail=detail, now=NOW
            )


def verify(database: Database, workspace: str, **options: object) -> int | None:
    with database.begin(workspace) as tx:
        return audit.verify(tx, workspace, **options)  # type: ignore[arg-type]


def test_an_untouched_log_holds(database: Database, new_workspace: Callable[[], str]) -> None:
    mine, other = new_workspace(), new_workspace()
    assert verify(database, mine) is None
    fill(database, mine)
    fill(database, other, 2)
    assert verify(database, mine) is None
    assert verify(database, other) is None
    with database.begin(mine) as tx:
        assert [entry.n for entry in audit.entries(tx, mine)] == [1, 2, 3, 4, 5, 6]
        assert [entry.object for entry in audit.entries(tx, mine, after=4)] == ["source:4", "source:5"]
        assert audit.append(tx, mine, actor="a", action="b", object="c", now=NOW + timedelta(microseconds=1)) == 7


@pytest.mark.parametrize(
    "change",
    [
        "actor = 'someone else'", "action = 'x'", "object = 'x'", "at = at + interval '1 microsecond'",
        "detail = jsonb_set(detail, '{n}', '9')", "detail = detail - 'ratio'", "txid = txid + 1",
        "hash = decode(repeat('00', 32), 'hex')", "previous_hash = decode(repeat('00', 32), 'hex')",
    ],
)  # fmt: skip
def test_a_changed_entry_is_found(database: Database, workspace: str, tamper: Tamper, change: str) -> None:
    fill(database, workspace)
    tamper(f"UPDATE audit_log SET {change} WHERE workspace_id = %s AND n = 3", workspace)
    assert verify(database, workspace) == 3


@pytest.mark.parametrize("n", [1, 3, 6])
def test_a_deleted_entry_is_found(database: Database, workspace: str, tamper: Tamper, n: int) -> None:
    fill(database, workspace)
    tamper("DELETE FROM audit_log WHERE workspace_id = %s AND n = %s", workspace, n)
    assert verify(database, workspace) == n


def test_a_deleted_entry_is_found_though_the_rest_was_renumbered(
    database: Database, workspace: str, tamper: Tamper
) -> None:
    fill(database, workspace)
    tamper("DELETE FROM audit_log WHERE workspace_id = %s AND n = 3", workspace)
    tamper("UPDATE audit_log SET n = n - 1 WHERE workspace_id = %s AND n > 3", workspace)
    tamper("UPDATE audit_head SET n = n - 1 WHERE workspace_id = %s", workspace)
    assert verify(database, workspace) == 3


def test_two_exchanged_entries_are_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    tamper("UPDATE audit_log SET n = -2 WHERE workspace_id = %s AND n = 2", workspace)
    tamper("UPDATE audit_log SET n = 2 WHERE workspace_id = %s AND n = 4", workspace)
    tamper("UPDATE audit_log SET n = 4 WHERE workspace_id = %s AND n = -2", workspace)
    assert verify(database, workspace) == 2


def test_a_cut_end_is_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    tamper("DELETE FROM audit_log WHERE workspace_id = %s AND n > 4", workspace)
    assert verify(database, workspace) == 5


def test_all_entries_gone_are_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    tamper("DELETE FROM audit_log WHERE workspace_id = %s", workspace)
    assert verify(database, workspace) == 1


def test_a_head_set_back_or_removed_is_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    tamper(
        "UPDATE audit_head SET n = 4, hash = (SELECT hash FROM audit_log l WHERE l.workspace_id = %s AND l.n = 4)"
        " WHERE workspace_id = %s",
        workspace,
        workspace,
    )
    assert verify(database, workspace) == 5
    tamper("DELETE FROM audit_head WHERE workspace_id = %s", workspace)
    assert verify(database, workspace) == 1


def test_a_changed_head_is_found(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    tamper("UPDATE audit_head SET hash = decode(repeat('00', 32), 'hex') WHERE workspace_id = %s", workspace)
    assert verify(database, workspace) == 6


def test_a_cut_with_its_head_is_found_by_an_anchor(database: Database, workspace: str, tamper: Tamper) -> None:
    fill(database, workspace)
    with database.begin(workspace) as tx:
        anchor = audit.head(tx, workspace)
    assert anchor is not None
    assert verify(database, workspace, anchors=[anchor]) is None
    tamper("DELETE FROM audit_log WHERE workspace_id = %s AND n > 4", workspace)
    tamper(
        "UPDATE audit_head SET n = 4, hash = (SELECT hash FROM audit_log l WHERE l.workspace_id = %s AND l.n = 4)"
        " WHERE workspace_id = %s",
        workspace,
        workspace,
    )
    assert verify(database, workspace) is None
    assert verify(database, workspace, anchors=[anchor]) == 5
    fill(database, workspace, 2)
    assert verify(database, workspace, anchors=[anchor]) == 6


def test_writers_at_once_make_one_chain(database: Database, workspace: str) -> None:
    threads = [threading.Thread(target=fill, args=(database, workspace, 5)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verify(database, workspace) is None
    with database.begin(workspace) as tx:
        assert audit.head(tx, workspace)[0] == 20  # type: ignore[index]


def test_an_undone_transaction_leaves_no_entry(database: Database, workspace: str) -> None:
    fill(database, workspace, 2)

    def undone() -> None:
        with database.begin(workspace) as tx:
            audit.append(tx, workspace, actor="a", action="b", object="c", now=NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undone()
    fill(database, workspace, 1)
    assert verify(database, workspace) is None


def test_a_long_log_is_walked_in_batches(database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector_runner.audit.store._BATCH", 2)
    fill(database, workspace, 4)
    assert verify(database, workspace) is None


def read(database: Database, workspace: str, count: int) -> None:
    with database.begin(workspace) as tx:
        for n in range(count):
            audit.record_read(tx, workspace, actor="operator:1", action="entity.show", object=f"entity:{n}", now=NOW)


def seal(database: Database, workspace: str, limit: int = 100) -> int:
    with database.begin(workspace) as tx:
        return audit.seal_reads(tx, workspace, now=NOW, limit=limit)


def test_reads_are_sealed_in_batches(database: Database, workspace: str) -> None:
    assert seal(database, workspace) == 0
    read(database, workspace, 5)
    assert [seal(database, workspace, 3) for _ in range(3)] == [3, 2, 0]
    with database.begin(workspace) as tx:
        sealed = audit.entries(tx, workspace)
        assert [(entry.action, entry.detail["count"]) for entry in sealed] == [(SEAL_ACTION, 3), (SEAL_ACTION, 2)]
    assert verify(database, workspace) is None


def test_sealers_at_once_seal_each_read_once(database: Database, workspace: str) -> None:
    read(database, workspace, 40)
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(seal(database, workspace))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 40
    assert verify(database, workspace) is None


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE audit_read SET actor = 'x' WHERE workspace_id = %s AND object = 'entity:1'",
        "DELETE FROM audit_read WHERE workspace_id = %s AND object = 'entity:1'",
        "UPDATE audit_read SET sealed_by = NULL WHERE workspace_id = %s AND object = 'entity:1'",
    ],
)
def test_a_changed_read_is_found(database: Database, workspace: str, tamper: Tamper, sql: str) -> None:
    fill(database, workspace, 1)
    read(database, workspace, 3)
    seal(database, workspace)
    tamper(sql, workspace)
    assert verify(database, workspace) == 2


def test_reads_do_not_wait_for_a_writer(database: Database, workspace: str) -> None:
    with database.begin(workspace) as writer:
        audit.append(writer, workspace, actor="a", action="b", object="c", now=NOW)
        with database.begin(workspace) as reader:
            execute(reader, "SET LOCAL lock_timeout = '1s'")
            audit.record_read(reader, workspace, actor="a", action="entity.show", object="e", now=NOW)
            assert len(rows(reader, "SELECT 1 FROM audit_read")) == 1, "noted while the writer holds the head"


def test_only_sealing_writes_a_seal(database: Database, workspace: str) -> None:
    with database.begin(workspace) as tx, pytest.raises(ValueError, match="seal_reads"):
        audit.append(tx, workspace, actor="a", action=SEAL_ACTION, object="audit_read", now=NOW)


def test_a_workspace_sees_its_own_log_only(database: Database, new_workspace: Callable[[], str]) -> None:
    mine, other = new_workspace(), new_workspace()
    fill(database, mine, 2)
    with database.begin(other) as tx:
        assert rows(tx, "SELECT 1 FROM audit_log") == []
        assert audit.entries(tx, mine) == []
