"""Servers that do not tell the time, set it back, or stamp records with a time to come: nothing is missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from connector_runner.connectors.fhir.profile import PLAIN, Profile
from tests.fhir_server import FHIRServer
from tests.property.test_cursor_servers import LOSSY, Reader

YEARS = timedelta(days=365 * 70)


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("size", [2, 50])
def test_a_stamp_of_the_future_hides_nothing_that_changes_until_then(dated: bool, size: int) -> None:
    server = FHIRServer(page_size=size, dated=dated)
    reader = Reader(server)
    for number in range(5):
        server.touch(f"p{number}")
    server.rows["p2"].stamp += YEARS
    reader.poll()
    server.touch("p0")
    server.touch("q0")
    reader.poll()
    assert reader.current == server.versions


@pytest.mark.parametrize("dated", [True, False])
def test_a_checkpoint_of_the_future_is_given_up(dated: bool) -> None:
    server = FHIRServer(dated=dated)
    reader = Reader(server)
    server.touch("p0")
    reader.poll()
    reader.cursor = {**reader.cursor, "since": "2095-12-15T00:15:00.000Z"}
    server.touch("p1")
    reader.poll()
    assert reader.current == server.versions
    server.touch("p2")
    asked = len(server.asked)
    reader.poll()
    assert reader.current == server.versions
    assert all("_lastUpdated" in query for _, query in server.asked[asked:]), "it goes on from a checkpoint again"


@pytest.mark.parametrize("profile", [PLAIN, LOSSY])
def test_what_changes_after_the_servers_clock_was_set_back_is_seen(profile: Profile) -> None:
    server = FHIRServer()
    reader = Reader(server, profile)
    server.now += timedelta(hours=5)
    server.touch("ahead")
    reader.poll()
    server.now -= timedelta(hours=5)
    server.touch("now")
    reader.poll()
    assert reader.current == server.versions
    server.touch("then")
    reader.poll()
    assert reader.current == server.versions


@pytest.mark.parametrize("year", [1, 1970, 9999])
@pytest.mark.parametrize("paging", ["snapshot", "offset"])
def test_a_stamp_that_stands_for_none_is_none(year: int, paging: Literal["snapshot", "offset"]) -> None:
    """The first or last second that there is: nothing can be found again by it, so the content decides."""
    server = FHIRServer(paging=paging)
    server.settings.overlap_s = 60
    reader = Reader(server)
    for number in range(5):
        server.touch(f"p{number}")
        server.rows[f"p{number}"].stamp = datetime(year, 12 if year == 9999 else 1, 1, tzinfo=UTC)
    for version in range(2, 4):
        reader.poll()
        assert reader.current == server.versions
        server.rows["p0"].version = version
    reader.poll()
    assert reader.current == {**server.versions, "p0": "3"}


def test_a_checkpoint_of_the_year_1_reads_everything() -> None:
    server = FHIRServer()
    server.settings.overlap_s = 60
    reader = Reader(server)
    server.touch("p0")
    reader.cursor = {"since": "0001-01-01T00:00:00.000Z"}
    reader.poll()
    assert reader.current == server.versions


def test_a_clock_that_is_a_little_behind_itself_costs_nothing() -> None:
    """Machines behind one address differ by seconds."""
    server = FHIRServer()
    reader = Reader(server)
    server.touch("p0")
    reader.poll()
    server.now -= timedelta(seconds=20)
    asked = len(server.asked)
    reader.poll()
    assert [query.get("_lastUpdated") for _, query in server.asked[asked:]] == ["ge2026-01-01T00:05:00.000Z"]
