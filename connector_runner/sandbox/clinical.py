"""What happens to an invented patient: visits and all that comes of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from .demographics import Person, new_id
from .fhir_json import Json
from .places import Places
from .vocabulary import (
    ALLERGENS,
    APPOINTMENT_KINDS,
    CONDITIONS,
    MEDICATIONS,
    PANELS,
    PROCEDURES,
    REASONS,
    VACCINES,
    VISITS,
    VITALS,
)

_CORE = "http://hl7.org/fhir/us/core/StructureDefinition"
_HL7 = "http://terminology.hl7.org/CodeSystem"
_SNOMED = "http://snomed.info/sct"
_LOINC = "http://loinc.org"


def concept(system: str, code: str, display: str) -> Json:
    """A CodeableConcept with one coding."""
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


class Chart:
    """Writes the records of one patient; the same for the same seed, person and day."""

    def __init__(self, seed: int, person: Person, around: Places, today: date) -> None:
        self._rng = random.Random(f"{seed}:chart:{person.number}")
        self._person = person
        self._around = around
        self._today = today
        display = f"{person.given[0]} {person.family}"
        self._subject = {"reference": f"Patient/{person.id}", "display": display}

    def _base(self, resource_type: str, profile: str) -> Json:
        return {
            "resourceType": resource_type,
            "id": new_id(self._rng),
            "meta": {"profile": [f"{_CORE}/{profile}"]},
        }

    def everything(self) -> Iterator[Json]:
        """A modest chart of about thirty records."""
        yield self.coverage()
        if self._rng.random() < 0.4:
            yield self.allergy()
        for _ in range(self._rng.randrange(1, 5)):
            yield from self.visit()
        for _ in range(self._rng.randrange(1, 3)):
            yield self.appointment()

    def without_end(self) -> Iterator[Json]:
        """A chart that only ends when its reader has enough."""
        yield self.coverage()
        yield self.allergy()
        while True:
            yield from self.visit()
            yield self.appointment()

    def _doctor(self) -> Json:
        doctor, name = self._rng.choice(self._around.practitioners)
        return {"reference": f"Practitioner/{doctor}", "display": name}

    def _past(self) -> datetime:
        end = self._person.died or self._today
        days = max(1, min(1500, (end - self._person.birth).days))
        day = end - timedelta(days=self._rng.randrange(1, days + 1))
        return datetime.combine(day, time(self._rng.randrange(8, 17), self._rng.randrange(0, 60, 5)), UTC)

    def visit(self) -> Iterator[Json]:
        """An Encounter with vital signs and perhaps more."""
        rng, start = self._rng, self._past()
        encounter = self._encounter(start)
        yield encounter
        context: Json = {"subject": self._subject, "encounter": {"reference": f"Encounter/{encounter['id']}"}}
        yield self._blood_pressure(context, start)
        for vital in rng.sample(VITALS, rng.randrange(2, 5)):
            yield self._observation(context, start, vital, "vital-signs", "Vital signs", "us-core-vital-signs")
        if rng.random() < 0.5:
            yield from self._panel(context, start)
        if rng.random() < 0.6:
            yield from self._problem(context, start)
        if rng.random() < 0.5:
            yield self._immunization(context, start)
        if rng.random() < 0.3:
            yield self._procedure(context, start)

    def _encounter(self, start: datetime) -> Json:
        room, name = self._rng.choice(self._around.locations)
        return {
            **self._base("Encounter", "us-core-encounter"),
            "status": "finished",
            "class": {"system": f"{_HL7}/v3-ActCode", "code": "AMB", "display": "ambulatory"},
            "type": [concept(_SNOMED, *self._rng.choice(VISITS))],
            "subject": self._subject,
            "participant": [
                {
                    "type": [concept(f"{_HL7}/v3-ParticipationType", "PPRF", "primary performer")],
                    "individual": self._doctor(),
                }
            ],
            "period": {"start": _text(start), "end": _text(start + timedelta(minutes=self._rng.randrange(15, 50)))},
            "location": [{"location": {"reference": f"Location/{room}", "display": name}}],
            "serviceProvider": {"reference": f"Organization/{self._rng.choice(self._around.clinics)}"},
        }

    def _result(self, context: Json, at: datetime, category: tuple[str, str], profile: str, code: Json) -> Json:
        return {
            **self._base("Observation", profile),
            "status": "final",
            "category": [concept(f"{_HL7}/observation-category", *category)],
            "code": code,
            **context,
            "effectiveDateTime": _text(at),
            "issued": f"{at:%Y-%m-%dT%H:%M:%S}.{self._rng.randrange(1000):03d}+00:00",
            "performer": [self._doctor()],
        }

    def _quantity(self, low: float, high: float, digits: int, unit: str, ucum: str) -> Json:
        value = Decimal(f"{self._rng.uniform(low, high):.{digits}f}")
        return {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": ucum}

    def _observation(
        self, context: Json, at: datetime, what: tuple[Any, ...], category: str, label: str, profile: str
    ) -> Json:
        code, display, unit, ucum, low, high, digits = what
        result = self._result(context, at, (category, label), profile, concept(_LOINC, code, display))
        result["valueQuantity"] = self._quantity(low, high, digits, unit, ucum)
        if category == "laboratory":
            flag = self._rng.choices((("N", "Normal"), ("H", "High"), ("L", "Low")), weights=(8, 1, 1))[0]
            result["interpretation"] = [concept(f"{_HL7}/v3-ObservationInterpretation", *flag)]
            result["referenceRange"] = [{"text": f"{low:g} to {high:g} {unit}"}]
        return result

    def _blood_pressure(self, context: Json, at: datetime) -> Json:
        code = concept(_LOINC, "85354-9", "Blood pressure panel with all children optional")
        result = self._result(context, at, ("vital-signs", "Vital signs"), "us-core-blood-pressure", code)
        result["component"] = [
            {
                "code": concept(_LOINC, part, name),
                "valueQuantity": self._quantity(low, high, 0, "mm[Hg]", "mm[Hg]"),
            }
            for part, name, low, high in (
                ("8480-6", "Systolic blood pressure", 100, 160),
                ("8462-4", "Diastolic blood pressure", 60, 100),
            )
        ]
        return result

    def _panel(self, context: Json, at: datetime) -> Iterator[Json]:
        code, display, tests = self._rng.choice(PANELS)
        results = [
            self._observation(context, at, test, "laboratory", "Laboratory", "us-core-observation-lab")
            for test in tests
        ]
        yield from results
        yield {
            **self._base("DiagnosticReport", "us-core-diagnosticreport-lab"),
            "status": "final",
            "category": [concept(f"{_HL7}/v2-0074", "LAB", "Laboratory")],
            "code": concept(_LOINC, code, display),
            **context,
            "effectiveDateTime": _text(at),
            "issued": f"{at:%Y-%m-%dT%H:%M:%S}.000+00:00",
            "performer": [{"reference": f"Organization/{self._around.clinics[0]}"}],
            "result": [
                {"reference": f"Observation/{result['id']}", "display": result["code"]["text"]} for result in results
            ],
        }

    def _problem(self, context: Json, at: datetime) -> Iterator[Json]:
        code, display, lasting = self._rng.choice(CONDITIONS)
        condition: Json = {
            **self._base("Condition", "us-core-condition-encounter-diagnosis"),
            "clinicalStatus": {
                "coding": [{"system": f"{_HL7}/condition-clinical", "code": "active" if lasting else "resolved"}]
            },
            "verificationStatus": {"coding": [{"system": f"{_HL7}/condition-ver-status", "code": "confirmed"}]},
            "category": [concept(f"{_HL7}/condition-category", "encounter-diagnosis", "Encounter Diagnosis")],
            "code": concept(_SNOMED, code, display),
            **context,
            "onsetDateTime": _text(at),
            "recordedDate": _text(at),
        }
        if not lasting:
            condition["abatementDateTime"] = _text(at + timedelta(days=self._rng.randrange(5, 30)))
        yield condition
        if self._rng.random() < 0.8:
            yield self._medication(context, at, condition["id"], lasting)

    def _medication(self, context: Json, at: datetime, condition: str, lasting: bool) -> Json:
        code, display, times, unit = self._rng.choice(MEDICATIONS)
        timing = {"frequency": times, "period": 1, "periodUnit": unit}
        return {
            **self._base("MedicationRequest", "us-core-medicationrequest"),
            "status": "active" if lasting else "completed",
            "intent": "order",
            "medicationCodeableConcept": concept("http://www.nlm.nih.gov/research/umls/rxnorm", code, display),
            **context,
            "authoredOn": _text(at),
            "requester": self._doctor(),
            "reasonReference": [{"reference": f"Condition/{condition}"}],
            "dosageInstruction": [
                {
                    "sequence": 1,
                    "text": f"Take {times} a day",
                    "timing": {"repeat": timing},
                    "asNeededBoolean": False,
                    "doseAndRate": [{"doseQuantity": {"value": 1, "unit": "dose"}}],
                }
            ],
            "dispenseRequest": {"numberOfRepeatsAllowed": self._rng.randrange(4)},
        }

    def _patient_context(self, context: Json) -> Json:
        return {"patient": context["subject"], "encounter": context["encounter"]}

    def _immunization(self, context: Json, at: datetime) -> Json:
        return {
            **self._base("Immunization", "us-core-immunization"),
            "status": "completed",
            "vaccineCode": concept("http://hl7.org/fhir/sid/cvx", *self._rng.choice(VACCINES)),
            **self._patient_context(context),
            "occurrenceDateTime": _text(at),
            "primarySource": True,
            "lotNumber": f"L{self._rng.randrange(10_000, 99_999)}",
            "performer": [{"actor": self._doctor()}],
        }

    def _procedure(self, context: Json, at: datetime) -> Json:
        return {
            **self._base("Procedure", "us-core-procedure"),
            "status": "completed",
            "code": concept(_SNOMED, *self._rng.choice(PROCEDURES)),
            **context,
            "performedPeriod": {"start": _text(at), "end": _text(at + timedelta(minutes=20))},
            "performer": [{"actor": self._doctor()}],
        }

    def allergy(self) -> Json:
        """An AllergyIntolerance."""
        code, display, category, criticality = self._rng.choice(ALLERGENS)
        return {
            **self._base("AllergyIntolerance", "us-core-allergyintolerance"),
            "clinicalStatus": {"coding": [{"system": f"{_HL7}/allergyintolerance-clinical", "code": "active"}]},
            "verificationStatus": {
                "coding": [{"system": f"{_HL7}/allergyintolerance-verification", "code": "confirmed"}]
            },
            "type": "allergy",
            "category": [category],
            "criticality": criticality,
            "code": concept(_SNOMED, code, display),
            "patient": self._subject,
            "recordedDate": _text(self._past()),
        }

    def coverage(self) -> Json:
        """A Coverage, of the patient's own or of the head of the household."""
        person, rng = self._person, self._rng
        # One plan a household: it depends on who subscribes.
        plan = random.Random(person.subscriber)
        payer, name = plan.choice(self._around.payers)
        member = f"{plan.randrange(10**9):09d}"
        own = person.subscriber == person.id
        relation = ("self", "Self") if own else ("spouse", "Spouse") if person.married else ("child", "Child")
        return {
            **self._base("Coverage", "us-core-coverage"),
            "identifier": [{"system": "https://plans.sandbox.example/member", "value": f"{member}-{person.number}"}],
            "status": "active",
            "type": concept(f"{_HL7}/v3-ActCode", "HIP", "health insurance plan policy"),
            "subscriber": {"reference": f"Patient/{person.subscriber}"},
            "subscriberId": member,
            "beneficiary": self._subject,
            "relationship": concept(f"{_HL7}/subscriber-relationship", *relation),
            "period": {"start": f"{self._today.year}-01-01", "end": f"{self._today.year}-12-31"},
            "payor": [{"reference": f"Organization/{payer}", "display": name}],
            "class": [
                {
                    "type": concept(f"{_HL7}/coverage-class", "group", "Group"),
                    "value": f"G{rng.randrange(1000, 9999)}",
                    "name": f"{name} group",
                }
            ],
        }

    def appointment(self) -> Json:
        """An Appointment, past or within the next two months."""
        rng = self._rng
        ahead = rng.random() < 0.6 and self._person.died is None
        if ahead:
            day = self._today + timedelta(days=rng.randrange(1, 60))
            start = datetime.combine(day, time(rng.randrange(8, 17), rng.choice((0, 15, 30, 45))), UTC)
        else:
            start = self._past()
        past = (("fulfilled", 8), ("noshow", 1), ("cancelled", 1))
        status = "booked" if ahead else rng.choices([one for one, _ in past], weights=[n for _, n in past])[0]
        return self.new_appointment(start, status)

    def new_appointment(self, start: datetime, status: str) -> Json:
        """An Appointment at a given time."""
        rng = self._rng
        room, name = rng.choice(self._around.locations)
        minutes = rng.choice((15, 20, 30, 45))
        actors = (self._subject, self._doctor(), {"reference": f"Location/{room}", "display": name})
        return {
            "resourceType": "Appointment",
            "id": new_id(rng),
            "identifier": [
                {"system": "https://ehr.sandbox.example/appointment", "value": f"APT{rng.randrange(10**8):08d}"}
            ],
            "status": status,
            "appointmentType": concept(f"{_HL7}/v2-0276", *rng.choice(APPOINTMENT_KINDS)),
            "description": rng.choice(REASONS),
            "start": _text(start),
            "end": _text(start + timedelta(minutes=minutes)),
            "minutesDuration": minutes,
            "created": _text(min(start, datetime.combine(self._today, time(0), UTC)) - timedelta(days=14)),
            "participant": [{"actor": actor, "required": "required", "status": "accepted"} for actor in actors],
        }
