"""Opens an Epic for writing: a few types, created by searching before, and corrected where Epic has an update."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.base import Opening
from connector_runner.connectors.epic.settings import EpicSettings
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.ehr_sink import EHRSink, Offers
from connector_runner.connectors.settings import SourceSettings
from connector_runner.connectors.sinks import Sink
from connector_runner.kernel.errors import Misconfigured

# Interactions of the CapabilityStatement of Epic's version of May 2026.
OFFERS: Final = Offers(
    create=frozenset(
        {
            "AllergyIntolerance",
            "BodyStructure",
            "Communication",
            "ConceptMap",
            "Condition",
            "DocumentReference",
            "Observation",
            "Patient",
            "Procedure",
            "QuestionnaireResponse",
            "ServiceRequest",
        }
    ),
    update=frozenset(
        {
            "BodyStructure",
            "DiagnosticReport",
            "DocumentReference",
            "Observation",
            "Procedure",
            "ServiceRequest",
            "Task",
        }
    ),
    search=(("Observation", "category", "category.coding.code"),),
)


def open_sink(settings: SourceSettings, opening: Opening) -> Sink:
    """The outbound side of an Epic."""
    if not isinstance(settings, EpicSettings) or settings.sink is None:
        raise Misconfigured("these are not the settings of an Epic that is written to", code="settings")
    return EHRSink(
        FHIRClient(opening, settings),
        settings.sink_capabilities,
        OFFERS,
        vendor=settings.vendor or "",
        search_by=settings.search_by,
    )
