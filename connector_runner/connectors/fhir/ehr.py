"""Settings that the adapters of EHRs have in common."""

from __future__ import annotations

from dataclasses import replace

from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.sinks import Capabilities


class EHRSettings(FHIRSettings):
    """A FHIR server of an EHR. ``adapter`` says whose, and with that what is usual there."""

    adapter: str

    @property
    def usual(self) -> Capabilities:
        """What a sink of this vendor can do where nothing else is stated: unless told, nothing that saves a search."""
        return Capabilities(client_id=False, conditional_create=False, if_match=None)

    @property
    def sink_capabilities(self) -> Capabilities:
        """As stated over the usual; where a create can neither be made safe nor searched for, it may duplicate."""
        if self.sink is None:
            return self.usual
        stated = self.sink.capabilities.over(self.usual)
        if stated.client_id or stated.conditional_create or stated.search:
            return stated
        return replace(stated, at_least_once=True)
