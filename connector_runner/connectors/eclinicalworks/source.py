"""Opens eClinicalWorks for reading."""

from __future__ import annotations

from connector_runner.connectors.base import Opening, Source
from connector_runner.connectors.eclinicalworks.client import EclinicalworksClient
from connector_runner.connectors.eclinicalworks.profile import PROFILE
from connector_runner.connectors.eclinicalworks.settings import EclinicalworksSettings
from connector_runner.connectors.fhir.source import FHIRSource
from connector_runner.connectors.settings import SourceSettings
from connector_runner.kernel.errors import Misconfigured


def open_source(settings: SourceSettings, opening: Opening) -> Source:
    """The inbound side of a practice."""
    if not isinstance(settings, EclinicalworksSettings):
        raise Misconfigured("these are not the settings of an eClinicalWorks practice", code="settings")
    client = EclinicalworksClient(opening, settings)
    return FHIRSource(
        client,
        profile=settings.profile(PROFILE),
        measured=opening.measured,
        roster=settings.roster(opening.roster),
        bulk=settings.exports,
    )
