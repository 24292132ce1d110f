"""A cursor over ``_lastUpdated`` loses nothing, whatever changes between and during its windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from connector_runner.connectors.base import SourceRecord
from connector_runner.connectors.fhir.paging import ParsedPage
from connector_runner.connectors.fhir.window import Window, instant, moment, open_window, resumed
from connector_runner.kernel import exact_json

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = 2


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


class Store:
    """A server that keeps the list of ids it found when a search began, and serves each as it is by then."""

    def __init__(self, *, ordered: bool) -> None:
        self.now = 0
        self.stamps: dict[int, int] = {}
        self.ordered = ordered

    def touch(self, record: int, *, same_instant: bool) -> None:
        self.now += 0 if same_instant else 1
        self.stamps[record] = self.now

    def search(self, since: datetime | None) -> list[int]:
        found = [record for record, stamp in self.stamps.items() if since is None or at(stamp) >= since]
        return sorted(found, key=lambda record: self.stamps[record] if self.ordered else (record * 7) % 11)

    def page(self, found: list[int], number: int) -> ParsedPage:
        rows = found[number * PAGE : number * PAGE + PAGE]
        stamps = [self.stamps[row] for row in rows]
        records = [
            SourceRecord("Patient", str(row), b"", {}, str(stamp), at(stamp))
            for row, stamp in zip(rows, stamps, strict=True)
        ]
        more = f"next-{self.now}-{number}" if (number + 1) * PAGE < len(found) else None
        return ParsedPage(tuple(records), (), (), more, "_lastUpdated" if self.ordered else None, None)


CHANGES = st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=6)


@settings(max_examples=300, deadline=None)
@given(
    rounds=st.lists(
        st.tuples(CHANGES, st.lists(CHANGES, min_size=5, max_size=5), st.booleans()), min_size=1, max_size=5
    ),
    ordered=st.booleans(),
)
def test_every_version_that_outlives_a_quiet_window_is_seen(
    rounds: list[tuple[list[tuple[int, bool]], list[list[tuple[int, bool]]], bool]], ordered: bool
) -> None:
    """Windows are cut off at random by a restart that forgets everything but the cursor."""
    store, cursor, seen = Store(ordered=ordered), None, {}

    def run(during: list[list[tuple[int, bool]]], *, cut: bool) -> None:
        nonlocal cursor
        window = open_window(cursor, whole=False)
        found, date = store.search(window.lower_bound(0)), at(store.now)
        for number in range(5):
            page = store.page(found, number)
            window = window.after(page, f"{number}", date)
            seen.update({record.record_id: record.version for record in page.records})
            cursor = window.checkpoint
            if window.next_link is None or cut:
                return
            for record, same in during[number]:
                store.touch(record, same_instant=same)

    for before, during, cut in rounds:
        for record, same in before:
            store.touch(record, same_instant=same)
        run(during, cut=cut)
    run([[]] * 5, cut=False)
    assert seen == {str(record): str(stamp) for record, stamp in store.stamps.items()}


@given(st.datetimes(datetime(1900, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)))
def test_an_instant_survives_the_cursor(value: datetime) -> None:
    assert moment(instant(value)) == value
    assert "+" not in (instant(value) or "+")


@given(
    floor=st.none() | st.integers(0, 99),
    stamps=st.lists(st.none() | st.integers(0, 99), max_size=5),
    ordered=st.booleans(),
    dated=st.booleans(),
)
def test_a_window_survives_the_cursor(floor: int | None, stamps: list[int | None], ordered: bool, dated: bool) -> None:
    records = tuple(
        SourceRecord("Patient", str(n), b"", {}, None, None if stamp is None else at(stamp))
        for n, stamp in enumerate(stamps)
    )
    page = ParsedPage(records, (), (), "http://x/next", "_lastUpdated" if ordered else None, None)
    window = open_window(None if floor is None else at(floor), whole=False)
    window = window.after(page, "digest", at(50) if dated else None)
    kept = exact_json.loads(exact_json.dumps({"window": window.to_json()}))
    assert resumed(kept) == window
    assert isinstance(window, Window)
    assert window.checkpoint is None or floor is None or window.checkpoint >= at(floor)
