"""What every adapter must do to keep within what its vendor takes: every request that reads goes through the gate."""

from __future__ import annotations

from collections.abc import Mapping

from connector_runner.connectors import registry
from connector_runner.kernel.errors import RateLimited
from tests.conformance.clinic import Clinic, read_all
from tests.conformance.conftest import Say


class Counting:
    """A gate that lets so many requests pass, and then says when the next may."""

    def __init__(self, most: int) -> None:
        self.left, self.passed, self.answers = most, 0, 0

    def __call__(self, cost: int = 1) -> None:
        """Count, or refuse."""
        if self.left < cost:
            raise RateLimited("not yet our turn", code="read_paced", retry_after_s=30)
        self.left -= cost
        self.passed += cost

    def heard(self, status: int | None, headers: Mapping[str, str] | None = None) -> None:
        """An answer came."""
        self.answers += 1


def asked(clinic: Clinic) -> int:
    """How many requests came so far; where tokens are had is asked of the server, not of the API."""
    return sum(".well-known/" not in one["path"] for one in clinic.journal())


def test_every_request_is_counted(reading: Clinic, say: Say) -> None:
    gate = Counting(10_000)
    source = registry.open_source(reading.data_source(), reading.opening(gate))
    read_all(source, reading.adapter.reads[-1])
    asked = [one for one in reading.journal() if not one["path"].startswith("/_sandbox")]
    assert gate.passed == gate.answers == len(asked) > 1
    say(reading, "counts every request")


def test_nothing_is_sent_out_of_turn_and_nothing_is_lost(reading: Clinic, say: Say) -> None:
    resource_type = reading.adapter.reads[-1]
    wanted, seen = reading.shown(resource_type).keys(), set()
    cursor: dict[str, object] = {}
    for _ in range(100):
        gate = Counting(2)
        source = registry.open_source(reading.data_source(), reading.opening(gate))
        sent = len(reading.journal())
        try:
            for page in source.pages(resource_type, cursor, full=not cursor):
                seen |= {record.record_id for record in page.records}
                cursor = page.cursor
            break
        except RateLimited:
            assert len(reading.journal()) == sent + 2
    assert seen == wanted
    say(reading, "waits for its turn")
