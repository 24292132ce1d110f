"""Opens athenahealth for reading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connector_runner.connectors.athenahealth.appointments import Appointments
from connector_runner.connectors.athenahealth.changed import Changed
from connector_runner.connectors.athenahealth.client import AthenahealthClient
from connector_runner.connectors.athenahealth.profile import profile_of
from connector_runner.connectors.athenahealth.settings import AthenahealthSettings
from connector_runner.connectors.base import Opening, Page, Source, SourceRecord
from connector_runner.connectors.fhir.source import FHIRSource
from connector_runner.connectors.settings import SourceSettings
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import Misconfigured


class AthenahealthSource(FHIRSource):
    """The inbound side: FHIR, with the changed feeds of v1, and appointments from v1 altogether."""

    def __init__(self, client: AthenahealthClient, opening: Opening, clock: Clock = utc_now) -> None:
        self._athena = client
        changed = Changed(client, super().read, clock)
        super().__init__(
            client,
            profile=profile_of(client.practice),
            measured=opening.measured,
            roster=client.practice.roster(opening.roster),
            feed=changed,
            bulk=client.practice.exports,
            clock=clock,
        )
        self._appointments = Appointments(client, changed, clock)

    def pages(self, resource_type: str, cursor: dict[str, Any], *, full: bool) -> Iterator[Page]:
        """As FHIRSource. A search that lacks mandatory parameters is Misconfigured (``search_combination``)."""
        if resource_type == "Appointment":
            yield from self._appointments.pages(cursor, full=full)
            return
        self._athena.combinations = ()
        try:
            yield from super().pages(resource_type, cursor, full=full)
        except Misconfigured as error:
            needed = self._athena.combinations
            if error.code != "http_400" or not needed:
                raise
            ways = ", or ".join(each.replace(",", " with ") for each in needed)
            raise Misconfigured(
                f"a search of this type needs {ways}: read it patient by patient, or not at all",
                code="search_combination",
                where=resource_type,
            ) from None

    def deletions(self, resource_type: str, cursor: dict[str, Any]) -> Iterator[Page]:
        """As FHIRSource; of appointments v1 tells none but by their status."""
        if resource_type != "Appointment":
            yield from super().deletions(resource_type, cursor)

    def read(self, resource_type: str, record_id: str) -> SourceRecord | None:
        """As FHIRSource."""
        if resource_type == "Appointment":
            return self._appointments.read(record_id)
        return super().read(resource_type, record_id)


def open_source(settings: SourceSettings, opening: Opening) -> Source:
    """The inbound side of a practice."""
    if not isinstance(settings, AthenahealthSettings):
        raise Misconfigured("these are not the settings of an athenahealth practice", code="settings")
    return AthenahealthSource(AthenahealthClient(opening, settings), opening)
