"""Opens a Millennium for writing: created by searching before, changed by JSON Patch or PUT as each type has it."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.base import Opening
from connector_runner.connectors.cerner.settings import CernerSettings
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.ehr_sink import EHRSink, Offers
from connector_runner.connectors.settings import SourceSettings
from connector_runner.connectors.sinks import Sink
from connector_runner.kernel.errors import Misconfigured

# Interactions of the CapabilityStatement of Millennium of August 2026.
OFFERS: Final = Offers(
    create=frozenset(
        {
            "AllergyIntolerance",
            "Appointment",
            "Basic",
            "Communication",
            "Condition",
            "Coverage",
            "DiagnosticReport",
            "DocumentReference",
            "Encounter",
            "FamilyMemberHistory",
            "Immunization",
            "MedicationRequest",
            "Observation",
            "Organization",
            "Patient",
            "Practitioner",
            "Procedure",
            "Provenance",
            "RelatedPerson",
        }
    ),
    update=frozenset(
        {
            "AllergyIntolerance",
            "Condition",
            "DocumentReference",
            "FamilyMemberHistory",
            "Immunization",
            "Observation",
            "QuestionnaireResponse",
        }
    ),
    patch=frozenset(
        {
            "Appointment",
            "Communication",
            "Coverage",
            "Encounter",
            "MedicationRequest",
            "Patient",
            "RelatedPerson",
            "Slot",
        }
    ),
    identified=frozenset({"Patient", "Practitioner", "Organization"}),
    search=(("Appointment", "date", "start"),),
)


def open_sink(settings: SourceSettings, opening: Opening) -> Sink:
    """The outbound side of a Millennium."""
    if not isinstance(settings, CernerSettings) or settings.sink is None:
        raise Misconfigured("these are not the settings of a Millennium that is written to", code="settings")
    return EHRSink(
        FHIRClient(opening, settings),
        settings.sink_capabilities,
        OFFERS,
        vendor=settings.vendor or "",
        search_by=settings.search_by,
    )
