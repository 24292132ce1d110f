"""What content must be to be accepted: shape, required elements and codes of the types that clinics exchange.

It is a floor, not a validator of profiles; types that are not listed here need only be objects.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from .dates import interval
from .fhir_json import Json
from .outcomes import FhirError

# `*` repeats, `!` is required, `[x]` is a choice of types.
_ELEMENTS = {
    "Patient": "identifier* active name* telecom* gender birthDate deceased[x] address* maritalStatus "
    "multipleBirth[x] photo* contact* communication* generalPractitioner* managingOrganization link*",
    "Practitioner": "identifier* active name* telecom* address* gender birthDate photo* qualification* communication*",
    "Organization": "identifier* active type* name alias* telecom* address* partOf contact* endpoint*",
    "Location": "identifier* status operationalStatus name alias* description mode type* telecom* address "
    "physicalType position managingOrganization partOf hoursOfOperation* availabilityExceptions endpoint*",
    "Appointment": "identifier* status! cancelationReason serviceCategory* serviceType* specialty* "
    "appointmentType reasonCode* reasonReference* priority description supportingInformation* start end "
    "minutesDuration slot* created comment patientInstruction basedOn* participant!* requestedPeriod*",
    "Encounter": "identifier* status! statusHistory* class! classHistory* type* serviceType priority subject "
    "episodeOfCare* basedOn* participant* appointment* period length reasonCode* reasonReference* diagnosis* "
    "account* hospitalization location* serviceProvider partOf",
    "Condition": "identifier* clinicalStatus verificationStatus category* severity code bodySite* subject! "
    "encounter onset[x] abatement[x] recordedDate recorder asserter stage* evidence* note*",
    "Observation": "identifier* basedOn* partOf* status! category* code! subject focus* encounter "
    "effective[x] issued performer* value[x] dataAbsentReason interpretation* note* bodySite method specimen "
    "device referenceRange* hasMember* derivedFrom* component*",
    "MedicationRequest": "identifier* status! statusReason intent! category* priority doNotPerform "
    "reported[x] medication[x]! subject! encounter supportingInformation* authoredOn requester performer "
    "performerType recorder reasonCode* reasonReference* instantiatesCanonical* instantiatesUri* basedOn* "
    "groupIdentifier courseOfTherapyType insurance* note* dosageInstruction* dispenseRequest substitution "
    "priorPrescription detectedIssue* eventHistory*",
    "AllergyIntolerance": "identifier* clinicalStatus verificationStatus type category* criticality code "
    "patient! encounter onset[x] recordedDate recorder asserter lastOccurrence note* reaction*",
    "Immunization": "identifier* status! statusReason vaccineCode! patient! encounter occurrence[x]! recorded "
    "primarySource reportOrigin location manufacturer lotNumber expirationDate site route doseQuantity "
    "performer* note* reasonCode* reasonReference* isSubpotent subpotentReason* education* "
    "programEligibility* fundingSource reaction* protocolApplied*",
    "Procedure": "identifier* instantiatesCanonical* instantiatesUri* basedOn* partOf* status! statusReason "
    "category code subject! encounter performed[x] recorder asserter performer* location reasonCode* "
    "reasonReference* bodySite* outcome report* complication* complicationDetail* followUp* note* "
    "focalDevice* usedReference* usedCode*",
    "DiagnosticReport": "identifier* basedOn* status! category* code! subject encounter effective[x] issued "
    "performer* resultsInterpreter* specimen* result* imagingStudy* media* conclusion conclusionCode* "
    "presentedForm*",
    "Coverage": "identifier* status! type policyHolder subscriber subscriberId beneficiary! dependent "
    "relationship period payor!* class* order network costToBeneficiary* subrogation contract*",
}
CHECKED_TYPES = tuple(_ELEMENTS)
_ALWAYS = "resourceType id meta implicitRules language text contained* extension* modifierExtension*"
_CODES = {
    "Patient.gender": "male female other unknown",
    "Practitioner.gender": "male female other unknown",
    "Location.status": "active suspended inactive",
    "Appointment.status": "proposed pending booked arrived fulfilled cancelled noshow entered-in-error "
    "checked-in waitlist",
    "Encounter.status": "planned arrived triaged in-progress onleave finished cancelled entered-in-error unknown",
    "Observation.status": "registered preliminary final amended corrected cancelled entered-in-error unknown",
    "MedicationRequest.status": "active on-hold cancelled completed entered-in-error stopped draft unknown",
    "MedicationRequest.intent": "proposal plan order original-order reflex-order filler-order instance-order option",
    "Immunization.status": "completed entered-in-error not-done",
    "Procedure.status": "preparation in-progress not-done on-hold stopped completed entered-in-error unknown",
    "DiagnosticReport.status": "registered partial preliminary final amended corrected appended cancelled "
    "entered-in-error unknown",
    "Coverage.status": "active cancelled draft entered-in-error",
}
_DAY = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")


@cache
def _elements(resource_type: str) -> dict[str, str] | None:
    listed = _ELEMENTS.get(resource_type)
    if listed is None:
        return None
    words = f"{_ALWAYS} {listed}".split()
    return {(name := word.rstrip("*!")): word[len(name) :] for word in words}


def _declared(resource_type: str, element: str) -> str | None:
    """The declaration of an element, by its own name or as one type of a choice."""
    elements = _elements(resource_type) or {}
    if element in elements:
        return elements[element]
    for name, marks in elements.items():
        stem = name.removesuffix("[x]")
        if stem != name and element.startswith(stem) and element[len(stem) : len(stem) + 1].isupper():
            return marks
    return None


def validate(resource: Json) -> None:
    """``FhirError`` 422 when the content is not acceptable; it names the place and never the value."""
    resource_type = resource["resourceType"]
    _not_empty(resource, resource_type)
    elements = _elements(resource_type)
    if elements is None:
        return
    for element, value in resource.items():
        if element.startswith("_"):
            continue
        where = f"{resource_type}.{element}"
        marks = _declared(resource_type, element)
        if marks is None:
            raise FhirError(422, f"{where} is not an element of R4", code="structure", where=where)
        if ("*" in marks) != isinstance(value, list):
            raise FhirError(422, f"{where} {'repeats' if '*' in marks else 'does not repeat'}", where=where)
        codes = _CODES.get(where)
        if codes and value not in codes.split():
            raise FhirError(422, f"{where} is not a code of its value set", code="code-invalid", where=where)
    for name, marks in elements.items():
        stem = name.removesuffix("[x]")
        if "!" in marks and not any(_is(stem, name, element) for element in resource):
            where = f"{resource_type}.{stem}"
            raise FhirError(422, f"{where} is required", code="required", where=where)
    _rules(resource)


def _is(stem: str, name: str, element: str) -> bool:
    element = element.lstrip("_")
    return element == stem if stem == name else element.startswith(stem) and element != stem


def _not_empty(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if item is None or item in ("", [], {}):
                raise FhirError(422, f"{where}.{key} is empty", code="structure", where=f"{where}.{key}")
            _not_empty(item, f"{where}.{key}")
    elif isinstance(value, list):
        for item in value:
            if item in ("", [], {}):
                raise FhirError(422, f"{where} has an empty item", code="structure", where=where)
            _not_empty(item, where)


def _date(resource: Json, element: str, *, day: bool) -> int | None:
    value = resource.get(element)
    if value is None:
        return None
    where = f"{resource['resourceType']}.{element}"
    try:
        if not isinstance(value, str) or (day and not _DAY.fullmatch(value)):
            raise ValueError
        return interval(value)[0]
    except ValueError:
        raise FhirError(422, f"{where} is not a date of R4", code="value", where=where) from None


def _rules(resource: Json) -> None:
    for element in ("birthDate",):
        _date(resource, element, day=True)
    for element in ("authoredOn", "recordedDate", "effectiveDateTime", "issued", "occurrenceDateTime", "created"):
        _date(resource, element, day=False)
    if resource["resourceType"] == "Appointment":
        _appointment(resource)


def _appointment(resource: Json) -> None:
    start, end = _date(resource, "start", day=False), _date(resource, "end", day=False)
    if (start is None) != (end is None):
        raise FhirError(422, "Appointment has start and end, or neither (app-2)", code="invariant")
    if start is None and resource["status"] not in ("proposed", "cancelled", "waitlist"):
        raise FhirError(422, "Appointment of this status needs start and end (app-3)", code="invariant")
    if start is not None and end is not None and start > end:
        raise FhirError(422, "Appointment ends before it starts", code="invariant", where="Appointment.end")
    for participant in resource["participant"]:
        if not isinstance(participant, dict) or "status" not in participant:
            raise FhirError(422, "Appointment.participant.status is required", code="required")
        if not {"type", "actor"} & participant.keys():
            raise FhirError(422, "Appointment.participant has a type or an actor (app-1)", code="invariant")
