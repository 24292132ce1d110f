"""Opens an Epic for writing."""

from __future__ import annotations

from connector_runner.connectors.base import Opening
from connector_runner.connectors.epic.settings import EpicSettings
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.sink import FHIRSink
from connector_runner.connectors.settings import SourceSettings
from connector_runner.connectors.sinks import Sink
from connector_runner.kernel.errors import Misconfigured


def open_sink(settings: SourceSettings, opening: Opening) -> Sink:
    """The outbound side of an Epic."""
    if not isinstance(settings, EpicSettings) or settings.sink is None:
        raise Misconfigured("these are not the settings of an Epic that is written to", code="settings")
    return FHIRSink(FHIRClient(opening, settings), settings.sink_capabilities, vendor=settings.vendor or "")
