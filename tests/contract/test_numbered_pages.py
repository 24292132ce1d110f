"""Pages that a server only numbers: they shift while they are read, so reading goes on by stamp where it can."""

from __future__ import annotations

import pytest

from connector_runner.connectors.fhir.profile import Measured
from connector_runner.connectors.fhir.source import FHIRSource
from connector_runner.connectors.fhir.stepping import numbered
from tests.fhir_server import EPOCH, FHIRServer
from tests.property.test_cursor_servers import Reader


def measured(**verdicts: str) -> dict[str, Measured]:
    return {"Patient": Measured("last_updated", (), EPOCH, {"last_updated": "honoured", **verdicts})}


@pytest.mark.parametrize("tells", [True, False])
def test_what_changes_on_a_page_that_was_read_makes_no_other_record_slip(tells: bool) -> None:
    """That rows come in the order of their stamps the server says, or a probe has seen."""
    server = FHIRServer(paging="offset")
    server.tells = tells
    reader = Reader(server)
    if not tells:
        reader.source = FHIRSource(server, measured=measured(sort="honoured"))  # type: ignore[arg-type]
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
    server = FHIRServer(paging="offset", sorts=False)
    server.tells = False
    reader = Reader(server)
    for name in ("a", "b", "d", "e", "c"):
        server.touch(name)
    server.touch("b")
    reader.poll()
    assert reader.current == server.versions
    assert [query.get("_at") for _, query in server.asked] == [None, "2", "4"]


def test_where_some_records_have_no_stamp_links_are_followed() -> None:
    """A search from a stamp on would not show them."""
    server = FHIRServer(paging="offset")
    reader = Reader(server)
    reader.source = FHIRSource(server, measured=measured(stamp="absent"))  # type: ignore[arg-type]
    for number in range(5):
        server.touch(f"p{number}")
    reader.poll()
    assert [query.get("_at") for _, query in server.asked] == [None, "2", "4"]


def test_a_server_that_filters_by_nothing_is_read_by_its_links() -> None:
    """The second search would begin at a stamp, and shows the first page again: so the links are followed instead."""
    server = FHIRServer(paging="offset", filters=False)
    reader = Reader(server)
    for number in range(7):
        server.touch(f"p{number}")
    reader.poll()
    assert reader.current == server.versions
    server.touch("p0")
    server.touch("p7")
    reader.poll()
    assert reader.current == server.versions


def test_records_of_one_instant_are_read_by_links() -> None:
    server = FHIRServer(paging="offset")
    reader = Reader(server)
    for number in range(7):
        server.touch(f"p{number}", same_instant=True)
    reader.poll()
    assert reader.current == server.versions


def test_links_that_hold_more_than_a_number_are_followed_as_they_are() -> None:
    server = FHIRServer()
    reader = Reader(server)
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
