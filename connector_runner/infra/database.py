"""Postgres: one engine a process, every transaction under a workspace.

The workspace is set for the transaction only, so it works behind a transaction-pooling proxy and cannot
leak into the next one. Without it row-level security shows no row at all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

import psycopg2
import psycopg2.extensions
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError, OperationalError

from connector_runner.infra.copy_format import Lines, copy_json, copy_text
from connector_runner.infra.session import Session, array_of, hot
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import Conflict, Misconfigured, Unavailable
from connector_runner.settings import sqlalchemy_url

Tx = Connection
Row = dict[str, Any]
TransactionOver = DBAPIError
"""What a statement raises that Postgres refused: whoever catches it can do nothing more in its transaction."""

T = TypeVar("T")

__all__ = [
    "CONCURRENT_WRITE", "Database", "Row", "TransactionOver", "Tx", "after_commit", "array_of", "before_commit",
    "copy_json", "copy_lines", "copy_rows", "copy_text", "execute", "gather", "hot", "id_array", "later", "once", "one",
    "rows", "tuples",
]  # fmt: skip

CONCURRENT_WRITE = "concurrent_write"

# Ids are text everywhere in this code base; building UUID objects would only cost time.
_UUID_AS_TEXT = psycopg2.extensions.new_type((2950,), "UUID_AS_TEXT", lambda value, _: value)
_UUIDS_AS_TEXT = psycopg2.extensions.new_array_type((2951,), "UUIDS_AS_TEXT", _UUID_AS_TEXT)

_MOST_CONNECTIONS: Final = 25
_SPARE_CONNECTIONS: Final = 5
"""Connections beyond those that are kept are opened for one transaction and closed again."""
_BEGIN: Final = "BEGIN; SET LOCAL {} = %(value)s"
"""A setting, not a query that sets it: that would be planned for every transaction."""
_PLAN_OUTDATED: Final = frozenset({"0A000", "26000"})
_TRUSTED_S: Final = 1.0
"""A connection that was used so lately is not asked first whether it still works."""
_IDLE_MS: Final = 15_000
"""A process that was frozen in a transaction holds up whoever needs the same rows for so long and no longer.

Many times what lies between two statements of ours, and less than the half minute after which work goes on.
"""
_ONE_PLAN: Final = "plan_cache_mode=force_generic_plan"
"""Of each ``hot`` statement, which is good whatever the values.

Left to itself, Postgres makes five before it keeps one, and makes one each time where it thinks the kept one dearer.
"""
_VANISHED: Final = {
    "keepalives": 1, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000,
}  # fmt: skip
"""A server whose machine is gone says nothing: after half a minute a connection to it counts as broken (libpq)."""


class Database:
    """Opens transactions. Safe to share between threads; a forked child gets a pool of its own."""

    def __init__(self, url: str, *, pool_size: int = 5, statement_timeout_s: float = 120) -> None:
        self.url = sqlalchemy_url(url)
        self._pool_size = pool_size
        self._timeout_ms = int(statement_timeout_s * 1000)
        self._engine: Engine | None = None
        self._pid = 0

    @property
    def engine(self) -> Engine:
        """The engine of this process; sockets are never shared across a fork."""
        if self._engine is None or self._pid != os.getpid():
            if self._engine is not None:
                self._engine.dispose(close=False)
            self._engine = create_engine(
                self.url,
                isolation_level="AUTOCOMMIT",
                pool_size=self._pool_size,
                max_overflow=max(_MOST_CONNECTIONS - self._pool_size, _SPARE_CONNECTIONS),
                pool_timeout=15,
                json_deserializer=exact_json.loads,
                json_serializer=exact_json.dumps,
                connect_args={
                    "connection_factory": Session,
                    "application_name": "connector_runner",
                    "connect_timeout": 5,
                    **_VANISHED,
                    "options": f"-c statement_timeout={self._timeout_ms} -c timezone=UTC"
                    f" -c idle_in_transaction_session_timeout={_IDLE_MS} -c {_ONE_PLAN}",
                },
            )
            event.listen(self._engine, "connect", _introduced)
            event.listen(self._engine, "before_cursor_execute", _flushed)
            event.listen(self._engine, "checkin", _rested)
            event.listen(self._engine, "checkout", _works)
            self._pid = os.getpid()
        return self._engine

    @contextmanager
    def begin(self, workspace_id: str) -> Iterator[Tx]:
        """A transaction that sees and writes the rows of one workspace.

        Raises Unavailable when Postgres cannot be reached or the connection broke.
        """
        with self._transaction("app.workspace_id", workspace_id) as tx:
            yield tx

    def retrying(self, workspace_id: str, work: Callable[[Tx], T], *, attempts: int = 5) -> T:
        """Run ``work`` in a transaction of a workspace, again from the start when another one got there first.

        Raises Conflict when it lost every time.
        """
        for attempt in range(1, attempts + 1):
            try:
                with self.begin(workspace_id) as tx:
                    return work(tx)
            except Conflict as exc:
                if exc.code != CONCURRENT_WRITE or attempt == attempts:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    @contextmanager
    def sweep(self) -> Iterator[Tx]:
        """A transaction that looks across workspaces at work tables, which hold no PHI."""
        with self._transaction("app.scope", "sweep") as tx:
            yield tx

    @contextmanager
    def _transaction(self, setting: str, value: str) -> Iterator[Tx]:
        try:
            with self._begun(setting, value) as tx:
                yield tx
        except OperationalError as exc:
            if getattr(exc.orig, "pgcode", None) == "40P01":
                raise Conflict("two transactions waited for each other", code=CONCURRENT_WRITE) from None
            raise Unavailable("Postgres cannot be used now", code="database_unavailable") from None
        except IntegrityError as exc:
            if getattr(exc.orig, "pgcode", None) == "23505":
                raise Conflict("another transaction wrote the same row first", code=CONCURRENT_WRITE) from None
            _without_parameters(exc)
            raise
        except DBAPIError as exc:
            if exc.connection_invalidated:
                raise Unavailable("the connection to Postgres broke", code="database_unavailable") from None
            if getattr(exc.orig, "pgcode", None) in _PLAN_OUTDATED:
                raise Unavailable("the tables have just changed", code="database_unavailable") from None
            _without_parameters(exc)
            raise

    @contextmanager
    def _begun(self, setting: str, value: str) -> Iterator[Tx]:
        """The driver begins no transaction of its own, so that BEGIN goes out with the first statement."""
        with self.engine.connect() as tx, tx.begin():
            _session(tx).start(_BEGIN.format(setting), {"value": value})
            try:
                yield tx
                _session(tx).ending()
                _finish(tx, "COMMIT")
            except BaseException:
                if not tx.invalidated:
                    _finish(tx, "ROLLBACK")
                raise
            _session(tx).committed()

    def check_role(self) -> None:
        """Raise Misconfigured when the role could read past row-level security."""
        with self.engine.connect() as connection:
            row = connection.execute(
                text("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
            ).one()
        if row.rolsuper or row.rolbypassrls:
            raise Misconfigured(
                "the role is superuser or bypasses row-level security; use a plain role that owns the database",
                code="role_bypasses_rls",
                where="DATABASE_URL",
            )

    def dispose(self) -> None:
        """Close idle connections."""
        if self._engine is not None:
            self._engine.dispose()


def _introduced(connection: Any, _: object) -> None:
    connection.autocommit = True
    connection.introduce()
    psycopg2.extensions.register_type(_UUID_AS_TEXT, connection)
    psycopg2.extensions.register_type(_UUIDS_AS_TEXT, connection)


def _flushed(tx: Tx, *_: object) -> None:
    """What SQLAlchemy runs itself comes after what waits."""
    _session(tx).flush()


def _session(tx: Tx) -> Session:
    return cast(Session, tx.connection.dbapi_connection)


def _rested(_: object, record: Any) -> None:
    record.info["rested"] = time.monotonic()


def _works(connection: Any, record: Any, _: object) -> None:
    """Ask a connection that lay idle whether it still works; one that does not is replaced."""
    if time.monotonic() - record.info.get("rested", float("inf")) < _TRUSTED_S:
        return
    try:
        # Outside a transaction, so one message. The driver refuses to send an empty statement.
        before, connection.autocommit = connection.autocommit, True
        cursor = connection.cursor()
        try:
            cursor.execute("SELECT 1")
        finally:
            cursor.close()
        connection.autocommit = before
    except psycopg2.Error as exc:
        raise DisconnectionError("the connection does not work any more") from exc


def _without_parameters(exc: DBAPIError) -> DBAPIError:
    """Bound values and the server's DETAIL line can be PHI; neither may reach a log."""
    exc.params = None
    exc.hide_parameters = True
    diagnostics = getattr(exc.orig, "diag", None)
    primary = getattr(diagnostics, "sqlstate", None) or "no SQLSTATE"
    exc.orig = RuntimeError(f"Postgres refused the statement ({primary})")
    exc.args = (str(exc.orig),)
    return exc


@contextmanager
def _ran(tx: Tx, sql: str, params: Mapping[str, Any]) -> Iterator[Any]:
    """A cursor that ran a statement. What SQLAlchemy puts around it costs more than most statements do.

    Raises DBAPIError as SQLAlchemy would, without values.
    """
    session = _session(tx)
    cursor = session.cursor()
    try:
        session.run(cursor, sql, params)
        yield cursor
    except psycopg2.Error as exc:
        raise _as_sqlalchemy(tx, exc) from None
    finally:
        cursor.close()


def _finish(tx: Tx, how: str) -> None:
    try:
        _session(tx).finish(how)
    except psycopg2.Error as exc:
        raise _as_sqlalchemy(tx, exc) from None


def _as_sqlalchemy(tx: Tx, exc: psycopg2.Error) -> DBAPIError:
    broken = bool(getattr(tx.connection.dbapi_connection, "closed", 0))
    if broken:
        tx.invalidate()
        # Its neighbours broke with it, as a rule: none of them is used again.
        tx.engine.dispose()
    made = DBAPIError.instance(
        None, None, exc, psycopg2.Error, hide_parameters=True, connection_invalidated=broken, dialect=tx.dialect
    )
    return cast(DBAPIError, made)


def rows(tx: Tx, sql: str, /, **params: Any) -> list[Row]:
    """All rows of a query, each a dictionary."""
    with _ran(tx, sql, params) as cursor:
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def one(tx: Tx, sql: str, /, **params: Any) -> Row | None:
    """The first row of a query, or None."""
    with _ran(tx, sql, params) as cursor:
        row = cursor.fetchone()
        return (
            None if row is None else {column.name: value for column, value in zip(cursor.description, row, strict=True)}
        )


def tuples(tx: Tx, sql: str, /, **params: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of a query as tuples, for the paths where a dictionary a row would cost too much."""
    with _ran(tx, sql, params) as cursor:
        found = cursor.fetchall()
    yield from found


def once(tx: Tx, name: str, ask: Callable[[], T]) -> T:
    """The answer of ``ask``, which is asked once a transaction.

    For what a transaction may go by as it was when it first looked. ``name`` stands for the question.
    """
    known = _session(tx).known
    if name not in known:
        known[name] = ask()
    return cast(T, known[name])


def execute(tx: Tx, sql: str, /, **params: Any) -> int:
    """Run a statement; the number of rows that it touched."""
    with _ran(tx, sql, params) as cursor:
        return int(cursor.rowcount)


def lock(tx: Tx, name: str, *, shared: bool = False) -> None:
    """Wait until nobody else has this name, and have it until the transaction ends. ``shared``: with others that do."""
    take = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    execute(tx, f"SELECT {take}(hashtextextended(:name, 7))", name=name)


def before_commit(tx: Tx, call: Callable[[], object]) -> None:
    """Make a call when the transaction is about to be committed: for what takes a lock that others wait for.

    Statements that it runs belong to the transaction; what it raises undoes it.
    """
    _session(tx).before(call)


def after_commit(tx: Tx, call: Callable[[], None]) -> None:
    """Make a call once the transaction is committed, to tell of what it did: a log line, a counter."""
    _session(tx).afterwards(call)


def later(tx: Tx, sql: str, /, **params: Any) -> None:
    """Run a statement whose answer nobody needs, in one message with the next one or the COMMIT.

    What is wrong with it is raised there.
    """
    _session(tx).later(sql, params)


def gather(tx: Tx, sql: str, /, **row: Any) -> None:
    """As ``later``, for a statement over arrays: ``row`` goes with all others that are given for it meanwhile.

    ``sql`` has an array for each parameter (``CAST(:name AS text[])``); a row says one element of it: a text, number,
    bytes, or None. It may change nothing that another statement of the same message looks at.
    """
    _session(tx).gather(sql, row)


def id_array(ids: Iterable[str]) -> str:
    """Ids of ours as one parameter for ``CAST(… AS uuid[])``.

    A list would be written out as an expression with a node an element, and Postgres take longer to read it
    than to find the rows.
    """
    return "{" + ",".join(ids) + "}"


def copy_rows(tx: Tx, table: str, columns: Sequence[str], records: Iterable[Sequence[object]]) -> None:
    """COPY into a temporary table (COPY into a table under row-level security is refused by Postgres)."""
    copy_lines(tx, table, columns, ["\t".join([copy_text(value) for value in record]) for record in records])


def copy_lines(tx: Tx, table: str, columns: Sequence[str], lines: Sequence[str]) -> None:
    """As ``copy_rows``, for rows that are in COPY's text format already."""
    _session(tx).flush()
    cursor = tx.connection.cursor()
    try:
        cursor.copy_expert(f"COPY {table} ({', '.join(columns)}) FROM STDIN", Lines(lines))
    finally:
        cursor.close()
