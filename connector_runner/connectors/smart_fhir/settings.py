"""Typed settings of a connection to a FHIR server that speaks SMART."""

from __future__ import annotations

from connector_runner.auth.settings import SmartBackendAuth
from connector_runner.connectors.fhir.settings import FHIRSettings


class SmartFhirSettings(FHIRSettings):
    """As of a FHIR store; ``auth`` is that of SMART Backend Services, and cannot be left out."""

    auth: SmartBackendAuth
