"""Transactions: all or nothing, also when the connection breaks; connections that broke are replaced."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from connector_runner.infra import database as module
from connector_runner.infra.database import Database, execute, hot, later, one, rows
from connector_runner.infra.session import Session, for_driver
from connector_runner.kernel.errors import Conflict, Unavailable
from connector_runner.kernel.ids import new_id

MARK = "INSERT INTO pending_release (workspace_id, entity_id) VALUES (:ws, :id)"


def marks(database: Database, workspace: str) -> int:
    with database.begin(workspace) as tx:
        return len(rows(tx, "SELECT 1 AS one FROM pending_release"))


def end(database: Database, workspace: str, pid: int) -> None:
    """End a backend, as a restart of the server does."""
    other = Database(database.url)
    with other.begin(workspace) as tx:
        execute(tx, "SELECT pg_terminate_backend(:pid, 5000)", pid=pid)
    other.dispose()


def pid_of(database: Database, workspace: str) -> int:
    with database.begin(workspace) as tx:
        found = one(tx, "SELECT pg_backend_pid() AS pid")
    assert found is not None
    return int(found["pid"])


def test_what_is_done_before_an_error_is_undone(database: Database, workspace: str) -> None:
    def fail() -> None:
        with database.begin(workspace) as tx:
            execute(tx, MARK, ws=workspace, id=new_id())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert marks(database, workspace) == 0
    with database.begin(workspace) as tx:
        execute(tx, MARK, ws=workspace, id=new_id())
    assert marks(database, workspace) == 1


def test_a_savepoint_is_one(database: Database, workspace: str) -> None:
    with database.begin(workspace) as tx:
        execute(tx, MARK, ws=workspace, id=new_id())
        savepoint = tx.begin_nested()
        execute(tx, MARK, ws=workspace, id=new_id())
        savepoint.rollback()
    assert marks(database, workspace) == 1


def test_the_same_row_twice_is_a_conflict_that_names_no_value(database: Database, workspace: str) -> None:
    twice = new_id()

    def insert() -> None:
        with database.begin(workspace) as tx:
            execute(tx, MARK, ws=workspace, id=twice)
            execute(tx, MARK, ws=workspace, id=twice)

    with pytest.raises(Conflict) as caught:
        insert()
    assert twice not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_error_of_a_statement_shows_no_value(database: Database, workspace: str) -> None:
    with pytest.raises(DBAPIError) as caught, database.begin(workspace) as tx:
        execute(tx, "SELECT CAST(:name AS integer)", name="Quatermass")
    assert "Quatermass" not in f"{caught.value!r} {caught.value.orig!r} {caught.value.params!r}"


def test_a_connection_that_breaks_in_the_middle_commits_nothing_though_nobody_minds(
    database_url: str, workspace: str
) -> None:
    database = Database(database_url, pool_size=1)

    def go_on() -> None:
        with database.begin(workspace) as tx:
            execute(tx, MARK, ws=workspace, id=new_id())
            found = one(tx, "SELECT pg_backend_pid() AS pid")
            assert found is not None
            end(database, workspace, found["pid"])
            with pytest.raises(DBAPIError):
                execute(tx, "SELECT 1")
            execute(tx, MARK, ws=workspace, id=new_id())

    with pytest.raises((Unavailable, InvalidRequestError)):
        go_on()
    assert marks(database, workspace) == 0
    database.dispose()


def test_a_connection_that_lay_idle_and_works_is_used_again(
    database: Database, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TRUSTED_S", 0.0)
    assert len({pid_of(database, workspace) for _ in range(3)}) == 1


def test_a_connection_that_broke_while_it_lay_idle_is_replaced(
    database_url: str, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(database_url, pool_size=1)
    before = pid_of(database, workspace)
    assert pid_of(database, workspace) == before
    monkeypatch.setattr(module, "_TRUSTED_S", 0.0)
    end(database, workspace, before)
    assert pid_of(database, workspace) != before
    database.dispose()


def test_after_a_restart_one_error_is_enough_to_replace_all(database_url: str, workspace: str) -> None:
    database = Database(database_url, pool_size=2)
    with database.begin(workspace) as one_tx, database.begin(workspace) as other_tx:
        pids = [row["pid"] for tx in (one_tx, other_tx) for row in rows(tx, "SELECT pg_backend_pid() AS pid")]
    for pid in pids:
        end(database, workspace, pid)
    with pytest.raises(Unavailable):
        pid_of(database, workspace)
    assert pid_of(database, workspace) not in pids
    database.dispose()


@pytest.mark.parametrize(
    ("sql", "sent"),
    [
        ("SELECT :a, x::text", "SELECT %(a)s, x::text"),
        ("SELECT '%' || :a_b", "SELECT '%%' || %(a_b)s"),
        (r"SELECT '10\:30'", "SELECT '10:30'"),
        ("SELECT CAST(:ids AS uuid[])", "SELECT CAST(%(ids)s AS uuid[])"),
        ("a := :a", "a := %(a)s"),
    ],
)
def test_parameters_are_found_where_they_are(sql: str, sent: str) -> None:
    assert for_driver(sql) == sent


def test_a_percent_sign_arrives_as_one(database: Database, workspace: str) -> None:
    with database.begin(workspace) as tx:
        assert one(tx, "SELECT '5%' AS a") == {"a": "5%"}
        assert one(tx, "SELECT '5%' || :b AS a", b="%") == {"a": "5%%"}


def test_what_was_put_off_is_committed_with_the_rest(database: Database, workspace: str) -> None:
    with database.begin(workspace) as tx:
        later(tx, MARK, ws=workspace, id=new_id())
        later(tx, MARK, ws=workspace, id=new_id())
    assert marks(database, workspace) == 2
    with database.begin(workspace) as tx:
        later(tx, MARK, ws=workspace, id=new_id())
        assert one(tx, "SELECT count(*) AS n FROM pending_release") == {"n": 3}


def test_what_was_put_off_is_undone_by_an_error(database: Database, workspace: str) -> None:
    def fail() -> None:
        with database.begin(workspace) as tx:
            later(tx, MARK, ws=workspace, id=new_id())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert marks(database, workspace) == 0


def test_an_error_of_what_was_put_off_undoes_the_transaction(database: Database, workspace: str) -> None:
    twice = new_id()

    def fail() -> None:
        with database.begin(workspace) as tx:
            execute(tx, MARK, ws=workspace, id=new_id())
            later(tx, MARK, ws=workspace, id=twice)
            later(tx, MARK, ws=workspace, id=twice)

    with pytest.raises(Conflict):
        fail()
    assert marks(database, workspace) == 0


COUNT = hot("SELECT count(*) AS n, CAST(:text AS text) AS text FROM pending_release WHERE entity_id <> :id")


def plans(database: Database, workspace: str) -> int:
    with database.begin(workspace) as tx:
        return len(rows(tx, "SELECT 1 AS one FROM pg_prepared_statements"))


def test_a_hot_statement_is_planned_once_a_connection(database: Database, workspace: str) -> None:
    for n in range(3):
        with database.begin(workspace) as tx:
            assert one(tx, COUNT, id=new_id(), text=f"5% of {n}") == {"n": 0, "text": f"5% of {n}"}
    assert plans(database, workspace) == 1
    with database.begin(workspace) as tx:
        made = one(tx, "SELECT generic_plans AS kept, custom_plans AS anew FROM pg_prepared_statements")
    assert made == {"kept": 3, "anew": 0}


def test_a_plan_is_kept_from_an_error_and_made_again_where_it_is_not_sure(database: Database, workspace: str) -> None:
    with pytest.raises(DBAPIError), database.begin(workspace) as tx:
        one(tx, COUNT, id="no id", text="a")
    with database.begin(workspace) as tx:
        assert one(tx, COUNT, id=new_id(), text="b") == {"n": 0, "text": "b"}
    assert plans(database, workspace) == 1


def test_plans_in_doubt_are_dropped_by_the_next_transaction_that_says_anything(
    database: Database, workspace: str
) -> None:
    with pytest.raises(DBAPIError), database.begin(workspace) as tx:
        one(tx, COUNT, id="no id", text="a")
    with database.begin(workspace):
        pass
    with database.begin(workspace) as tx:
        assert one(tx, COUNT, id=new_id(), text="b") == {"n": 0, "text": "b"}


def test_a_plan_that_was_put_off_and_never_sent_is_made_by_who_needs_it(database: Database, workspace: str) -> None:
    def fail() -> None:
        with database.begin(workspace) as tx:
            one(tx, "SELECT 1 AS one")
            later(tx, COUNT, id=new_id(), text="a")
            raise Conflict("it comes to nothing")

    with pytest.raises(Conflict):
        fail()
    with database.begin(workspace) as tx:
        assert one(tx, COUNT, id=new_id(), text="b") == {"n": 0, "text": "b"}


def test_threads_name_their_statements_apart() -> None:
    start = Barrier(16)

    def name(number: int) -> list[str]:
        start.wait()
        return [hot(f"SELECT {number} + {n}").name for n in range(200)]

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(16) as pool:
            names = [name for found in pool.map(name, range(16)) for name in found]
    finally:
        sys.setswitchinterval(switch)
    assert len(set(names)) == len(names)


def test_behind_a_proxy_nothing_is_planned_by_name(
    database_url: str, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(database_url)
    monkeypatch.setattr(Session, "get_backend_pid", lambda _: 1)
    with database.begin(workspace) as tx:
        assert one(tx, COUNT, id=new_id(), text="a") == {"n": 0, "text": "a"}
    assert plans(database, workspace) == 0
    database.dispose()
