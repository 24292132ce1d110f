"""Reads a FHIR store: what changed since a checkpoint, everything, explicit deletes, one record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from connector_runner.connectors.base import Page, SourceRecord, WindowLost
from connector_runner.connectors.fhir.client import FHIRClient, read_failure
from connector_runner.connectors.fhir.means import Means, able
from connector_runner.connectors.fhir.paging import (
    ParsedPage,
    deleted_entry,
    entry_id,
    parse_page,
    read_resource,
)
from connector_runner.connectors.fhir.profile import PLAIN, ChangedFeed, Measured, Profile, Roster, Strategy
from connector_runner.connectors.fhir.reading import Reading
from connector_runner.connectors.fhir.subscriptions import FHIRSubscriptions
from connector_runner.connectors.fhir.window import instant, lower_bound, moment
from connector_runner.connectors.probing.fhir_probe import FHIRProbe
from connector_runner.connectors.probing.findings import Finding
from connector_runner.connectors.rate_headers import http_date
from connector_runner.infra.http import Answer
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import BadRecord, Forbidden, RunnerError, Unavailable

_NO_HISTORY: Final = frozenset({400, 403, 404, 405, 422, 501})
_MAX_HISTORY_PAGES: Final = 20_000


class FHIRSource:
    """The inbound side of a FHIR store. Without state: all that it must remember is in the cursor."""

    def __init__(
        self,
        client: FHIRClient,
        *,
        profile: Profile = PLAIN,
        measured: Mapping[str, Measured] | None = None,
        roster: Roster | None = None,
        feed: ChangedFeed | None = None,
        bulk: ChangedFeed | None = None,
        clock: Clock = utc_now,
    ) -> None:
        feeds: dict[Strategy, ChangedFeed | None] = {"changed_feed": feed, "bulk": bulk}
        self._client = client
        self._means = Means(client, profile, measured or {}, roster, feeds, clock)
        self._settings = client.settings
        self._clock = clock

    @property
    def subscriptions(self) -> FHIRSubscriptions:
        """The subscriptions at the server."""
        return FHIRSubscriptions(self._client, clock=self._clock)

    def pages(self, resource_type: str, cursor: dict[str, Any], *, full: bool) -> Iterator[Page]:
        """Pages of a window; the cursor of each is true once that page has landed.

        A cursor from the middle of a window goes on with its next link, or its next search; has the link expired,
        the window begins again from its checkpoint. ``full`` begins a whole window unless one is under way.
        """
        return Reading(self._means, resource_type, cursor, full=full).pages()

    def deletions(self, resource_type: str, cursor: dict[str, Any]) -> Iterator[Page]:
        """Pages of the deletes that the type's ``_history`` tells of since the last look; none where not offered.

        History comes newest first, so the first entry about an id says how it stands. A delete without a time
        could be older than what is known, so it counts only when a direct read says gone as well.
        """
        since = moment(cursor.get("deletes_since")) or moment(cursor.get("since"))
        if not self._settings.history or since is None or cursor.get("history") is False:
            return
        offered = cursor.get("history") or self._offers_history(resource_type)
        if offered is not True:
            if offered is False:
                yield Page((), (), {**cursor, "history": False}, True)
            return
        bound = lower_bound(since, self._settings.overlap_s) or since
        params = [("_since", instant(bound) or ""), ("_count", str(self._settings.page_size))]
        answer = self._client.request("GET", f"{resource_type}/_history", params=params)
        if answer.status in _NO_HISTORY:
            yield Page((), (), {**cursor, "history": False}, True)
            return
        yield from self._history_pages(resource_type, {**cursor, "history": True}, since, answer)

    def _history_pages(
        self, resource_type: str, cursor: dict[str, Any], since: datetime, answer: Answer
    ) -> Iterator[Page]:
        opened = http_date(answer.headers.get("Date"))
        seen: set[str] = set()
        links: set[str] = set()
        high = since
        for number in range(_MAX_HISTORY_PAGES):
            place = f"{resource_type} history page {number + 1}"
            if answer.status != 200:
                raise read_failure(answer, place, self._clock())
            page = parse_page(answer.body, resource_type, place=place)
            deleted, newest = self._deletes(page, resource_type, seen)
            high = max(high, newest or high)
            reached = min(high, opened or self._clock())
            last = page.next_link is None
            after = {**cursor, "deletes_since": instant(max(since, reached))} if last else cursor
            yield Page(deleted, (), after, last)
            if page.next_link is None:
                return
            if page.next_link in links:
                break
            links.add(page.next_link)
            answer = self._client.request("GET", page.next_link)
        raise WindowLost("the pages of the server's history go round in a circle", code="paging_loop")

    def _deletes(
        self, page: ParsedPage, resource_type: str, seen: set[str]
    ) -> tuple[tuple[SourceRecord, ...], datetime | None]:
        newest = max((r.last_updated for r in page.records if r.last_updated), default=None)
        deleted: list[SourceRecord] = []
        for entry in page.entries:
            record_id = entry_id(entry, resource_type)
            if record_id is None or record_id in seen:
                continue
            seen.add(record_id)
            record = deleted_entry(entry, resource_type)
            if record is None:
                continue
            if record.last_updated is None:
                if not self._is_gone(resource_type, record_id):
                    continue
            else:
                newest = max(newest or record.last_updated, record.last_updated)
            deleted.append(record)
        return tuple(deleted), newest

    def _is_gone(self, resource_type: str, record_id: str) -> bool:
        try:
            record = self.read(resource_type, record_id)
        except BadRecord:
            return False
        return record is None or record.deleted

    def _offers_history(self, resource_type: str) -> bool | None:
        """Whether the CapabilityStatement offers ``history-type`` for a type; None when it cannot be told now."""
        try:
            statement = self.capabilities()
        except (RunnerError, BadRecord):
            return None
        for rest in _dicts(statement.get("rest")):
            for resource in _dicts(rest.get("resource")):
                if resource.get("type") == resource_type:
                    codes = [interaction.get("code") for interaction in _dicts(resource.get("interaction"))]
                    return "history-type" in codes
        return False

    def probe(self, resource_types: Iterable[str]) -> list[Finding]:
        """What the server can do, of itself and of each type: as it declares, and as canary queries show.

        Nothing is written there. Raises as ``capabilities`` does.
        """
        look = FHIRProbe(
            self._client, self._means.profile, self._means.roster, lambda kind: able(self._means, kind), self._clock
        )
        return look.run(self.capabilities(), resource_types)

    def capabilities(self) -> dict[str, Any]:
        """The server's CapabilityStatement; raises as a read does, or Unavailable when it is something else."""
        answer = self._client.request("GET", "metadata")
        if answer.status != 200:
            raise read_failure(answer, "metadata", self._clock())
        try:
            statement = exact_json.loads(answer.body)
        except BadRecord as fault:
            raise Unavailable("the answer cannot be read as JSON", code=fault.code, where="metadata") from None
        if not isinstance(statement, dict) or statement.get("resourceType") != "CapabilityStatement":
            raise Unavailable("the answer is no CapabilityStatement", code="not_fhir", where="metadata")
        return statement

    def read(self, resource_type: str, record_id: str) -> SourceRecord | None:
        """One record read directly: deleted when the server says 410, None when it says 404 of one that it may show.

        Raises BadRecord when there is a record but not one that can be used (``other_record`` where the server
        answers with the one that it was merged into), and as a page does for every other answer, a 403 among
        them: that is no delete.
        """
        answer = self._client.request("GET", f"{resource_type}/{record_id}")
        if answer.status == 404 and not self._client.shows_all(resource_type):
            raise Forbidden(
                "the server granted less than was asked, so what it does not show may be there", code="not_all_granted"
            )
        if answer.status == 404:
            return None
        if answer.status == 410:
            return SourceRecord(resource_type, record_id, answer.body, None, deleted=True)
        place = f"{resource_type}/{record_id}"
        if answer.status != 200:
            raise read_failure(answer, place, self._clock())
        resource = exact_json.loads(answer.body)
        if not isinstance(resource, dict):
            raise BadRecord("the answer is not an object", code="not_an_object", where=place)
        record = read_resource(resource, resource_type)
        if record.record_id != record_id:
            raise BadRecord("the server answers with another record", code="other_record", where=place)
        return record


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
