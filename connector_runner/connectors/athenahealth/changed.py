"""The changed feeds of v1: what changed since they were last read, after a subscription.

Reading a feed marks its messages as read, so whoever dies before they have landed would never see them again. So it is
noted first from when on messages are being read; a run that finds such a note asks for those again that were read
since then (``showprocessedstartdatetime``), and lands them a second time where they had landed.

While nobody is subscribed nothing is kept for us. That a subscription was gone is noted before it is renewed, and told
with the last page: everything has to be read once more then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from connector_runner.connectors.athenahealth import rows
from connector_runner.connectors.athenahealth.client import AthenahealthClient, NotSubscribed
from connector_runner.connectors.athenahealth.ids import fhir_id
from connector_runner.connectors.base import BadEntry, Page, SourceRecord
from connector_runner.connectors.fhir.window import instant, moment
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock
from connector_runner.kernel.errors import BadRecord, Misconfigured

SLACK: Final = timedelta(minutes=15)
"""Our clock and theirs may differ by this much."""
RESUBSCRIBED: Final = "changed_feed_resubscribed"
_EASTERN: Final = ZoneInfo("America/New_York")
_FORMAT: Final = "%m/%d/%Y %H:%M:%S"
_READING: Final = "reading_since"
_GAP: Final = "gap"
_MOST_REREAD: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Feed:
    """Where a feed is, and what its rows are called."""

    path: str
    rows: str
    number: str


FEEDS: Final = {
    "Patient": Feed("patients/changed", "patients", "patientid"),
    "Appointment": Feed("appointments/changed", "appointments", "appointmentid"),
}

Read = Callable[[str, str], SourceRecord | None]


class Changed:
    """The feed of each record type that has one. A patient is read anew by FHIR, an appointment is its row."""

    def __init__(self, client: AthenahealthClient, read: Read, clock: Clock) -> None:
        self._client, self._read, self._clock = client, read, clock
        self._practice = client.practice.practice

    def changed(self, resource_type: str, cursor: dict[str, Any]) -> Iterator[Page]:
        """Pages of what changed. Raises Misconfigured (``not_subscribed``) where it cannot be subscribed to."""
        feed = FEEDS[resource_type]
        begun = moment(cursor.get(_READING))
        began = begun or self._clock() - SLACK
        note: dict[str, Any] = {_READING: instant(began), "subscribed": True}
        if cursor.get(_GAP):
            note[_GAP] = True
        if begun is None:
            yield Page((), (), note, False)
        else:
            yield from self._again(resource_type, feed, begun, note)
        try:
            yield from self._rows(resource_type, feed, [], note)
        except NotSubscribed:
            if cursor.get("subscribed"):
                note[_GAP] = True
                yield Page((), (), note, False)
            self._subscribe(feed)
            yield from self._rows(resource_type, feed, [], note)
        missed = _GAP in note
        yield Page((), (), {"subscribed": True}, True, missed=missed, warnings=(RESUBSCRIBED,) if missed else ())

    def _again(self, resource_type: str, feed: Feed, begun: datetime, note: dict[str, Any]) -> Iterator[Page]:
        """What was read before a run ended in the middle."""
        now = self._clock()
        since = max(begun, now - _MOST_REREAD)
        params = [("showprocessedstartdatetime", _eastern(since)), ("showprocessedenddatetime", _eastern(now + SLACK))]
        try:
            yield from self._rows(resource_type, feed, params, note)
        except NotSubscribed:
            return  # then nothing was read

    def _rows(
        self, resource_type: str, feed: Feed, params: list[tuple[str, str]], note: dict[str, Any]
    ) -> Iterator[Page]:
        listed = rows.pages(self._client, feed.path, params, feed.rows, self._clock)
        for number, (found, _) in enumerate(listed, 1):
            made = self._records(resource_type, feed, found, f"{feed.path} page {number}")
            if not made:
                continue
            records = tuple(each for each in made if isinstance(each, SourceRecord))
            yield Page(records, tuple(each for each in made if isinstance(each, BadEntry)), note, False)

    def _records(self, resource_type: str, feed: Feed, found: list[Any], place: str) -> list[SourceRecord | BadEntry]:
        if resource_type == "Appointment":
            zone = self._client.practice.zone
            return [rows.appointment(row, self._practice, zone, f"{place} row {n}") for n, row in enumerate(found)]
        made: dict[str, SourceRecord | BadEntry | None] = {}
        for index, row in enumerate(found):
            number = row.get(feed.number) if isinstance(row, dict) else None
            record_id = fhir_id(self._practice, resource_type, number)
            where = f"{place} row {index}"
            if record_id is None:
                raw = exact_json.dumps(row).encode()
                made[where] = BadEntry(where, "no_id", f"the row has no usable {feed.number}", raw)
            elif record_id not in made:
                made[record_id] = self._reread(resource_type, record_id, where)
        return [each for each in made.values() if each is not None]

    def _reread(self, resource_type: str, record_id: str, place: str) -> SourceRecord | BadEntry | None:
        try:
            return self._read(resource_type, record_id)
        except BadRecord as fault:
            return BadEntry(place, fault.code, fault.message, b"")

    def _subscribe(self, feed: Feed) -> None:
        """Subscribe to all events of a feed."""
        advice = f"subscribe to {feed.path} in the developer portal, or give the client's key the right to"
        if not self._client.practice.subscribe:
            raise Misconfigured(f"this feed needs a subscription: {advice}", code="not_subscribed", where=feed.path)
        answer = self._client.v1("POST", f"{feed.path}/subscription", form=b"")
        if answer.status != 200 or not _success(answer.body):
            message = f"the subscription was refused ({answer.status}): {advice}"
            raise Misconfigured(message, code="not_subscribed", where=feed.path)


def _success(body: bytes) -> bool:
    try:
        document = exact_json.loads(body)
    except BadRecord:
        return False
    return isinstance(document, dict) and document.get("success") in (True, "true")


def _eastern(at: datetime) -> str:
    """As the parameters of a feed want a moment: ``mm/dd/yyyy hh24:mi:ss``, Eastern time."""
    return at.astimezone(_EASTERN).strftime(_FORMAT)
