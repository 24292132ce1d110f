"""Settings that the adapters of EHRs have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated
from urllib.parse import parse_qsl

from pydantic import Field, field_validator

from connector_runner.connectors.fhir.profile import Parameters, Profile, Roster
from connector_runner.connectors.fhir.referred import Referred
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.sinks import Capabilities


class EHRSettings(FHIRSettings):
    """A FHIR server of an EHR. ``adapter`` says whose, and with that what is usual there.

    ``searches`` are, by record type, the searches to make instead of the vendor's usual ones, one after the other:
    ``{"Observation": ["category=vital-signs", "category=laboratory"]}``. ``patients`` are ids that a roster begins
    with, where the server lists no patients and exports none.
    """

    adapter: str
    searches: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    patients: tuple[Annotated[str, Field(pattern=r"^[^\s/?#,|]{1,256}$")], ...] = ()

    @field_validator("searches")
    @classmethod
    def _of_pairs(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not all(texts and all(parse_qsl(text, strict_parsing=True) for text in texts) for texts in value.values()):
            raise ValueError("must be search parameters, as name=value&name=value")
        return value

    def profile(self, usual: Profile) -> Profile:
        """How this server is read: as is usual with its vendor, but for what is stated here."""
        stated: dict[str, tuple[Parameters, ...]] = {
            kind: tuple(tuple(parse_qsl(text)) for text in texts) for kind, texts in self.searches.items()
        }
        return replace(usual, parameters={**usual.parameters, **stated}) if stated else usual

    def roster(self, known: Roster | None) -> Roster | None:
        """The patients to read by: those that are known, and those named here."""
        return Referred(known, self.patients) if self.patients else known

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
