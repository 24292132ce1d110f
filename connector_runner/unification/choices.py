"""Which member of a FHIR choice type a fact belongs in, told by its shape."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from connector_runner.unification import renderers
from connector_runner.unification.run import Run, Transform


def _inner(key: str) -> Transform:
    def transform(value: Any, path: str, run: Run) -> Any:
        return value.get(key)

    return transform


def _has(*keys: str) -> Callable[[Any], bool]:
    return lambda value: type(value) is dict and any(key in value for key in keys)


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds


def _as_is(value: Any, path: str, run: Run) -> Any:
    return value


# In order: the first that fits the shape and is allowed by the mapping. "Plain" text comes before
# dates, because a mapping that allows both marks the date.
_SHAPES: tuple[tuple[str, Callable[[Any], bool], Transform], ...] = (
    ("Boolean", _is(bool), _as_is),
    ("Integer", _is(int), _as_is),
    ("Decimal", _is(int, float, Decimal), _as_is),
    ("String", _is(str), _as_is),
    ("DateTime", _is(str), _as_is),
    ("Date", _is(str), _as_is),
    ("DateTime", _has("date_time"), _inner("date_time")),
    ("Time", _has("time"), _inner("time")),
    ("Reference", _has("ref", "identifier"), renderers.reference),
    ("SampledData", _has("origin"), renderers.structure),
    ("Ratio", _has("numerator", "denominator"), renderers.ratio),
    ("Range", _has("low", "high"), renderers.quantity_range),
    ("Period", _has("start", "end"), renderers.period),
    ("Age", _has("value"), renderers.quantity),
    ("Quantity", _has("value"), renderers.quantity),
    ("CodeableConcept", _has("code", "system", "text", "codings"), renderers.concept),
    ("String", _has("text"), _inner("text")),
    ("Reference", _has("display"), renderers.reference),
    ("CodeableConcept", _has("display"), renderers.concept),
)
SUFFIXES = frozenset(suffix for suffix, *_ in _SHAPES)


def choose(value: Any, allowed: frozenset[str], path: str, run: Run) -> tuple[str, Any] | None:
    """The suffix (``Quantity``) and the rendered value, or None when no allowed type has this shape."""
    for suffix, fits, render in _SHAPES:
        if suffix in allowed and fits(value):
            rendered = render(value, path, run)
            if rendered is not None:
                return suffix, rendered
    return None
