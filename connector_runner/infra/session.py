"""One connection to Postgres: what goes out in one message, and which statements it has planned already.

Every message costs both sides more than most statements do, so what needs no answer waits for the next that does.
Planning costs more than running; a statement that is ``hot`` is planned once a connection and then carried out by
name. Behind a proxy that gives each transaction another connection a name may be unknown, so there nothing is named.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import psycopg2
import psycopg2.extensions

# What stands for a parameter, and how a colon that is none is written.
_PARAMETER: Final = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
_ESCAPED: Final = re.compile(r"\\(:\w*)(?![:\w])")

_PLANS_LAST_S: Final = 30.0
"""A plan is made for tables of a size. They grow, and a plan for an empty one is bad for a large one."""


class Hot(str):
    """A statement with a plan that is kept, under a name."""

    __slots__ = ("carry_out", "name", "prepare")

    name: str
    prepare: bytes
    carry_out: str


_HOT: Final[dict[str, Hot]] = {}
# Threads that meet a statement each at the same moment must not come by one name.
_NUMBERS: Final = itertools.count()


def hot(sql: str) -> Hot:
    """A statement that is run for every write: it is planned once a connection.

    The plan must be good whatever the values, and the type of each parameter told by where it stands; ids are given
    as ``id_array``.
    """
    known = _HOT.get(sql)
    if known is not None:
        return known
    made = Hot(sql)
    made.name = f"hot_{next(_NUMBERS)}"
    names = _PARAMETER.findall(sql)
    numbers = iter(range(1, len(names) + 1))
    numbered = _ESCAPED.sub(r"\1", _PARAMETER.sub(lambda _: f"${next(numbers)}", sql))
    given = ", ".join(f"%({parameter})s" for parameter in names)
    made.prepare = f"PREPARE {made.name} AS {numbered}; ".encode()
    made.carry_out = f"EXECUTE {made.name}" + (f"({given})" if names else "")
    return _HOT.setdefault(sql, made)


@lru_cache(maxsize=2000)
def for_driver(sql: str) -> str:
    """``:name`` as the driver wants it. Statements are few and run often."""
    return _ESCAPED.sub(r"\1", _PARAMETER.sub(r"%(\1)s", sql.replace("%", "%%")))


def array_of(values: Iterable[Any]) -> str:
    """An array of texts, numbers, bytes or NULLs as Postgres reads one (PostgreSQL manual, Array Input and Output).

    A list would be written out as an expression with a node an element.
    """
    return "{" + ",".join([_element(value) for value in values]) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        if "\\" in value or '"' in value:
            value = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{value}"'
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int | float):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no element of an array")


class Session(psycopg2.extensions.connection):
    """A connection that collects statements. Its transactions are begun and ended by ``infra.database`` alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._opening = b""
        self._waiting: list[bytes] = []
        self._gathered: dict[str, list[Mapping[str, Any]]] = {}
        self._before: list[Callable[[], object]] = []
        self._afterwards: list[Callable[[], None]] = []
        self.known: dict[str, Any] = {}
        """What the transaction found out and need not ask again."""
        self._begun = True
        self._keeps_plans = False
        self._planned: set[str] = set()
        self._planned_at = 0.0
        self._doubtful = False

    def introduce(self) -> None:
        """Find out whether this is Postgres itself: a proxy gives out process numbers of its own."""
        with self.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            found = cursor.fetchone()
        self._keeps_plans = found is not None and found[0] == self.get_backend_pid()

    def start(self, sql: str, params: Mapping[str, Any]) -> None:
        """A transaction begins with ``sql``, which is sent with its first statement."""
        self._waiting.clear()
        self._gathered.clear()
        self._before.clear()
        self._afterwards.clear()
        self.known.clear()
        self._begun = False
        self._opening = self._written(sql, params)
        now = time.monotonic()
        if self._doubtful or (self._planned and now - self._planned_at > _PLANS_LAST_S):
            # Doubtful until it is sent: a transaction in which nothing is said sends not even this.
            self._doubtful = True
            self._planned.clear()
            self._opening = b"DEALLOCATE ALL; " + self._opening
        if not self._planned:
            self._planned_at = now

    def later(self, sql: str, params: Mapping[str, Any]) -> None:
        """Run a statement with the next one, or with the COMMIT. What is wrong with it shows there."""
        statement, missing = self._planned_or_plain(sql)
        self._waiting.append(missing + self._written(statement, params))

    def gather(self, sql: str, row: Mapping[str, Any]) -> None:
        """As ``later``, all rows of a statement at once: each parameter is the array of what the rows say for it.

        They go after what was put off, in the order in which the statements were first given.
        """
        self._gathered.setdefault(sql, []).append(row)

    def before(self, call: Callable[[], object]) -> None:
        """Call it when the transaction is about to be committed; what it runs belongs to the transaction."""
        self._before.append(call)

    def ending(self) -> None:
        """Make the calls that come before the COMMIT, those that they add among them."""
        while self._before:
            self._before.pop(0)()

    def afterwards(self, call: Callable[[], None]) -> None:
        """Call it once the transaction is committed; never when it is not."""
        self._afterwards.append(call)

    def committed(self) -> None:
        """Make the calls that waited for the COMMIT."""
        waiting, self._afterwards = self._afterwards, []
        for call in waiting:
            call()

    def run(self, cursor: Any, sql: str, params: Mapping[str, Any]) -> None:
        """Send what waits and ``sql``, in one message; the answer is to ``sql``. Raises psycopg2.Error."""
        self._put_together()
        statement, missing = self._planned_or_plain(sql)
        if self._begun and not self._waiting and not missing:
            self._carry_out(cursor, statement, params)
        else:
            self._waiting.append(missing + self._written(statement, params))
            self._send(cursor)

    def finish(self, how: str) -> None:
        """COMMIT or ROLLBACK, where there is anything to it. Raises psycopg2.Error."""
        if how == "ROLLBACK":
            # Plans may be among what is not sent.
            self._doubtful = self._doubtful or bool(self._waiting)
            self._waiting.clear()
            self._gathered.clear()
        self._put_together()
        if self._begun or self._waiting:
            with self.cursor() as cursor:
                self._waiting.append(how.encode())
                self._send(cursor)
        self._begun = True

    def flush(self) -> None:
        """Send what waits. Raises psycopg2.Error."""
        self._put_together()
        if self._waiting or not self._begun:
            with self.cursor() as cursor:
                self._send(cursor)

    def _put_together(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, {}
            for sql, found in gathered.items():
                self.later(sql, {name: array_of([row[name] for row in found]) for name in found[0]})

    def _written(self, sql: str, params: Mapping[str, Any]) -> bytes:
        with self.cursor() as cursor:
            written: bytes = cursor.mogrify(sql, params)
            return written

    def _planned_or_plain(self, sql: str) -> tuple[str, bytes]:
        """A statement for the driver, and what must go before it: its plan, if that is new."""
        if not self._keeps_plans or not isinstance(sql, Hot):
            return for_driver(sql), b""
        if sql.name in self._planned:
            return sql.carry_out, b""
        self._planned.add(sql.name)
        return sql.carry_out, sql.prepare

    def _send(self, cursor: Any) -> None:
        message = b"; ".join([self._opening, *self._waiting] if not self._begun else self._waiting)
        self._waiting.clear()
        if not self._begun:
            self._begun, self._doubtful = True, False
        self._carry_out(cursor, message, None)

    def _carry_out(self, cursor: Any, statement: str | bytes, params: Mapping[str, Any] | None) -> None:
        try:
            cursor.execute(statement, params)
        except psycopg2.Error:
            # It may have got as far as a plan that was to be made, or not; or the tables changed since it was made.
            self._doubtful = True
            raise
