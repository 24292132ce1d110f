"""What v1 takes for a problem and for a vital sign, from the FHIR resources that mappings render. Pure.

Paths, fields and units as metriport/metriport writes them (packages/core, external/ehr/athenahealth): dates are
``MM/DD/YYYY``, weights grams, lengths centimetres, temperatures degrees Fahrenheit, lists JSON inside the form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from connector_runner.connectors.athenahealth.ids import number_of
from connector_runner.connectors.sinks import Json
from connector_runner.kernel import exact_json

SNOMED: Final = "http://snomed.info/sct"
LOINC: Final = "http://loinc.org"
ELEMENTS: Final = {
    "8310-5": "VITALS.TEMPERATURE",
    "8867-4": "VITALS.HEARTRATE",
    "9279-1": "VITALS.RESPIRATIONRATE",
    "2708-6": "VITALS.INHALEDO2CONCENTRATION",
    "8462-4": "VITALS.BLOODPRESSURE.DIASTOLIC",
    "8480-6": "VITALS.BLOODPRESSURE.SYSTOLIC",
    "29463-7": "VITALS.WEIGHT",
    "8302-2": "VITALS.HEIGHT",
    "39156-5": "VITALS.BMI",
}
"""LOINC code -> clinical element of athenahealth."""

_CHRONIC: Final = frozenset({"relapse", "recurrence"})
_TO: Final[Mapping[str, Mapping[str, tuple[Decimal, Decimal]]]] = {
    "VITALS.WEIGHT": {
        **dict.fromkeys(("g", "gram", "grams"), (Decimal(1), Decimal(0))),
        **dict.fromkeys(("kg", "kilogram", "kilograms"), (Decimal(1000), Decimal(0))),
        **dict.fromkeys(("lb_av", "lb", "lbs", "pound", "pounds"), (Decimal("453.592"), Decimal(0))),
    },
    "VITALS.HEIGHT": {
        **dict.fromkeys(("cm", "centimeter", "centimeters"), (Decimal(1), Decimal(0))),
        **dict.fromkeys(("in_i", "in", "inch", "inches"), (Decimal("2.54"), Decimal(0))),
    },
    "VITALS.TEMPERATURE": {
        **dict.fromkeys(("degf", "f", "fahrenheit"), (Decimal(1), Decimal(0))),
        **dict.fromkeys(("cel", "c", "celsius"), (Decimal("1.8"), Decimal(32))),
    },
}
"""Clinical element -> unit -> factor and offset to the unit that v1 keeps it in."""


@dataclass(frozen=True, slots=True)
class Form:
    """A form: where it goes below the practice's path, what it holds, and what it makes."""

    path: str
    fields: tuple[tuple[str, str], ...]
    makes: str

    @property
    def body(self) -> bytes:
        """As it is sent."""
        return urlencode(self.fields).encode()


class Unfit(Exception):
    """A resource of which no form can be made. ``code`` is ours, ``where`` the element that is missing or odd."""

    def __init__(self, code: str, where: str) -> None:
        super().__init__(code)
        self.code = code
        self.where = where


def problem(body: Json, practice: str, department: str) -> Form:
    """A Condition as a problem: a SNOMED code and the day on which it began."""
    fields = [
        ("departmentid", department),
        ("snomedcode", _code(body, SNOMED, "Condition.code")),
        ("startdate", _day(_first_date(body, "onset", "Condition.onset"), "Condition.onset")),
    ]
    status = _codes(body.get("clinicalStatus"))
    if any(code in _CHRONIC for _, code in status):
        fields.append(("status", "CHRONIC"))
    notes = body.get("note")
    note = notes[0].get("text") if isinstance(notes, list) and notes and isinstance(notes[0], dict) else None
    if isinstance(note, str) and note:
        fields.append(("note", note))
    return Form(f"chart/{_patient(body, practice, 'Condition')}/problems", tuple(fields), "Condition")


def vital(body: Json, practice: str, department: str) -> Form:
    """An Observation of one number as a vital sign, in the unit that v1 keeps it in."""
    code = _code(body, LOINC, "Observation.code", ELEMENTS)
    element = ELEMENTS[code]
    quantity = body.get("valueQuantity")
    amount = quantity.get("value") if isinstance(quantity, dict) else None
    if not isinstance(amount, int | float | Decimal) or isinstance(amount, bool):
        raise Unfit("value_missing", "Observation.valueQuantity")
    taken = _day(_first_date(body, "effective", "Observation.effective"), "Observation.effective")
    value = converted(element, Decimal(str(amount)), quantity)
    reading = {"clinicalelementid": element, "readingtaken": taken, "value": value}
    fields = (
        ("departmentid", department),
        ("returnvitalids", "true"),
        ("source", "DEVICEGENERATED"),
        ("vitals", exact_json.dumps([[reading]])),
    )
    return Form(f"chart/{_patient(body, practice, 'Observation')}/vitals", fields, "Observation")


def kept(body: Json) -> Json | None:
    """What FHIR shows of a record that a form of ``body`` made; None for what no form is made of.

    A problem's code and first day, a vital sign's code, day and amount: nothing else of what was sent is certain.
    """
    try:
        if body.get("resourceType") == "Condition":
            code, day = _code(body, SNOMED, ""), _first_date(body, "onset", "")[:10]
            told: Json = {"code": _coded(SNOMED, code), "onsetDateTime": day}
        elif body.get("resourceType") == "Observation":
            code, quantity = _code(body, LOINC, "", ELEMENTS), body.get("valueQuantity")
            amount = Decimal(str(quantity["value"])) if isinstance(quantity, dict) else Decimal(0)
            value = Decimal(converted(ELEMENTS[code], amount, quantity))
            day = _first_date(body, "effective", "")[:10]
            told = {"code": _coded(LOINC, code), "effectiveDateTime": day, "valueQuantity": {"value": value}}
        else:
            return None
    except Unfit:
        return None
    return {"resourceType": body["resourceType"], "subject": body.get("subject"), **told}


def _coded(system: str, code: str) -> Json:
    return {"coding": [{"system": system, "code": code}]}


def converted(element: str, amount: Decimal, quantity: Any) -> str:
    """The amount in the unit of v1; Unfit (``unit_unknown``) where it is not known which unit it is in."""
    units = _TO.get(element)
    if units is None:
        return _plain(amount)
    stated = quantity.get("code") or quantity.get("unit") if isinstance(quantity, dict) else None
    unit = stated.casefold().strip("[]{}() ") if isinstance(stated, str) else ""
    if unit not in units:
        raise Unfit("unit_unknown", "Observation.valueQuantity.unit")
    factor, offset = units[unit]
    return _plain(amount * factor + offset)


def _plain(amount: Decimal) -> str:
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _patient(body: Json, practice: str, kind: str) -> str:
    subject = body.get("subject")
    referred = subject.get("reference") if isinstance(subject, dict) else None
    steps = referred.split("/")[-2:] if isinstance(referred, str) else []
    number = number_of(practice, "Patient", steps[1]) if len(steps) == 2 and steps[0] == "Patient" else None
    if number is None:
        raise Unfit("patient_of_another_practice", f"{kind}.subject")
    return number


def _codes(concept: Any) -> list[tuple[str, str]]:
    listed = concept.get("coding") if isinstance(concept, dict) else None
    return [
        (str(coding.get("system")), coding["code"])
        for coding in (listed if isinstance(listed, list) else ())
        if isinstance(coding, dict) and isinstance(coding.get("code"), str)
    ]


def _code(body: Json, system: str, where: str, among: Mapping[str, str] | None = None) -> str:
    for its_system, code in _codes(body.get("code")):
        if its_system == system and (among is None or code in among):
            return code
    raise Unfit("code_missing", where)


def _first_date(body: Json, choice: str, where: str) -> str:
    moment = body.get(f"{choice}DateTime")
    if moment is None and isinstance(body.get(f"{choice}Period"), dict):
        moment = body[f"{choice}Period"].get("start")
    if not isinstance(moment, str):
        raise Unfit("date_missing", where)
    return moment


def _day(moment: str, where: str) -> str:
    """``MM/DD/YYYY`` of a FHIR date; v1 takes no less than a day."""
    year, month, day = [*moment[:10].split("-"), "", ""][:3]
    if not (len(year) == 4 and len(month) == 2 and len(day) == 2):
        raise Unfit("date_too_vague", where)
    return f"{month}/{day}/{year}"
