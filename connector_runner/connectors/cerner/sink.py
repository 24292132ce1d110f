"""Opens a Millennium for writing."""

from __future__ import annotations

from connector_runner.connectors.base import Opening
from connector_runner.connectors.cerner.settings import CernerSettings
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.sink import FHIRSink
from connector_runner.connectors.settings import SourceSettings
from connector_runner.connectors.sinks import Sink
from connector_runner.kernel.errors import Misconfigured


def open_sink(settings: SourceSettings, opening: Opening) -> Sink:
    """The outbound side of a Millennium."""
    if not isinstance(settings, CernerSettings) or settings.sink is None:
        raise Misconfigured("these are not the settings of a Millennium that is written to", code="settings")
    return FHIRSink(FHIRClient(opening, settings), settings.sink_capabilities, vendor=settings.vendor or "")
