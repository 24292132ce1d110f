"""Pages that a server only numbers: they shift while they are read, so reading goes on by stamp where it can."""

from __future__ import annotations

import pytest

from connector_runner.connectors.fhir.stepping import numbered
from connector_runner.kernel.clock import parse_instant
from tests.fhir_server import FHIRServer, Row
from tests.property.test_cursor_servers import Reader


@pytest.mark.parametrize("tells", [True, False])
def test_what_changes_on_a_page_that_was_read_makes_no_other_record_slip(tells: bool) -> None:
    """That rows come in the order of their stamps the server says, or a probe has seen."""
    server = FHIRServer(page_size=3, paging="offset")
    server.tells = tells
    reader = Reader(server, last_updated="honoured", sort="unknown" if tells else "honoured")
    server.touch("first")
    reader.poll()
    for number in range(5):
        server.touch(f"p{number}")
    asked = len(server.asked)

    def during() -> None:
        if len(server.asked) == asked + 2:
            server.touch("p0")

    server.during = during
    reader.poll()
    assert reader.current == server.versions


def test_where_nothing_tells_of_an_order_links_are_followed() -> None:
    """Rows that happen to come in order once may not do so on the next page."""
    server = FHIRServer(page_size=3, paging="offset", sorts=False)
    server.tells = False
    reader = Reader(server, last_updated="honoured")
    for name in ("a", "b", "d", "e", "c"):
        server.touch(name)
    server.touch("c")
    reader.poll()
    assert reader.current == server.versions
    assert [query.get("_at") for _, query in server.asked] == [None, "3"]


@pytest.mark.parametrize("measured", ["unknown", None])
def test_where_no_probe_has_seen_the_filter_work_links_are_followed(measured: str | None) -> None:
    """One that takes a bound for an instant would show a single record, and seem to be at the end."""
    server = FHIRServer(page_size=3, paging="offset")
    reader = Reader(server, **({"last_updated": measured} if measured else {}))
    for number in range(7):
        server.touch(f"p{number}")
    reader.poll()
    assert [query.get("_at") for _, query in server.asked] == [None, "3", "6"]


def test_where_some_records_have_no_stamp_links_are_followed() -> None:
    """A search from a stamp on would not show them."""
    server = FHIRServer(page_size=3, paging="offset")
    reader = Reader(server, last_updated="honoured", stamp="absent")
    for number in range(7):
        server.touch(f"p{number}")
    reader.poll()
    assert [query.get("_at") for _, query in server.asked] == [None, "3", "6"]


def test_a_server_that_filters_by_nothing_is_read_by_its_links() -> None:
    """The second search begins at a stamp, and shows the first page again: from there the links are followed."""
    server = FHIRServer(page_size=3, paging="offset", filters=False)
    reader = Reader(server, last_updated="honoured")
    for number in range(7):
        server.touch(f"p{number}")
    reader.poll()
    assert reader.current == server.versions
    assert [query.get("_at") for _, query in server.asked] == [None, None, "3", "6"]
    server.touch("p0")
    server.touch("p7")
    reader.poll()
    assert reader.current == server.versions


class Exclusive(FHIRServer):
    """Takes a lower bound for exclusive."""

    def matches(self, kind: str, query: list[tuple[str, str]]) -> list[Row]:
        bounds = [parse_instant(value[2:]) for name, value in query if name == "_lastUpdated"]
        return [row for row in super().matches(kind, query) if row.stamp not in bounds]


def test_records_of_the_instant_at_which_a_page_ends_are_read() -> None:
    server = Exclusive(page_size=4, paging="offset")
    reader = Reader(server, last_updated="honoured")
    for number in range(4):
        server.touch(f"p{number}")
    server.touch("p4", same_instant=True)
    server.touch("p5")
    reader.poll()
    assert reader.current == server.versions
    assert [query.get("_at") for _, query in server.asked] == [None, None]


def test_records_of_one_instant_are_read_by_links() -> None:
    server = FHIRServer(page_size=3, paging="offset")
    reader = Reader(server, last_updated="honoured")
    for number in range(7):
        server.touch(f"p{number}", same_instant=True)
    reader.poll()
    assert reader.current == server.versions


def test_links_that_hold_more_than_a_number_are_followed_as_they_are() -> None:
    server = FHIRServer()
    reader = Reader(server, last_updated="honoured")
    for number in range(5):
        server.touch(f"p{number}")
    reader.poll()
    assert [query.get("_at") for _, query in server.asked] == [None, "2", "4"]


@pytest.mark.parametrize(
    ("link", "is_numbered"),
    [
        ("http://x/fhir/Patient?_count=50&_sort=_lastUpdated&_lastUpdated=ge2026-01-01&page=2", True),
        ("Patient?_count=50&_offset=100&_format=json", True),
        ("http://x/fhir?_getpages=0c7c1f5a&_getpagesoffset=50&_count=50", False),
        ("http://x/fhir/Patient?_cursor=b2Zmc2V0", False),
        ("http://x/fhir/Patient?sessionID=12-ABC", False),
        ("http://x/fhir/Patient?_count=50&_sort=_lastUpdated", False),
        ("http://x/fhir/Patient/page/2", False),
        ("http://x/fhir/Patient?page=", False),
    ],
)
def test_a_number_and_nothing_else_is_a_numbered_page(link: str, is_numbered: bool) -> None:
    assert numbered(link, {"_count", "_sort", "_lastUpdated"}) is is_numbered
