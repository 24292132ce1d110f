"""Lists of v1: pages of rows, each followed by the ``next`` that it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from connector_runner.connectors.athenahealth.client import AthenahealthClient, is_address
from connector_runner.connectors.base import BadEntry, SourceRecord, WindowLost
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock
from connector_runner.kernel.errors import Unavailable

Row = dict[str, Any]
LIMIT: Final = 1000
"""Rows of a page, as metriport/metriport asks for them."""
_MOST_PAGES: Final = 10_000


def pages(
    client: AthenahealthClient, path: str, params: list[tuple[str, str]], key: str, clock: Clock
) -> Iterator[tuple[list[Any], str | None]]:
    """The rows of each page with the address of the one behind it; ``path`` may be such an address.

    Raises Unavailable (``no_list``) when an answer has no list under ``key``, WindowLost (``paging_loop``), and what
    ``v1_json`` raises.
    """
    asked = params if is_address(path) else [*params, ("limit", str(LIMIT))]
    at: str | None = path
    seen: set[str] = set()
    while at is not None:
        document = client.v1_json(at, asked, clock)
        listed = document.get(key) if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise Unavailable("the answer has no list where v1 has it", code="no_list", where=key)
        following = document.get("next")
        at, asked = (following if isinstance(following, str) and following else None), []
        if at is not None and (at in seen or len(seen) >= _MOST_PAGES):
            raise WindowLost("the pages of v1 go round in a circle", code="paging_loop")
        seen.add(at or "")
        yield listed, at


def appointment(row: Any, practice: str, zone: str | None, place: str) -> SourceRecord | BadEntry:
    """A row as a record. Beside what the row says stands whose it is: it names neither its practice nor a zone."""
    record_id = row.get("appointmentid") if isinstance(row, dict) else None
    text = str(record_id) if isinstance(record_id, int | str) and not isinstance(record_id, bool) else ""
    if not (text.isascii() and text.isdigit()):
        raw = exact_json.dumps(row).encode()
        return BadEntry(place, "no_id", "the row has no usable appointmentid", raw)
    body = {**row, "appointmentid": text, "practiceid": practice, **({"zone": zone} if zone else {})}
    return SourceRecord("Appointment", text, exact_json.dumps(body).encode(), body)
