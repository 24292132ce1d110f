"""Typed settings of a connection to a plain FHIR store."""

from __future__ import annotations

from connector_runner.connectors.fhir.settings import FHIRSettings


class FhirStoreSettings(FHIRSettings):
    """Nothing beyond what every FHIR server has."""
