"""Ways of reading beside the stamp: clinical dates, a vendor's feed, and what servers say of what they leave out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from connector_runner.connectors.base import Opening, Page, SourceRecord
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.profile import ChangedFeed, Profile
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.fhir.source import FHIRSource
from connector_runner.infra.http import HTTP
from connector_runner.kernel.errors import RunnerError
from connector_runner.settings import Settings
from tests.contract.scripted import Query, ScriptedServer, bundle, patient, scripted_server

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
Make = Callable[..., FHIRSource]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


@pytest.fixture
def source(server: ScriptedServer) -> Iterator[Make]:
    http = HTTP(Settings(http_allow=("127.0.0.1",)))

    def made(profile: Profile, feed: ChangedFeed | None = None) -> FHIRSource:
        settings = FHIRSettings(base_url=server.base_url, overlap_s=0)
        client = FHIRClient(Opening(http, lambda reference: ""), settings)
        return FHIRSource(client, profile=profile, feed=feed, clock=lambda: NOW)

    yield made
    http.close()


def read(source: FHIRSource, cursor: dict[str, Any], *, full: bool = False, most: int = 1000) -> list[Page]:
    """The pages of one poll."""
    pages = []
    for page in source.pages("Patient", cursor, full=full):
        pages.append(page)
        if len(pages) == most:
            break
    return pages


def ids(pages: list[Page]) -> set[str]:
    return {record.record_id for page in pages for record in page.records}


def outcome(code: str) -> dict[str, Any]:
    coded = {"severity": "warning", "code": "value", "details": {"coding": [{"code": code}]}}
    return {"entry": {"resource": {"resourceType": "OperationOutcome", "issue": [coded]}}}


class Dated:
    """Patients by birth date, as many as ``cap`` a search, ``size`` a page."""

    def __init__(self, origin: str, days: list[str], cap: int = 1000, size: int = 1000) -> None:
        self.origin, self.days, self.cap, self.size = origin, days, cap, size
        self.expire: set[str] = set()

    def __call__(self, path: str, query: Query) -> tuple[int, Any]:
        rows = self.days
        for bound in query.get("birthdate", []):
            rows = [day for day in rows if (day >= bound[2:] if bound.startswith("ge") else day < bound[2:])]
        rows = rows[: self.cap]
        start = int(query.get("at", ["0"])[0])
        if str(start) in self.expire:
            self.expire.discard(str(start))
            return 200, bundle(outcome("4113"))
        asked = "".join(f"&birthdate={bound}" for bound in query.get("birthdate", []))
        link = f"{self.origin}/fhir/Patient?at={start + self.size}{asked}" if start + self.size < len(rows) else None
        return 200, bundle(*(patient(day, None) for day in rows[start : start + self.size]), next_link=link)


DATED = Profile(strategies={"": ("date_window",)}, dates={"Patient": "birthdate"})


def test_by_date_everything_is_read_at_first_and_what_lies_around_today_later(
    server: ScriptedServer, source: Make
) -> None:
    server.script = Dated(server.origin, ["1950-01-01", "2026-06-14"])
    first = read(source(DATED), {})
    assert ids(first) == {"1950-01-01", "2026-06-14"}
    later = read(source(DATED), first[-1].cursor)
    assert (ids(later), later[-1].whole) == ({"2026-06-14"}, False)
    full = read(source(DATED), later[-1].cursor, full=True)
    assert (ids(full), full[-1].whole) == ({"1950-01-01", "2026-06-14"}, True)


def test_a_first_reading_that_was_lost_is_begun_again_whole(server: ScriptedServer, source: Make) -> None:
    server.script = Dated(server.origin, ["1950-01-01", "1960-01-01", "2026-06-14"], size=1)
    (first,) = read(source(DATED), {}, most=1)
    cursor = {key: value for key, value in first.cursor.items() if key != "window"}
    again = read(source(DATED), cursor)
    assert ids(again) == {"1950-01-01", "1960-01-01", "2026-06-14"}
    assert ids(read(source(DATED), again[-1].cursor)) == {"2026-06-14"}


class Feed:
    """A feed that has told of everything before ``news``; ``calls`` are the cursors it was asked with."""

    def __init__(self, *news: str) -> None:
        self.news, self.calls = list(news), list[dict[str, Any]]()

    def changed(self, resource_type: str, cursor: dict[str, Any]) -> Iterator[Page]:
        self.calls.append(cursor)
        begun = int(cursor.get("n", 0))
        for number in range(begun, len(self.news)):
            body = patient(self.news[number])
            record = SourceRecord("Patient", self.news[number], b"{}", body)
            yield Page((record,), (), {"n": number + 1}, False)
        yield Page((), (), {"n": len(self.news)}, True)


FED = Profile(strategies={"": ("changed_feed", "whole")})


def numbered(server: ScriptedServer, count: int) -> Callable[[str, Query], tuple[int, Any]]:
    def script(path: str, query: Query) -> tuple[int, Any]:
        at = int(query.get("at", ["0"])[0])
        link = f"{server.origin}/fhir/Patient?at={at + 1}" if at + 1 < count else None
        return 200, bundle(patient(f"p{at}"), next_link=link)

    return script


@pytest.mark.parametrize("cut", range(1, 7))
def test_a_feed_is_begun_before_everything_is_read_wherever_that_is_cut_off(
    server: ScriptedServer, source: Make, cut: int
) -> None:
    server.script = numbered(server, 3)
    feed = Feed("a", "b")
    first = read(source(FED, feed), {}, most=cut)
    assert not any(page.last for page in first[:-1])
    feed.news.append("c")
    cursor = {key: value for key, value in first[-1].cursor.items() if key != "window"}
    second = read(source(FED, feed), first[-1].cursor)
    third = read(source(FED, feed), second[-1].cursor)
    assert ids(first + second + third) == {"a", "b", "c", "p0", "p1", "p2"}
    lost = read(source(FED, feed), cursor)
    assert ids(first + lost + read(source(FED, feed), lost[-1].cursor)) == {"a", "b", "c", "p0", "p1", "p2"}


def test_after_everything_was_read_a_feed_alone_is_read(server: ScriptedServer, source: Make) -> None:
    server.script = numbered(server, 2)
    feed = Feed("a")
    first = read(source(FED, feed), {})
    server.asked.clear()
    feed.news.append("b")
    assert ids(read(source(FED, feed), first[-1].cursor)) == {"b"}
    assert server.asked == []


def test_a_search_that_reaches_its_cap_is_parted_until_all_is_seen(server: ScriptedServer, source: Make) -> None:
    days = [f"19{year:02}-0{month}-11" for year in range(30, 99) for month in (1, 5, 9)]
    server.script = Dated(server.origin, days, cap=10)
    profile = Profile(strategies={"": ("whole",)}, dates={"Patient": "birthdate"}, caps={"Patient": 10})
    pages = read(source(profile), {})
    assert ids(pages) == set(days)
    assert not pages[-1].proves, "who has no birth date is in no part"


def test_more_at_one_date_than_a_search_gives_is_said_aloud(server: ScriptedServer, source: Make) -> None:
    def script(path: str, query: Query) -> tuple[int, Any]:
        return 200, bundle(*(patient(f"p{n}", None) for n in range(10)))

    server.script = script
    profile = Profile(strategies={"": ("whole",)}, dates={"Patient": "birthdate"}, caps={"Patient": 10})
    with pytest.raises(RunnerError) as caught:
        read(source(profile), {})
    assert caught.value.code == "search_capped"


def test_what_is_partial_proves_nothing(server: ScriptedServer, source: Make) -> None:
    def script(path: str, query: Query) -> tuple[int, Any]:
        if "at" in query:
            return 200, bundle(patient("p2"))
        return 200, bundle(patient("p1"), outcome("4119"), next_link=f"{server.origin}/fhir/Patient?at=1")

    server.script = script
    pages = read(source(Profile(strategies={"": ("whole",)}, partial_warning=frozenset({"4119"}))), {}, full=True)
    assert [page.whole for page in pages] == [True, True]
    assert not pages[-1].proves
    assert pages[0].warnings == ("4119", "value")


def test_a_link_that_expired_inside_a_200_ends_no_window(server: ScriptedServer, source: Make) -> None:
    script = Dated(server.origin, [f"2026-06-{day}" for day in range(10, 16)], size=2)
    script.expire = {"2"}
    server.script = script
    profile = Profile(strategies={"": ("whole",)}, expired_codes=frozenset({"4113"}))
    with pytest.raises(RunnerError) as caught:
        read(source(profile), {}, full=True)
    assert caught.value.code == "link_expired"


WARNED = Profile(strategies={"": ("last_updated", "whole")}, ignored_warning=frozenset({"4122"}))
SINCE = {"since": "2026-06-01T00:00:00Z"}


def test_a_warning_about_the_order_costs_the_order_and_not_the_filter(server: ScriptedServer, source: Make) -> None:
    def script(path: str, query: Query) -> tuple[int, Any]:
        # The links of a search are those of its parameters: the warning stands on each of its pages.
        ignored = [outcome("4122")] if "_sort" in query or "sorted" in query else []
        stamp = "2026-06-10T00:00:00Z"
        if "at" in query:
            return 200, bundle(patient("p2", stamp), *ignored)
        link = f"{server.origin}/fhir/Patient?at=1{'&sorted=1' if ignored else ''}"
        return 200, bundle(patient("p1", stamp), *ignored, next_link=link)

    server.script = script
    pages = read(source(WARNED), SINCE)
    assert ids(pages) == {"p1", "p2"}
    assert {name for page in pages for name in page.ignored} == {"_sort"}
    assert pages[-1].strategy == "last_updated"
    server.asked.clear()
    after = read(source(WARNED), pages[-1].cursor)
    assert after[-1].strategy == "last_updated"
    assert "_sort" not in server.asked[0][1]


def test_a_warning_that_stays_without_an_order_is_about_the_filter(server: ScriptedServer, source: Make) -> None:
    server.script = lambda path, query: (200, bundle(patient("p1", "2026-06-10T00:00:00Z"), outcome("4122")))
    cursor, strategies = dict(SINCE), []
    for _ in range(3):
        pages = read(source(WARNED), cursor)
        cursor = pages[-1].cursor
        strategies.append(pages[-1].strategy)
    assert strategies[-1] == "whole"
