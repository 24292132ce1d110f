"""Opens a SMART FHIR server for reading."""

from __future__ import annotations

from connector_runner.connectors.base import Opening, Source
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.source import FHIRSource
from connector_runner.connectors.settings import SourceSettings
from connector_runner.connectors.smart_fhir.settings import SmartFhirSettings
from connector_runner.kernel.errors import Misconfigured


def open_source(settings: SourceSettings, opening: Opening) -> Source:
    """The inbound side of a SMART FHIR server."""
    if not isinstance(settings, SmartFhirSettings):
        raise Misconfigured("these are not the settings of a SMART FHIR server", code="settings")
    client = FHIRClient(opening, settings)
    return FHIRSource(client, measured=opening.measured, roster=opening.roster, bulk=settings.exports)
