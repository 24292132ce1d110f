"""Opens a SMART FHIR server for writing."""

from __future__ import annotations

from connector_runner.connectors.base import Opening
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.sink import FHIRSink
from connector_runner.connectors.settings import SourceSettings
from connector_runner.connectors.sinks import Sink
from connector_runner.connectors.smart_fhir.settings import SmartFhirSettings
from connector_runner.kernel.errors import Misconfigured


def open_sink(settings: SourceSettings, opening: Opening) -> Sink:
    """The outbound side of a SMART FHIR server."""
    if not isinstance(settings, SmartFhirSettings) or settings.sink is None:
        raise Misconfigured("these are not the settings of a SMART FHIR server that is written to", code="settings")
    return FHIRSink(
        FHIRClient(opening, settings),
        settings.sink_capabilities,
        vendor=settings.vendor or "",
        search_by=settings.search_by,
    )
