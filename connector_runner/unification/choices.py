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


def _is_concept(value: Any) -> bool:
    named = type(value) is dict and not value.keys().isdisjoint({"code", "system", "text", "codings"})
    return named and value.keys().isdisjoint({"value", "ref", "identifier"})


def _is_display(value: Any) -> bool:
    return type(value) is dict and "display" in value


_Shape = tuple[Callable[[Any], bool], Transform]
# Which facts each type can hold. Text fits String and the dates: the mapping's order of types decides,
# and the inbound side marks what the first of them is not.
_SHAPES: dict[str, tuple[_Shape, ...]] = {
    "Boolean": ((_is(bool), _as_is),),
    "Integer": ((_is(int), _as_is),),
    "Decimal": ((_is(int, float, Decimal), _as_is),),
    "String": ((_is(str), _as_is), (_has("text"), _inner("text"))),
    "DateTime": ((_is(str), _as_is), (_has("date_time"), _inner("date_time"))),
    "Date": ((_is(str), _as_is),),
    "Time": ((_has("time"), _inner("time")),),
    "SampledData": ((_has("origin"), renderers.structure),),
    "Ratio": ((_has("numerator", "denominator"), renderers.ratio),),
    "Range": ((_has("low", "high"), renderers.quantity_range),),
    "Period": ((_has("start", "end"), renderers.period),),
    "Age": ((_has("value"), renderers.quantity),),
    "Quantity": ((_has("value"), renderers.quantity),),
    "Attachment": ((_has("content_type", "url", "title"), renderers.attachment),),
    "Reference": ((_has("ref", "identifier"), renderers.reference), (_is_display, renderers.reference)),
    "CodeableConcept": ((_is_concept, renderers.concept), (_is_display, renderers.concept)),
}
SUFFIXES = frozenset(_SHAPES)


def choose(value: Any, allowed: tuple[str, ...], path: str, run: Run) -> tuple[str, Any] | None:
    """The suffix (``Quantity``) and the rendered value, or None when no allowed type has this shape.

    What tells a type surely is tried for all types before what might be several.
    """
    for rank in (0, 1):
        for suffix in allowed:
            shapes = _SHAPES[suffix]
            if rank < len(shapes) and shapes[rank][0](value):
                rendered = shapes[rank][1](value, path, run)
                if rendered is not None:
                    return suffix, rendered
    return None
