"""The shape of what is sent to a system that does not speak FHIR: a JSON Schema beside its mappings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from connector_runner.kernel import exact_json
from connector_runner.outbound.validation.problems import SEMANTIC, SYNTACTIC, Problem

_WORDS: Final = {
    "type": ("wrong_type", "a value of another type than the schema wants"),
    "required": ("required", "a required member is missing"),
    "additionalProperties": ("unknown_element", "a member that the schema does not have"),
    "enum": ("code_not_in_value_set", "a value that the schema's list does not have"),
    "const": ("code_not_in_value_set", "a value other than the one the schema allows"),
    "format": ("bad_format", "a text that is not of the schema's format"),
    "pattern": ("bad_format", "a text that does not match the schema's pattern"),
    "minLength": ("empty", "a text that is too short"),
    "maxLength": ("too_long", "a text that is too long"),
}
_SEMANTIC: Final = frozenset({"enum", "const"})
_MARK: Final = "resourceType"


@lru_cache(maxsize=256)
def _validator(text: str) -> Draft202012Validator:
    return Draft202012Validator(exact_json.loads(text), format_checker=FormatChecker())


def schema_problems(body: dict[str, Any], schema: str) -> Iterator[Problem]:
    """What ``schema`` (its text) finds in ``body``, without the mark that says which record it is."""
    plain = {key: value for key, value in body.items() if key != _MARK}
    for error in _validator(schema).iter_errors(plain):
        yield from _problems(error)


def _problems(error: ValidationError) -> Iterator[Problem]:
    kind = str(error.validator)
    code, message = _WORDS.get(kind, ("not_by_schema", f"the schema's `{kind}` does not hold"))
    layer = SEMANTIC if kind in _SEMANTIC else SYNTACTIC
    path = _place(error)
    wanted = error.validator_value
    if kind == "required" and isinstance(error.instance, dict) and isinstance(wanted, list):
        for name in wanted:
            if name not in error.instance:
                yield Problem(layer, f"{path}.{name}".lstrip("."), code, message)
        return
    yield Problem(layer, path, code, message)


def _place(error: ValidationError) -> str:
    """The path in words of the schema: a member that the schema does not name is a ``*``."""
    known = {str(step) for step in error.absolute_schema_path}
    words = ""
    for step in error.absolute_path:
        words += f"[{step}]" if isinstance(step, int) else f".{step if step in known else '*'}"
    return words.lstrip(".")
