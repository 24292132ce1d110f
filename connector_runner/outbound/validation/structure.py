"""The shape of R4 resources, taken from fhirclient's models and checked on the raw JSON that is sent.

The models themselves are not run on it: they look at the first element of a list only, refuse exact decimals,
accept ``true`` for an integer and two values of one choice, and cost several times as much. What they declare
(names, types, repetition, choices, what is required) is compiled once into a table for each class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from importlib import import_module
from typing import Any

from connector_runner.outbound.validation.bindings import bindings
from connector_runner.outbound.validation.invariants import INVARIANTS, Invariant
from connector_runner.outbound.validation.problems import SEMANTIC, SYNTACTIC, Problem
from connector_runner.outbound.validation.references import reference_fault

_NUMBERS = (int, float, Decimal)
_KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    str: ((str,), "text"),
    bool: ((bool,), "a boolean"),
    int: ((int,), "an integer"),
    float: (_NUMBERS, "a number"),
}
_RESOURCE, _REFERENCE = "Resource", "FHIRReference"


@dataclass(frozen=True, slots=True)
class Element:
    """One property of a class. ``model`` is the class of its values, None for a primitive."""

    name: str
    repeats: bool
    choice: str | None
    primitive: tuple[type, ...]
    wanted: str
    parse: Callable[[str], Any] | None
    model: str | None
    module: str
    codes: frozenset[str] | None
    concept: tuple[str, frozenset[str]] | None
    targets: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Model:
    """One class: its elements by name, and names (of a choice: its stem) that must be there."""

    name: str
    elements: dict[str, Element]
    required: tuple[str, ...]
    invariants: tuple[Invariant, ...]


@dataclass(slots=True)
class Found:
    """What a walk collects. ``contained`` are the local ids that a reference may name."""

    contained: frozenset[str]
    problems: list[Problem] = field(default_factory=list)

    def syntactic(self, path: str, code: str, message: str) -> None:
        """Note what is no R4."""
        self.problems.append(Problem(SYNTACTIC, path, code, message))

    def semantic(self, path: str, code: str, message: str) -> None:
        """Note what is R4 and cannot be meant."""
        self.problems.append(Problem(SEMANTIC, path, code, message))


def resource_model(resource_type: Any) -> Model | None:
    """The table of a resource type, or None when R4 has no such type."""
    if type(resource_type) is not str or not resource_type.isalpha() or not resource_type[0].isupper():
        return None
    return _named(resource_type.lower(), resource_type)


@cache
def _named(module: str, name: str) -> Model | None:
    try:
        kind = getattr(import_module(f"fhirclient.models.{module}"), name, None)
    except ImportError:
        return None
    if kind is None:
        return None
    bound = bindings()
    elements: dict[str, Element] = {}
    required: list[str] = []
    for _, element, declared, repeats, choice, needed in kind().elementProperties():
        key = f"{name}.{element}"
        known = _KINDS.get(declared)
        dated = hasattr(declared, "isostring")
        primitive, wanted = known or (((str,), "a date or time of R4") if dated else ((), "an object"))
        elements[element] = Element(
            element,
            repeats,
            choice,
            primitive,
            wanted,
            declared.with_json if dated else None,
            None if primitive else declared.__name__,
            declared.__module__.rpartition(".")[2],
            bound.codes.get(key),
            bound.concepts.get(key),
            bound.references.get(key),
        )
        if needed and (choice or element) not in required:
            required.append(choice or element)
    return Model(name, elements, tuple(required), INVARIANTS.get(name, ()))


def walk(value: dict[str, Any], model: Model, path: str, found: Found, only: frozenset[str] | None = None) -> None:
    """Check an object of class ``model``; ``only`` leaves the other elements of this level unseen."""
    elements = model.elements
    chosen: dict[str, str] = {}
    for name, item in value.items():
        if only is not None and name not in only:
            continue
        element = elements.get(name)
        if element is None:
            _other(name, item, elements, path, found)
            continue
        if element.choice is not None and chosen.setdefault(element.choice, name) != name:
            found.syntactic(f"{path}.{element.choice}[x]", "two_values", "a choice of types holds one value")
        if element.repeats:
            _items(item, element, f"{path}.{name}", found)
        else:
            _item(item, element, f"{path}.{name}", found)
    for name in model.required:
        if name not in value and name not in chosen and f"_{name}" not in value and _is_asked(name, elements, only):
            found.syntactic(f"{path}.{name}", "required", "a required element is missing")
    for invariant in model.invariants:
        if not invariant.holds(value):
            found.semantic(f"{path}{invariant.at}", invariant.key, invariant.message)


def _is_asked(name: str, elements: dict[str, Element], only: frozenset[str] | None) -> bool:
    """Whether the absence of a required element is new: it is, unless only other elements changed."""
    return only is None or name in only or any(elements[one].choice == name for one in only if one in elements)


def _other(name: str, item: Any, elements: dict[str, Element], path: str, found: Found) -> None:
    if name == "resourceType":
        return
    element = elements.get(name[1:]) if name[:1] == "_" else None
    if element is None or element.model is not None:
        found.syntactic(path, "unknown_element", "an element that R4 does not have here")
        return
    for one in item if type(item) is list else [item]:
        if one is None and element.repeats:
            continue
        if type(one) is not dict or not one or one.keys() - {"id", "extension"}:
            found.syntactic(f"{path}.{name}", "wrong_type", "expected an id or extensions of a primitive")
        elif "extension" in one:
            _extensions(one, f"{path}.{name}", found)


def _extensions(value: dict[str, Any], path: str, found: Found) -> None:
    model = _named("element", "Element")
    if model is not None:
        walk(value, model, path, found)


def _items(value: Any, element: Element, path: str, found: Found) -> None:
    if type(value) is not list:
        found.syntactic(path, "wrong_type", "expected a list")
        return
    if not value:
        found.syntactic(path, "empty", "a list without elements")
    for index, item in enumerate(value):
        if item is None and element.model is None:
            continue  # R4 json.html 2.6.2.3: the place of a primitive that has extensions only
        _item(item, element, f"{path}[{index}]", found)


def _item(value: Any, element: Element, path: str, found: Found) -> None:
    if element.model is None:
        _primitive(value, element, path, found)
    elif type(value) is not dict:
        found.syntactic(path, "wrong_type", "expected an object")
    elif not value:
        found.syntactic(path, "empty", "an object without elements")
    else:
        kind = value.get("resourceType") if element.model == _RESOURCE else None
        model = resource_model(kind) if element.model == _RESOURCE else _named(element.module, element.model)
        if model is None:
            found.syntactic(path, "unknown_type", "a type that R4 does not have")
            return
        walk(value, model, path, found)
        if element.model == _REFERENCE:
            fault = reference_fault(value, element.targets, found.contained)
            if fault is not None:
                found.semantic(path, *fault)
        elif element.concept is not None:
            _concept(value, element.concept, path, found)


def _primitive(value: Any, element: Element, path: str, found: Found) -> None:
    if type(value) not in element.primitive:
        found.syntactic(path, "wrong_type", f"expected {element.wanted}")
    elif value == "":
        found.syntactic(path, "empty", "a text without characters")
    elif element.parse is not None:
        try:
            element.parse(value)
        except (ValueError, TypeError, OverflowError):
            found.syntactic(path, "bad_date", "not a date or time of R4 (2.24.0.1)")
    elif element.codes is not None and value not in element.codes:
        found.semantic(path, "code_not_in_value_set", "a code that the required value set does not have")


def _concept(value: dict[str, Any], bound: tuple[str, frozenset[str]], path: str, found: Found) -> None:
    system, codes = bound
    codings = value.get("coding")
    for index, coding in enumerate(codings if type(codings) is list else ()):
        code = coding.get("code") if type(coding) is dict and coding.get("system") == system else None
        if type(code) is str and code not in codes:
            where = f"{path}.coding[{index}].code"
            found.semantic(where, "code_not_in_value_set", "a code that the required value set does not have")
