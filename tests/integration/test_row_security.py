"""One workspace never meets another's rows, and what is append-only stays so: asked of Postgres, table by table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from connector_runner.audit import log as audit
from connector_runner.audit import verifying
from connector_runner.infra.database import Database, Tx, execute, one, rows
from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.ids import new_id

APPEND_ONLY = (
    "event",
    "record_version",
    "raw_page",
    "write_log",
    "audit_log",
    "link_event",
    "label",
    "review_switch",
    "audit_read",
    "audit_anchor",
)
SWEPT = {
    "workspace", "data_source", "source_resource", "pending_release", "sync_lane", "open_intent", "import_job",
    "dirty_entity", "reconcile_walk", "translation_request", "push", "push_inbox", "push_subscription",
    "probe_turn", "pending_resolution", "export_job", "pending_review", "audit_read", "audit_head",
}  # fmt: skip
NOTED = ("audit_read",)
"""The database notes a link there by itself."""
NOW = datetime(2026, 3, 4, tzinfo=UTC)
CANARY = "Quatermass"
SMALLEST = "00000000-0000-7000-8000-000000000001"

# What a CHECK constraint asks of a column that has no default, and which of the others it asks for.
CHECKED = {
    ("workspace", "slug"): lambda key: f"clinic-{key}",
    ("data_source", "name"): lambda key: f"ehr-{key}",
    ("write_log", "phase"): lambda key: "intent",
    ("event", "confidence"): lambda key: 0.5,
    ("source_resource", "cadence_s"): lambda key: 30,
    ("entity", "state"): lambda key: f'{{"family": "{CANARY}"}}',
    ("entity", "provenance"): lambda key: "{}",
    ("access_token", "direction"): lambda key: "read",
    ("client_key", "algorithm"): lambda key: "ES384",
    ("link_event", "action"): lambda key: "made",
    ("link_event", "method"): lambda key: "score",
    ("identity", "tokens"): lambda key: "{1}",
    ("pair_evidence", "one"): lambda key: SMALLEST,
    ("label", "one"): lambda key: SMALLEST,
    ("label", "other"): lambda key: key,
    ("review_item", "kind"): lambda key: "events",
}
BY_TYPE: dict[str, Callable[[str], Any]] = {
    "uuid": lambda key: key,
    "text": lambda key: f"{CANARY} {key}",
    "jsonb": lambda key: f'{{"family": "{CANARY}"}}',
    "bytea": lambda key: CANARY.encode(),
    "ARRAY": lambda key: f"{{{key}}}",
    "boolean": lambda key: True,
    "timestamp with time zone": lambda key: NOW,
}


def tenant_tables(tx: Tx) -> list[str]:
    found = rows(
        tx,
        "SELECT c.table_name FROM information_schema.columns c JOIN information_schema.tables t"
        " USING (table_schema, table_name) WHERE c.column_name = 'workspace_id' AND t.table_type = 'BASE TABLE'"
        " AND t.table_schema = 'public' ORDER BY c.table_name",
    )
    return [row["table_name"] for row in found]


def plant(tx: Tx, table: str, workspace: str, key: str) -> None:
    """Insert one row: every id in it is ``key``, so that foreign keys hold."""
    columns = rows(
        tx,
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
        " AND table_name = :table AND (is_nullable = 'NO' OR column_name = ANY(:checked)) AND column_default IS NULL",
        table=table,
        checked=[name for checked, name in CHECKED if checked == table],
    )
    values: dict[str, Any] = {}
    for column in columns:
        name, kind = column["column_name"], column["data_type"]
        make = CHECKED.get((table, name)) or BY_TYPE.get(kind, lambda key: 1)
        values[name] = workspace if name == "workspace_id" else make(key)
    names = ", ".join(values)
    markers = ", ".join(f"CAST(:{name} AS jsonb)" if is_json(columns, name) else f":{name}" for name in values)
    execute(tx, f"INSERT INTO {table} ({names}) VALUES ({markers})", **values)


def is_json(columns: Any, name: str) -> bool:
    return any(column["column_name"] == name and column["data_type"] == "jsonb" for column in columns)


def plant_everywhere(database: Database) -> str:
    """A workspace with one row in every table; its id."""
    workspace = new_id()
    with database.begin(workspace) as tx:
        waiting = [table for table in tenant_tables(tx) if table not in NOTED]
        while waiting:
            left = []
            for table in waiting:
                savepoint = tx.begin_nested()
                try:
                    plant(tx, table, workspace, workspace)
                except DBAPIError as exc:
                    savepoint.rollback()
                    if getattr(exc.orig, "pgcode", None) != "23503":
                        pytest.fail(f"{table}: {exc.orig}")
                    left.append(table)
                else:
                    savepoint.commit()
            assert len(left) < len(waiting), f"cannot plant {left}"
            waiting = left
    return workspace


@pytest.fixture(scope="module")
def planted(database: Database) -> str:
    """The workspace whose rows are to be found."""
    return plant_everywhere(database)


@pytest.fixture(scope="module")
def other(database: Database) -> str:
    """A workspace with rows of its own."""
    return plant_everywhere(database)


@pytest.fixture(scope="module")
def tables(database: Database, planted: str) -> list[str]:
    with database.begin(planted) as tx:
        return tenant_tables(tx)


@pytest.fixture
def tx_of_other(database: Database, other: str) -> Iterator[Tx]:
    with database.begin(other) as tx:
        yield tx


def sqlstate(caught: pytest.ExceptionInfo[DBAPIError]) -> str | None:
    return getattr(caught.value.orig, "pgcode", None)


def refused(tx: Tx, sql: str, /, **parameters: Any) -> str | None:
    """Run what must fail, in a savepoint; the SQLSTATE."""
    savepoint = tx.begin_nested()
    with pytest.raises(DBAPIError) as caught:
        execute(tx, sql, **parameters)
    savepoint.rollback()
    return sqlstate(caught)


def test_the_role_obeys_row_level_security(database: Database) -> None:
    database.check_role()
    with database.sweep() as tx:
        role = one(tx, "SELECT rolsuper, rolbypassrls, rolname FROM pg_roles WHERE rolname = current_user")
        assert role is not None
        assert (role["rolsuper"], role["rolbypassrls"]) == (False, False)
        for row in rows(
            tx, "SELECT r.rolname FROM pg_roles r WHERE (r.rolsuper OR r.rolbypassrls) AND pg_has_role(r.oid, 'MEMBER')"
        ):
            pytest.fail(f"the role may become {row['rolname']}, which passes row-level security")


def test_a_superuser_is_refused_at_start(services_admin: str) -> None:
    database = Database(services_admin)
    with pytest.raises(Misconfigured) as caught:
        database.check_role()
    assert caught.value.code == "role_bypasses_rls"
    database.dispose()


def test_every_table_forces_it_and_leads_with_the_workspace(database: Database, tables: list[str]) -> None:
    assert len(tables) >= 25
    with database.sweep() as tx:
        found = rows(
            tx,
            "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')",
        )
        forced = {row["relname"] for row in found if row["relrowsecurity"] and row["relforcerowsecurity"]}
        assert forced == set(tables)
        assert {row["relname"] for row in found} - forced == {
            "installation", "schedule", "node_heartbeat", "schema_version",
        }, "a table without a workspace holds nothing of one: name it here on purpose"  # fmt: skip
        first = rows(
            tx,
            "SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]"
            " WHERE i.indisprimary AND c.relnamespace = 'public'::regnamespace",
        )
        leading = {row["relname"]: row["attname"] for row in first}
        assert {table for table in tables if leading[table] != "workspace_id"} == set()


def test_rows_are_seen_from_their_own_workspace(database: Database, planted: str, tables: list[str]) -> None:
    with database.begin(planted) as tx:
        for table in tables:
            assert len(rows(tx, f"SELECT * FROM {table}")) == 1, table


def test_no_query_of_another_workspace_sees_them(tx_of_other: Tx, planted: str, tables: list[str]) -> None:
    queries = (
        "SELECT * FROM {t} WHERE workspace_id = CAST(:ws AS uuid)",
        "SELECT * FROM {t} t WHERE t::text LIKE '%' || CAST(:ws AS text) || '%'",
        "SELECT * FROM (SELECT *, 1 AS one FROM {t}) q WHERE workspace_id <> current_setting('app.workspace_id')::uuid",
        "SELECT * FROM {t} a FULL JOIN {t} b USING (workspace_id) WHERE workspace_id = CAST(:ws AS uuid)",
        "SELECT 1 WHERE EXISTS (SELECT FROM {t} WHERE workspace_id = CAST(:ws AS uuid))",
        "WITH q AS MATERIALIZED (TABLE {t}) SELECT * FROM q WHERE workspace_id = CAST(:ws AS uuid)",
        # A condition that fails on a foreign row would tell of it.
        "SELECT 1 FROM {t} WHERE 1 / (CASE WHEN workspace_id = CAST(:ws AS uuid) THEN 0 ELSE 1 END) <> 1",
        "SELECT * FROM {t} WHERE workspace_id = CAST(:ws AS uuid) FOR UPDATE",
    )
    for table in tables:
        assert len(rows(tx_of_other, f"SELECT * FROM {table}")) == 1, table
        for query in queries:
            assert rows(tx_of_other, query.replace("{t}", table), ws=planted) == [], f"{table}: {query}"


def test_nothing_can_be_put_into_another_workspace(tx_of_other: Tx, planted: str, tables: list[str]) -> None:
    for table in tables:
        savepoint = tx_of_other.begin_nested()
        with pytest.raises(DBAPIError) as caught:
            plant(tx_of_other, table, planted, new_id())
        savepoint.rollback()
        assert sqlstate(caught) == "42501", table


def test_nothing_of_another_workspace_can_be_changed(
    database: Database, tx_of_other: Tx, planted: str, tables: list[str]
) -> None:
    for table in tables:
        condition = f"{table} WHERE workspace_id = CAST(:ws AS uuid)"
        assert execute(tx_of_other, f"DELETE FROM {condition}", ws=planted) == 0, table
        changed = f"UPDATE {table} SET workspace_id = workspace_id WHERE workspace_id = CAST(:ws AS uuid)"
        assert execute(tx_of_other, changed, ws=planted) == 0, table
        if table not in APPEND_ONLY:
            moved = f"UPDATE {table} SET workspace_id = CAST(:ws AS uuid)"
            assert refused(tx_of_other, moved, ws=planted) in ("42501", "23503", "23001"), table
    with database.begin(planted) as tx:
        assert all(len(rows(tx, f"SELECT * FROM {table}")) == 1 for table in tables)


def test_without_a_workspace_nothing_is_seen_or_written(database: Database, planted: str, tables: list[str]) -> None:
    for setting in (None, ""):
        with database.engine.connect() as tx:
            execute(tx, "BEGIN")
            if setting is not None:
                execute(tx, "SELECT set_config('app.workspace_id', :value, true)", value=setting)
            for table in tables:
                assert rows(tx, f"SELECT * FROM {table}") == [], table
                assert execute(tx, f"DELETE FROM {table}") == 0, table
                savepoint = tx.begin_nested()
                with pytest.raises(DBAPIError) as caught:
                    plant(tx, table, planted, new_id())
                savepoint.rollback()
                assert sqlstate(caught) == "42501", table
            execute(tx, "ROLLBACK")


def test_the_workspace_does_not_outlive_its_transaction(database_url: str, planted: str) -> None:
    database = Database(database_url, pool_size=1)
    with database.begin(planted) as tx:
        pid = one(tx, "SELECT pg_backend_pid() AS pid")
        assert len(rows(tx, "SELECT * FROM event")) == 1
    with database.engine.connect() as tx:
        assert one(tx, "SELECT pg_backend_pid() AS pid") == pid
        assert rows(tx, "SELECT * FROM event") == []
    database.dispose()


def test_a_sweep_sees_work_tables_only(database: Database, planted: str, other: str, tables: list[str]) -> None:
    with database.sweep() as tx:
        for table in tables:
            found = {row["workspace_id"] for row in rows(tx, f"SELECT workspace_id FROM {table}")}
            assert found >= {planted, other} if table in SWEPT else found == set(), table


def test_a_sweep_changes_nothing(database: Database, planted: str, tables: list[str]) -> None:
    with database.sweep() as tx:
        for table in tables:
            assert execute(tx, f"UPDATE {table} SET workspace_id = workspace_id") == 0, table
            assert execute(tx, f"DELETE FROM {table}") == 0, table
            savepoint = tx.begin_nested()
            with pytest.raises(DBAPIError) as caught:
                plant(tx, table, planted, new_id())
            savepoint.rollback()
            assert sqlstate(caught) == "42501", table


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_append_only_tables_refuse_every_change(database: Database, planted: str, table: str) -> None:
    with database.begin(planted) as tx:
        before = rows(tx, f"SELECT * FROM {table}")
        given = ", ".join(row["name"] for row in rows(
            tx, "SELECT attname AS name FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attnum > 0"
            " AND NOT attisdropped AND attgenerated = ''", table=table,
        ))  # fmt: skip
        for statement in (
            f"UPDATE {table} SET workspace_id = workspace_id",
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
            f"TRUNCATE {table} CASCADE",
            f"INSERT INTO {table} ({given}) SELECT {given} FROM {table} ON CONFLICT ON CONSTRAINT {table}_pkey"
            " DO UPDATE SET workspace_id = excluded.workspace_id",
        ):
            assert refused(tx, statement) == "23001", statement
        assert rows(tx, f"SELECT * FROM {table}") == before


def purge(tx: Tx, name: str) -> None:
    execute(tx, "SELECT set_config('app.purge', :name, true)", name=name)


@pytest.mark.parametrize("table", [table for table in APPEND_ONLY if not table.startswith("audit_")])
def test_a_purge_that_is_audited_in_the_transaction_may_delete(database: Database, table: str) -> None:
    workspace = new_id()
    with database.begin(workspace) as tx:
        plant(tx, "workspace", workspace, workspace)
        plant(tx, table, workspace, new_id())
    with database.begin(workspace) as tx:
        audit.append(tx, workspace, actor="operator:1", action="purge", object="retention-1", now=NOW)
        assert refused(tx, f"DELETE FROM {table}") == "23001", "named nowhere"
        purge(tx, "retention-2")
        assert refused(tx, f"DELETE FROM {table}") == "23001", "another name"
        purge(tx, "retention-1")
        assert refused(tx, f"UPDATE {table} SET workspace_id = workspace_id") == "23001"
        assert refused(tx, f"TRUNCATE {table}") == "23001"
        savepoint = tx.begin_nested()
        assert execute(tx, f"DELETE FROM {table}") == 1
        savepoint.rollback()
    with database.begin(workspace) as tx:
        purge(tx, "retention-1")
        assert refused(tx, f"DELETE FROM {table}") == "23001", "audited in an earlier transaction"
        audit.append(tx, workspace, actor="operator:1", action="purge", object="retention-1", now=NOW)
        assert execute(tx, f"DELETE FROM {table}") == 1
    with database.begin(workspace) as tx:
        assert rows(tx, f"SELECT * FROM {table}") == []
        assert verifying.verify(tx, workspace).broken is None


def test_a_purge_of_one_workspace_reaches_no_other(database: Database, other: str) -> None:
    workspace = new_id()
    with database.begin(workspace) as tx:
        audit.append(tx, workspace, actor="operator:1", action="purge", object="offboarding", now=NOW)
        purge(tx, "offboarding")
        assert execute(tx, "DELETE FROM event") == 0
        # Even one that changes sides within the transaction.
        execute(tx, "SELECT set_config('app.workspace_id', :ws, true)", ws=other)
        assert refused(tx, "DELETE FROM event") == "23001"
