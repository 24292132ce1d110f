"""What a resource can be found by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .dates import Interval, interval
from .fhir_json import Json

Index = dict[str, tuple[Any, ...]]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOKENS = _words(
    "identifier status gender active code category type class phone email telecom intent "
    "clinical-status verification-status vaccine-code"
)
REFERENCES = _words(
    "patient subject beneficiary practitioner actor participant location encounter organization requester "
    "performer general-practitioner payor partof"
)
STRINGS = _words("name family given address address-city address-state address-postalcode")
DATES = _words("date birthdate authoredon recorded-date onset-date")

_CODES = {
    "code": ("code", "medicationCodeableConcept", "vaccineCode"),
    "category": ("category",),
    "type": ("type",),
    "class": ("class",),
    "clinical-status": ("clinicalStatus",),
    "verification-status": ("verificationStatus",),
    "vaccine-code": ("vaccineCode",),
}
_LINKS = {
    "subject": ("subject", "patient", "beneficiary"),
    "beneficiary": ("beneficiary",),
    "encounter": ("encounter",),
    "organization": ("managingOrganization", "serviceProvider"),
    "requester": ("requester",),
    "performer": ("performer",),
    "general-practitioner": ("generalPractitioner",),
    "payor": ("payor",),
    "partof": ("partOf",),
}
_WHEN = ("start", "period", "effectiveDateTime", "effectivePeriod", "authoredOn", "performedDateTime")
_MOMENTS = {
    "date": (*_WHEN, "performedPeriod", "occurrenceDateTime", "recordedDate"),
    "birthdate": ("birthDate",),
    "authoredon": ("authoredOn",),
    "recorded-date": ("recordedDate",),
    "onset-date": ("onsetDateTime",),
}


def many(value: Any) -> list[Any]:
    """A repeated element as a list, whatever was sent in its place."""
    return value if isinstance(value, list) else [] if value is None else [value]


def index_of(resource: Json) -> Index:
    """Every value by search parameter; values that are not of FHIR's shape are left out."""
    found: dict[str, list[Any]] = {}
    _tokens(resource, found)
    _people(resource, found)
    _references(resource, found)
    for parameter, elements in _MOMENTS.items():
        spans = [span for element in elements if (span := _span(resource.get(element)))]
        if spans:
            found[parameter] = spans[:1]
    return {parameter: tuple(values) for parameter, values in found.items() if values}


def _objects(value: Any) -> Iterator[Json]:
    return (item for item in many(value) if isinstance(item, dict))


def _tokens(resource: Json, found: dict[str, list[Any]]) -> None:
    found["identifier"] = [
        (item.get("system"), item["value"])
        for item in _objects(resource.get("identifier"))
        if isinstance(item.get("value"), str)
    ]
    for plain in ("status", "gender", "intent"):
        if isinstance(resource.get(plain), str):
            found[plain] = [(None, resource[plain])]
    if isinstance(resource.get("active"), bool):
        found["active"] = [(None, "true" if resource["active"] else "false")]
    for parameter, elements in _CODES.items():
        found[parameter] = [code for element in elements for code in _codings(resource.get(element))]


def _codings(value: Any) -> Iterator[tuple[str | None, str]]:
    for item in many(value):
        if isinstance(item, str):
            yield None, item
        elif isinstance(item, dict):
            for coding in _objects(item.get("coding", item)):
                if isinstance(coding.get("code"), str):
                    yield coding.get("system"), coding["code"]


def _people(resource: Json, found: dict[str, list[Any]]) -> None:
    for point in _objects(resource.get("telecom")):
        system, value = point.get("system"), point.get("value")
        if isinstance(value, str):
            found.setdefault("telecom", []).append((system, value.lower()))
            if system in ("phone", "email"):
                found.setdefault(system, []).append((None, value.lower()))
    for name in many(resource.get("name")):
        parts = [("", name)] if isinstance(name, str) else _strings(name) if isinstance(name, dict) else []
        for element, text in parts:
            found.setdefault("name", []).append(text.lower())
            if element in ("family", "given"):
                found.setdefault(element, []).append(text.lower())
    for address in _objects(resource.get("address")):
        for element, text in _strings(address):
            found.setdefault("address", []).append(text.lower())
            if element in ("city", "state", "postalCode"):
                found.setdefault(f"address-{element.lower()}", []).append(text.lower())


def _strings(item: Json) -> Iterator[tuple[str, str]]:
    for element, value in item.items():
        if element not in ("use", "period"):
            for text in many(value):
                if isinstance(text, str):
                    yield element, text


def _references(resource: Json, found: dict[str, list[Any]]) -> None:
    for parameter, elements in _LINKS.items():
        found[parameter] = [text for element in elements for text in _targets(resource.get(element))]
    actors = [
        text
        for item in _objects(resource.get("participant"))
        for element in ("actor", "individual")
        for text in _targets(item.get(element))
    ]
    found["actor"] = found["participant"] = actors
    places = [text for item in _objects(resource.get("location")) for text in _targets(item.get("location", item))]
    found["location"] = places + [text for text in actors if text.startswith("Location/")]
    found["practitioner"] = [text for text in actors if text.startswith("Practitioner/")]
    people = [text for text in found["subject"] + actors if text.startswith("Patient/")]
    found["patient"] = list(dict.fromkeys(people))


def _targets(value: Any) -> Iterator[str]:
    for item in _objects(value):
        target = item.get("reference", item.get("actor"))
        if isinstance(target, str):
            # An absolute reference is found by its last two parts, as a relative one is.
            yield "/".join(target.split("/_history/")[0].split("/")[-2:])
        elif isinstance(target, dict):
            yield from _targets(target)


def _span(value: Any) -> Interval | None:
    try:
        if isinstance(value, str):
            return interval(value)
        if isinstance(value, dict) and isinstance(value.get("start"), str):
            start = interval(value["start"])
            end = value.get("end")
            return start[0], interval(end)[1] if isinstance(end, str) else 1 << 62
    except ValueError:
        return None
    return None
