"""Opens an Epic for reading."""

from __future__ import annotations

from connector_runner.connectors.base import Opening, Source
from connector_runner.connectors.epic.profile import PROFILE
from connector_runner.connectors.epic.settings import EpicSettings
from connector_runner.connectors.fhir.source import FHIRSource
from connector_runner.connectors.fhir.vendor_client import VendorClient
from connector_runner.connectors.settings import SourceSettings
from connector_runner.kernel.errors import Misconfigured


def open_source(settings: SourceSettings, opening: Opening) -> Source:
    """The inbound side of an Epic."""
    if not isinstance(settings, EpicSettings):
        raise Misconfigured("these are not the settings of an Epic", code="settings")
    client = VendorClient(opening, settings)
    return FHIRSource(
        client,
        profile=settings.profile(PROFILE),
        measured=opening.measured,
        roster=settings.roster(opening.roster),
        bulk=settings.exports,
    )
