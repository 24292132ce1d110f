"""Reading from a cursor loses nothing and repeats nothing, on servers of every kind, whatever changes meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector_runner.connectors.base import WindowLost
from connector_runner.connectors.fhir.profile import PLAIN, Measured, Profile, Roster
from connector_runner.connectors.fhir.source import FHIRSource
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import RunnerError
from tests.fhir_server import EPOCH, FHIRServer, Row

LOSSY = Profile(lossy_pages=True)


class Reader:
    """Keeps the cursor, and of each record the latest version that came; nothing else outlives a poll."""

    def __init__(
        self, server: FHIRServer, profile: Profile = PLAIN, roster: Roster | None = None, **verdicts: str
    ) -> None:
        """``verdicts`` are what a probe found."""
        self.server = server
        found = {"Patient": Measured("last_updated", (), EPOCH, verdicts)} if verdicts else {}
        self.source = FHIRSource(server, profile=profile, roster=roster, measured=found)  # type: ignore[arg-type]
        self.cursor: dict[str, Any] = {}
        self.known: dict[str, str] = {}
        self.codes: set[str] = set()

    def poll(self, *, most_pages: int = 10_000, full: bool = False) -> None:
        try:
            for number, page in enumerate(self.source.pages("Patient", self.cursor, full=full), 1):
                for record in page.records:
                    known = self.known.get(record.record_id)
                    version = str(record.version)
                    if known is None or int(version) > int(known):
                        self.known[record.record_id] = version
                self.cursor = exact_json.loads(exact_json.dumps(page.cursor))
                if number >= most_pages:
                    return
        except WindowLost:
            self.cursor = {key: value for key, value in self.cursor.items() if key != "window"}
        except RunnerError as error:
            self.codes.add(error.code)

    def settle(self) -> None:
        """Polls on a quiet server, to the end of whatever is under way and then once more."""
        self.server.during, self.server.faults = lambda: None, {}
        for _ in range(3):
            self.poll()

    @property
    def current(self) -> dict[str, str]:
        return {key: version for key, version in self.known.items() if key in self.server.rows}


class RosterServer(FHIRServer):
    """Refuses a search without patient and category. Records belong to one of three patients, by their names."""

    def patients(self, after: str | None, limit: int) -> list[str]:
        return [one for one in ("a", "b", "c") if after is None or one > after][:limit]

    def matches(self, kind: str, query: list[tuple[str, str]]) -> list[Row]:
        asked = dict(query)
        bounds = [value for name, value in query if name == "date"]
        return [
            row
            for row in super().matches(kind, query)
            if all(_within(row, bound) for bound in bounds)
            and "abc"[sum(row.id.encode()) % 3] == asked["_id"]
            and len(row.id) % 2 == (asked["category"] == "odd")
        ]


def _within(row: Row, bound: str) -> bool:
    day = row.stamp.date().isoformat()
    return day >= bound[2:] if bound.startswith("ge") else day < bound[2:]


CHANGES = st.lists(
    st.tuples(st.sampled_from(["new", "again", "same instant", "delete"]), st.integers(0, 6)), max_size=3
)
FAULTS = st.dictionaries(st.integers(1, 8), st.sampled_from([500, 503, 410, 404, 429]), max_size=2)
ROUND = st.tuples(CHANGES, st.lists(CHANGES, max_size=12), st.integers(1, 6), FAULTS)
MOVES = st.lists(st.tuples(st.sampled_from(["new", "again", "delete"]), st.integers(0, 6)), max_size=3)
APART = st.tuples(MOVES, st.lists(MOVES, max_size=12), st.integers(1, 6), FAULTS)
"""No two changes at one instant: what numbers alone tell apart is found by the next reading of everything."""


CHANGED_BELOW: list[Any] = [
    ([("new", 0)], [], 1, {}),
    ([("new", 0), ("again", 2)], [[], [("new", 0), ("new", 0)], [], [("again", 2)]], 2, {}),
    ([], [], 2, {2: 410}),
]
"""What stands on a page behind changes, then the link to what stands between expires."""
SKIPPED: list[Any] = [
    ([("again", 0)], [], 1, {}),
    ([("new", 0), ("new", 0)], [], 1, {}),
    ([("again", 0)], [], 2, {2: 410}),
]
"""What was read goes to the end, so a row is skipped; then the link expires behind a later one."""
SHIFTED: list[Any] = [([("new", 0), ("again", 0), ("again", 1), ("again", 2)], [[], [("again", 0)]], 9, {})]
"""What stands on a page that was read goes to the end, so the next page begins one row too late."""


SLIPPED: list[Any] = [
    ([("new", 0)], [], 9, {}),
    ([("new", 0), ("again", 0), ("again", 1), ("again", 2), ("again", 3)], [[], [("again", 0)]], 9, {}),
]
"""The same at a server that is not known to shift its pages."""


def change(server: FHIRServer, what: str, which: int) -> None:
    if what == "delete":
        server.delete(f"r{which}")
    else:
        server.touch(f"n{len(server.rows)}" if what == "new" else f"r{which}", same_instant=what == "same instant")


def changing(server: FHIRServer, during: list[Any]) -> Callable[[], None]:
    """Each time that a page is asked for, the changes that come before it."""
    pending = iter(during)

    def before_page() -> None:
        for what, which in next(pending, []):
            change(server, what, which)

    return before_page


def live_through(server: FHIRServer, reader: Reader, rounds: list[Any]) -> None:
    """Changes before a poll and under it, faults, and polls that are cut off; then all that is left is read."""
    for before, during, most_pages, faults in rounds:
        for what, which in before:
            change(server, what, which)
        server.faults = {len(server.asked) + number: status for number, status in faults.items()}
        server.during = changing(server, during)
        reader.poll(most_pages=most_pages)
    reader.settle()


@pytest.mark.parametrize("paging", ["snapshot", "offset"])
@pytest.mark.parametrize("filters", [True, False])
@settings(max_examples=100, deadline=None)
@given(rounds=st.lists(ROUND, min_size=1, max_size=5), sorts=st.booleans(), dated=st.booleans(), size=st.integers(1, 4))
@example(rounds=CHANGED_BELOW, sorts=True, dated=False, size=1)
@example(rounds=CHANGED_BELOW, sorts=True, dated=True, size=1)
@example(rounds=SHIFTED, sorts=True, dated=True, size=2)
@example(rounds=SKIPPED, sorts=True, dated=False, size=1)
def test_no_version_that_outlives_the_changes_is_missed(
    paging: Any, filters: bool, rounds: list[Any], sorts: bool, dated: bool, size: int
) -> None:
    """Pages fail, links expire, polls are cut off, and records change under the reader's hands."""
    server = FHIRServer(page_size=size, paging=paging, filters=filters, sorts=sorts, dated=dated)
    reader = Reader(server, LOSSY if paging == "offset" else PLAIN)
    live_through(server, reader, rounds)
    assert reader.current == server.versions


@settings(max_examples=100, deadline=None)
@given(rounds=st.lists(APART, min_size=1, max_size=5), dated=st.booleans(), size=st.integers(3, 5))
@example(rounds=SLIPPED, dated=True, size=3)
@example(rounds=SLIPPED, dated=False, size=3)
def test_what_slips_to_a_page_that_was_read_is_not_missed(rounds: list[Any], dated: bool, size: int) -> None:
    """A server that filters and sorts, and only numbers its pages: they shift while they are read."""
    server = FHIRServer(page_size=size, paging="offset", dated=dated)
    reader = Reader(server, last_updated="honoured")
    live_through(server, reader, rounds)
    assert reader.current == server.versions
    asked = len(server.asked)
    reader.poll()
    assert len(server.asked) - asked <= 1, "it goes on from where it is"


@settings(max_examples=100, deadline=None)
@given(rounds=st.lists(ROUND, min_size=1, max_size=4), size=st.integers(1, 3), cap=st.none() | st.integers(2, 5))
def test_patient_by_patient_nothing_is_missed_either(rounds: list[Any], size: int, cap: int | None) -> None:
    """A roster with two mandatory sets, rows in one or the other, searches that give only so many rows."""
    server = RosterServer(page_size=size)
    server.step, server.cap = timedelta(days=1), cap
    profile = Profile(
        strategies={"": ("roster",)},
        parameters={"": ((("category", "odd"),), (("category", "even"),))},
        dates={"Patient": "date"},
        caps={"Patient": cap} if cap else {},
    )
    reader = Reader(server, profile, roster=server)
    live_through(server, reader, rounds)
    assert reader.current == server.versions or "search_capped" in reader.codes


def test_more_rows_of_one_instant_than_any_page_holds_are_all_read() -> None:
    server = FHIRServer(page_size=500)
    reader = Reader(server)
    for number in range(10_500):
        server.touch(f"p{number}", same_instant=True)
    reader.poll(most_pages=7)
    server.touch("late", same_instant=True)
    reader.settle()
    assert len(reader.known) == 10_501
    asked = len(server.asked)
    reader.poll()
    assert len(server.asked) - asked == 22, "all of the instant is read again, each time, and no more than that"
