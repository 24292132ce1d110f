"""What a person may correct of an entity, field by field, as JSON Schema; and what is wrong with a correction. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match
from jsonschema.validators import extend

from connector_runner.kernel.clock import parse_instant
from connector_runner.review.items import Refused
from connector_runner.review.judge import checks
from connector_runner.unification.loader import FHIR_SYSTEM, MappingSet
from connector_runner.world.atoms import KEYED

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 10_000}
_DATE: Final[Schema] = {"type": "string", "format": "partial-date"}
_MOMENT: Final[Schema] = {"type": "string", "format": "moment"}
_PERIOD: Final[Schema] = {
    "type": "object", "additionalProperties": False, "properties": {"start": _MOMENT, "end": _MOMENT},
}  # fmt: skip
_TEXTS: Final[Schema] = {"type": "array", "items": _TEXT}
_NAME: Final[Schema] = {
    "type": "object", "minProperties": 1, "additionalProperties": False,
    "properties": {
        "family": _TEXT, "given": _TEXTS, "prefix": _TEXTS, "suffix": _TEXTS, "text": _TEXT, "use": _TEXT,
        "period": _PERIOD,
    },
}  # fmt: skip
_TELECOM: Final[Schema] = {
    "type": "object", "required": ["system", "value"], "additionalProperties": False,
    "properties": {
        "system": {"enum": ["phone", "fax", "email", "pager", "url", "sms", "other"]},
        "value": _TEXT, "use": _TEXT, "rank": {"type": "integer", "minimum": 1}, "raw": _TEXT, "extension": _TEXT,
        "period": _PERIOD,
    },
}  # fmt: skip
_ADDRESS: Final[Schema] = {
    "type": "object", "minProperties": 1, "additionalProperties": False,
    "properties": {
        "line": _TEXTS, "city": _TEXT, "district": _TEXT, "state": _TEXT, "postal_code": _TEXT, "country": _TEXT,
        "text": _TEXT, "use": _TEXT, "type": _TEXT, "period": _PERIOD,
    },
}  # fmt: skip
_REFERENCE: Final[Schema] = {
    "type": "object", "minProperties": 1, "additionalProperties": False,
    "properties": {
        "ref": {"type": "string", "pattern": "^[^:]+:[^:]+:[^:]+$"}, "display": _TEXT, "type": _TEXT,
        "identifier": {"type": "object"},
    },
}  # fmt: skip
_IDENTIFIER: Final[Schema] = {
    "type": "object", "required": ["value"], "additionalProperties": False,
    "properties": {
        "system": _TEXT, "value": _TEXT, "type": _TEXT, "use": _TEXT, "period": _PERIOD, "assigner": _REFERENCE,
    },
}  # fmt: skip
_CODING: Final[Schema] = {
    "code": _TEXT, "system": _TEXT, "display": _TEXT, "version": _TEXT, "user_selected": {"type": "boolean"},
}  # fmt: skip
_CONCEPT: Final[Schema] = {
    "type": ["object", "string"], "minProperties": 1, "minLength": 1, "maxLength": 10_000,
    "additionalProperties": False,
    "properties": {
        **_CODING, "text": _TEXT,
        "codings": {
            "type": "array", "items": {"type": "object", "additionalProperties": False, "properties": _CODING},
        },
    },
}  # fmt: skip
_QUANTITY: Final[Schema] = {
    "type": "object", "required": ["value"], "additionalProperties": False,
    "properties": {
        "value": {"type": "number"}, "unit": _TEXT, "system": _TEXT, "code": _TEXT, "comparator": _TEXT,
        "currency": _TEXT,
    },
}  # fmt: skip
_OBJECT: Final[Schema] = {"type": "object"}
_ANY: Final[Schema] = {"type": ["object", "array", "string", "number", "boolean"]}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


_BY_TRANSFORM: Final[Mapping[str, Schema]] = {
    "text": _TEXT, "texts": _TEXTS, "date": _DATE, "date_time": _MOMENT, "boolean": {"type": "boolean"},
    "integer": {"type": "integer"}, "decimal": {"type": "number"}, "main_name": _NAME, "name": _NAME,
    "other_names": _list(_NAME), "telecom": _list(_TELECOM), "addresses": _list(_ADDRESS),
    "single_address": _list(_ADDRESS), "identifiers": _list(_IDENTIFIER), "single_identifier": _list(_IDENTIFIER),
    "reference": _REFERENCE, "references": _list(_REFERENCE), "patient_reference": _REFERENCE,
    "non_patient_reference": _REFERENCE, "practitioner_reference": _REFERENCE,
    "non_practitioner_reference": _REFERENCE, "patient_of_participants": _ANY,
    "practitioner_of_participants": _ANY, "location_of_participants": _ANY, "concept": _CONCEPT,
    "concepts": _list(_CONCEPT), "coding": _CONCEPT, "codings": _list(_CONCEPT), "quantity": _QUANTITY,
    "money": _QUANTITY, "period": _PERIOD, "periods": _list(_PERIOD), "structure": _OBJECT,
    "structures": _list(_OBJECT), "each": _list(_OBJECT), "notes": _list(_OBJECT), "any": _ANY,
}  # fmt: skip

_FORMATS: Final = FormatChecker(formats=())
_PARTIAL: Final = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")


@_FORMATS.checks("partial-date")
def _is_date(value: object) -> bool:
    """A FHIR date: a year, a month or a day, that exists."""
    if not isinstance(value, str) or not _PARTIAL.fullmatch(value):
        return not isinstance(value, str)
    try:
        date.fromisoformat(value + "-01-01"[: 10 - len(value)] if len(value) < 10 else value)
    except ValueError:
        return False
    return True


@_FORMATS.checks("moment")
def _is_moment(value: object) -> bool:
    """A FHIR dateTime: a date, or an instant with its zone."""
    return not isinstance(value, str) or _is_date(value) or parse_instant(value) is not None


def _is_number(_: object, value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


_Validator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("number", _is_number)
)


def schema_of(mappings: MappingSet, entity_type: str, known: Iterable[str], current: Mapping[str, Any]) -> Schema:
    """The JSON Schema of a correction of an entity: field by field as its mapping makes them.

    Of a type without a mapping those fields count that somebody stated (``known``), in the shape in which they are.
    """
    fields: dict[str, Schema] = {}
    for system, record in mappings.inbound_records():
        mapping = mappings.inbound(system, record) if system == FHIR_SYSTEM else None
        if mapping is not None and entity_type in mapping.entity_types:
            fields |= {name: _BY_TRANSFORM.get(kind, _ANY) for name, kind in mapping.transforms.items()}
    for name in (*known, *current):
        if fields.get(name, _ANY) == _ANY:
            fields[name] = _shape_of(current.get(name))
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": dict(sorted(fields.items())),
    }


def _shape_of(value: Any) -> Schema:
    kinds: tuple[tuple[type | tuple[type, ...], Schema], ...] = (
        (bool, {"type": "boolean"}),
        ((int, float, Decimal), {"type": "number"}),
        (str, _TEXT),
        (list, {"type": "array"}),
        (dict, _OBJECT),
    )
    return next((schema for kind, schema in kinds if isinstance(value, kind)), _ANY)


def wrong_with(schema: Schema, data: Any) -> Refused | None:
    """The first thing that a correction may not say, with its path; nothing of the value is told."""
    if isinstance(data, Mapping):
        unknown = sorted(set(map(str, data)) - schema["properties"].keys())
        if unknown:
            return Refused("unknown_field", "the entity has no such field", where=_shown([unknown[0]]))
    error = best_match(_Validator(schema, format_checker=_FORMATS).iter_errors(data))
    if error is None:
        return None
    path = list(error.absolute_path)
    if error.validator == "additionalProperties":
        extra = sorted(set(error.instance) - set(error.schema.get("properties", ())))
        return Refused("unknown_field", "there is no such element", where=_shown([*path, extra[0]]))
    if error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))
        return Refused("missing", "an element is missing", where=_shown([*path, missing[0]]))
    code = "wrong_type" if error.validator == "type" else "invalid"
    return Refused(code, f"not as the schema asks ({error.validator})", where=_shown(path))


def malformed(entity_type: str, data: Mapping[str, Any], now: datetime) -> Refused | None:
    """The first value of a correction that cannot be right, whoever says it, with its path and why."""
    for field, value in sorted(data.items()):
        listed = isinstance(value, list) and field in KEYED
        for place, each in enumerate(value) if listed else [(None, value)]:
            path: list[str | int] = [field] if place is None else [field, place]
            code = checks.malformed(entity_type, field, each, now)
            if code is not None:
                return Refused(code, "this cannot be right", where=_shown(path))
    return None


def _shown(path: Iterable[str | int]) -> str:
    """A path as text: ``telecom[0].value``. Names that are no words of a schema are cut short."""
    text = "corrected_data"
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{str(part)[:64]}"
    return text
