"""Appointments come from v1: FHIR finds one by its id only (CapabilityStatement: ``_id``, ``base-appointment-id``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from connector_runner.connectors.athenahealth import rows
from connector_runner.connectors.athenahealth.changed import Changed
from connector_runner.connectors.athenahealth.client import AthenahealthClient
from connector_runner.connectors.base import BadEntry, Page, SourceRecord
from connector_runner.connectors.fhir.client import read_failure
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock
from connector_runner.kernel.errors import BadRecord
from connector_runner.kernel.ids import new_id

BOOKED: Final = "appointments/booked/multipledepartment"
_DATE: Final = "%m/%d/%Y"


class Appointments:
    """The booked appointments around today, and what changed since."""

    def __init__(self, client: AthenahealthClient, changed: Changed, clock: Clock) -> None:
        self._client, self._changed, self._clock = client, changed, clock
        self._settings = client.practice

    def pages(self, cursor: dict[str, Any], *, full: bool) -> Iterator[Page]:
        """A list of what is booked when ``full`` or at first, else what the feed tells of.

        The feed is begun before the list is read, so that nothing in between is missed. A list of some dates proves of
        no appointment that it is gone.
        """
        kept = dict(cursor)
        listing = kept.get("listing")
        if not full and listing is None and kept.get("listed"):
            yield from self._fed(kept, last=True)
            return
        if listing is None:
            if "changed_feed" not in kept:
                yield from self._fed(kept, last=False)
            listing = {"id": new_id(), "at": None}
        for page, at in self._booked(listing["at"]):
            if at is None:
                kept.pop("listing", None)
                kept["listed"] = True
            else:
                kept["listing"] = {"id": listing["id"], "at": at}
            yield replace(page, cursor=dict(kept), last=at is None, window=listing["id"])

    def _fed(self, kept: dict[str, Any], *, last: bool) -> Iterator[Page]:
        for page in self._changed.changed("Appointment", dict(kept.get("changed_feed") or {})):
            kept["changed_feed"] = page.cursor
            yield replace(page, cursor=dict(kept), last=page.last and last, strategy="changed_feed")

    def _booked(self, at: str | None) -> Iterator[tuple[Page, str | None]]:
        back, ahead = self._settings.appointment_days
        today = self._clock()
        params = [
            ("startdate", (today - timedelta(days=back)).strftime(_DATE)),
            ("enddate", (today + timedelta(days=ahead)).strftime(_DATE)),
        ]
        if at is None:
            params += [("departmentid", number) for number in self._departments()]
        for number, (found, after) in enumerate(
            rows.pages(self._client, at or BOOKED, params if at is None else [], "appointments", self._clock), 1
        ):
            made = [
                rows.appointment(row, self._settings.practice, self._settings.zone, f"booked page {number} row {n}")
                for n, row in enumerate(found)
            ]
            records = tuple(each for each in made if isinstance(each, SourceRecord))
            bad = tuple(each for each in made if isinstance(each, BadEntry))
            yield Page(records, bad, {}, False, True, proves=False, strategy="date_window"), after

    def _departments(self) -> list[str]:
        """Those of the settings, else all of the practice."""
        if self._settings.departments:
            return list(self._settings.departments)
        listed = rows.pages(self._client, "departments", [], "departments", self._clock)
        found = (row.get("departmentid") for page, _ in listed for row in page if isinstance(row, dict))
        return [str(number) for number in found if number is not None]

    def read(self, record_id: str) -> SourceRecord | None:
        """One appointment; v1 shows it as a list of one."""
        answer = self._client.v1("GET", f"appointments/{record_id}")
        place = f"Appointment/{record_id}"
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise read_failure(answer, place, self._clock())
        document = exact_json.loads(answer.body)
        if isinstance(document, list) and not document:
            return None
        row = document[0] if isinstance(document, list) else document
        made = rows.appointment(row, self._settings.practice, self._settings.zone, place)
        if isinstance(made, BadEntry) or made.record_id != record_id:
            raise BadRecord("the server answers with another record", code="other_record", where=place)
        return made
