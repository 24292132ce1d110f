"""Inbound transforms of FHIR data types: codes, references, periods, quantities, structures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from connector_runner.unification.absence import CODE_SYSTEMS, data_type, is_absent, is_word_for_absence
from connector_runner.unification.code_systems import ALIASES
from connector_runner.unification.dates import is_date_time
from connector_runner.unification.primitives import date_time, is_number, text
from connector_runner.unification.references import absolute_id, logical_value, relative_id
from connector_runner.unification.run import Run, Transform

Fact = dict[str, Any]


def each_object(value: Any, path: str, run: Run, one: Transform) -> list[Any] | None:
    """``one`` over every element of a list; what is wrong with one element costs the others nothing."""
    if type(value) is not list:
        run.wrong_type(path, value, "a list")
        return None
    if len(value) == 1:
        fact = one(value[0], f"{path}[0]", run)
        return None if fact is None else [fact]
    found = []
    for index, item in enumerate(value):
        fact = one(item, f"{path}[{index}]", run)
        if fact is not None:
            found.append(fact)
    return found or None


def _listed(one: Transform, doc: str) -> Transform:
    def transform(value: Any, path: str, run: Run) -> list[Any] | None:
        return each_object(value, path, run, one)

    transform.__doc__ = doc
    return transform


def copy_text(source: Fact, key: str, target: Fact, name: str, path: str, run: Run) -> None:
    """Take a string member of ``source`` into ``target``, or report that it is none."""
    value = source.get(key)
    if type(value) is str:
        value = value.strip()
        if value:
            target[name] = value
    elif value is not None:
        run.wrong_type(f"{path}.{key}", value, "a string")


def coding(value: Any, path: str, run: Run) -> Fact | None:
    """One coding: code, system under its one name, display."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    found: Fact = {}
    copy_text(value, "code", found, "code", path, run)
    copy_text(value, "system", found, "system", path, run)
    copy_text(value, "display", found, "display", path, run)
    if len(value) > 3:
        copy_text(value, "version", found, "version", path, run)
        if value.get("userSelected") is True:
            found["user_selected"] = True
    system = found.get("system")
    if system in ALIASES:
        found["system"] = ALIASES[system]
    return found or None


_REMEMBERED = 4096


def _remembered(one: Transform) -> Transform:
    """``one``, its answers kept by what it was asked: the same few codes stand in record after record.

    Only for what depends on the value alone. The facts are shared, which the rule allows that nobody changes any.
    """
    known: dict[bytes, Any] = {}

    def transform(value: Any, path: str, run: Run) -> Any:
        try:
            key = orjson.dumps(value)
        except TypeError:  # a fraction, or an integer of more than 64 bits
            return one(value, path, run)
        fact = known.get(key)
        if fact is None:
            quiet = len(run.problems)
            fact = one(value, path, run)
            if fact is not None and len(run.problems) == quiet:
                if len(known) >= _REMEMBERED:
                    known.clear()
                known[key] = fact
        return fact

    transform.__doc__ = one.__doc__
    return transform


def _concept(value: Any, path: str, run: Run) -> Fact | None:
    """A CodeableConcept: its first coding and text, and all codings where there are several.

    A code that only says why there is none is none (see ``absence``).
    """
    return _of_codings(value, path, run, known=True)


def _absent_reason(value: Any, path: str, run: Run) -> Fact | None:
    """A CodeableConcept that is itself the reason why another element has no value."""
    return _of_codings(value, path, run, known=False)


def _of_codings(value: Any, path: str, run: Run, *, known: bool) -> Fact | None:
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    if known:
        value = data_type(value)
    found: Fact = {}
    codings = value.get("coding")
    absent = False
    if codings is not None:
        listed = each_object(codings, f"{path}.coding", run, coding)
        if listed is not None and known and any(one.get("system") in CODE_SYSTEMS for one in listed):
            listed = [one for one in listed if one.get("system") not in CODE_SYSTEMS]
            absent = not listed
        if listed:
            found = listed[0]
            if len(listed) > 1:
                found = {**found, "codings": listed}
    if not (absent and is_word_for_absence(value.get("text"))):
        copy_text(value, "text", found, "text", path, run)
    return found or None


absent_reason = _remembered(_absent_reason)
concept: Callable[[Any, str, Run], Fact | None] = _remembered(_concept)
codings = _listed(coding, "A list of codings.")
concepts = _remembered(_listed(_concept, "A list of CodeableConcepts."))


def reference(value: Any, path: str, run: Run) -> Fact | None:
    """A Reference: ``ref`` where its record can be named, else its identifier, else what it displays."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    display = value.get("display")
    if type(display) is str:
        display = display.strip() or None
    elif display is not None:
        display = text(display, f"{path}.display", run)
    literal = value.get("reference")
    found: Fact | None = None
    if literal is not None:
        if type(literal) is str:
            found = _literal(literal.strip(), path, run)
        else:
            run.wrong_type(f"{path}.reference", literal, "a string")
    if found is None:
        found = _logical(value, path, run)
    if display is not None:
        found["display"] = display
    return found or None


def _literal(literal: str, path: str, run: Run) -> Fact | None:
    canonical = relative_id(run.source, literal)
    if canonical is not None:
        return {"ref": canonical}
    if not literal:
        return None
    if literal[0] == "#":
        return _contained(literal[1:], path, run)
    context = run.context
    named = context.resolve(literal) or literal
    canonical = relative_id(run.source, named) or absolute_id(run.source, context.base_url, named)
    if canonical is not None:
        return {"ref": canonical}
    found = logical_value(literal)
    if found is None:
        run.problem(f"{path}.reference", "bad_reference", "not a reference in any known form")
    return found


def _contained(local_id: str, path: str, run: Run) -> Fact | None:
    """A contained resource has no identity of its own: what it is called stands for it."""
    resource = run.contained(local_id)
    if resource is None:
        if local_id:  # a bare "#" is the record itself
            run.problem(f"{path}.reference", "bad_reference", "no contained resource has this id")
        return None
    found: Fact = {}
    kind = resource.get("resourceType")
    if type(kind) is str and kind:
        found["type"] = kind
    identifiers = resource.get("identifier")
    first = identifiers[0] if type(identifiers) is list and identifiers else identifiers
    if type(first) is dict and type(first.get("value")) is str:
        found["identifier"] = _bare_identifier(first)
    display = _title(resource)
    if display:
        found["display"] = display
    return found or None


def _title(resource: Fact) -> str | None:
    for key in ("name", "code", "type", "title"):
        value = resource.get(key)
        if type(value) is list and value:
            value = value[0]
        if type(value) is dict:
            given = value.get("given")
            parts = [*(given if type(given) is list else ()), value.get("family")]
            value = value.get("text") or " ".join(part for part in parts if type(part) is str)
        if type(value) is str and value.strip():
            return value.strip()
    return None


def _logical(value: Fact, path: str, run: Run) -> Fact:
    found: Fact = {}
    identifier = value.get("identifier")
    if type(identifier) is dict:
        if type(identifier.get("value")) is str and identifier["value"]:
            found["identifier"] = _bare_identifier(identifier)
    elif identifier is not None:
        run.wrong_type(f"{path}.identifier", identifier, "an object")
    kind = value.get("type")
    if kind is not None and (kind := text(kind, f"{path}.type", run)) is not None:
        found["type"] = kind
    return found


def _bare_identifier(identifier: Fact) -> Fact:
    found = {"value": identifier["value"]}
    system = identifier.get("system")
    if type(system) is str and system:
        found["system"] = ALIASES.get(system, system)
    return found


references = _listed(reference, "A list of References.")


def reference_kind(found: Fact) -> str | None:
    """The resource type that a reference fact points to, where it says."""
    ref = found.get("ref")
    kind = ref.partition(":")[2].partition(":")[0] if type(ref) is str else found.get("type")
    return kind if type(kind) is str else None


def reference_to(kinds: frozenset[str], *, otherwise: bool = False) -> Transform:
    """A reference kept only if it points to one of ``kinds`` (``otherwise``: only if it does not).

    One that does not say its type counts as pointing to ``kinds``.
    """

    def transform(value: Any, path: str, run: Run) -> Fact | None:
        if type(value) is dict and type(value.get("reference")) is str:
            # the common form settles it without building the fact
            kind, slash, _ = value["reference"].partition("/")
            if slash and kind.isalpha() and (kind in kinds) is otherwise:
                return None
        quiet = len(run.problems)
        found = reference(value, path, run)
        if otherwise:
            del run.problems[quiet:]  # the twin rule without ``otherwise`` reports them
        if found is None:
            return None
        kind = reference_kind(found) or ""
        return None if (not kind or kind in kinds) is otherwise else found

    return transform


def period(value: Any, path: str, run: Run) -> Fact | None:
    """A Period: start and end, each with its own precision."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    found: Fact = {}
    for key in ("start", "end"):
        moment = value.get(key)
        if moment is None:
            continue
        if type(moment) is str and is_date_time(moment):
            found[key] = moment
        else:
            date_time(moment, f"{path}.{key}", run)
    return found or None


def quantity(value: Any, path: str, run: Run) -> Fact | None:
    """A Quantity (Age, Duration, SimpleQuantity): value, unit, system, code, comparator."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    amount = data_type(value).get("value")
    if not is_number(amount):
        if amount is not None:
            run.wrong_type(f"{path}.value", amount, "a number")
        elif value and not (is_absent(value) or is_absent(value.get("_value"))):
            run.problem(path, "no_value", "a quantity without a value")
        return None
    found: Fact = {"value": amount}
    for key in ("unit", "system", "code", "comparator"):
        if key in value:
            copy_text(value, key, found, key, path, run)
    return found


def money(value: Any, path: str, run: Run) -> Fact | None:
    """Money: value and currency."""
    found = quantity(value, path, run)
    if found is not None:
        copy_text(value, "currency", found, "currency", path, run)
    return found


quantities = _listed(quantity, "A list of Quantities.")
periods = _listed(period, "A list of Periods.")


def _pair(first: str, second: str) -> Callable[[Any, str, Run], Fact | None]:
    def transform(value: Any, path: str, run: Run) -> Fact | None:
        if type(value) is not dict:
            run.wrong_type(path, value, "an object")
            return None
        found: Fact = {}
        for key in (first, second):
            if value.get(key) is not None:
                part = quantity(value[key], f"{path}.{key}", run)
                if part is not None:
                    found[key] = part
        return found or None

    return transform


quantity_range = _pair("low", "high")
ratio = _pair("numerator", "denominator")


def structure(value: Any, path: str, run: Run) -> Fact | None:
    """An element kept as FHIR writes it, but with every literal reference inside made a ``ref``."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    return _with_refs(value, path, run) or None


structures = _listed(structure, "A list of elements kept as FHIR writes them, references made ``ref``s.")


def _with_refs(value: Any, path: str, run: Run) -> Any:
    """``value`` itself where nothing in it changes: most of it needs no copy."""
    changed: Any = None
    if type(value) is dict:
        if type(value.get("reference")) is str:
            return reference(value, path, run) or {}
        for key, item in value.items():
            kind = type(item)
            if kind is dict or kind is list:
                new = _with_refs(item, path, run)
                if new is not item:
                    if changed is None:
                        changed = dict(value)
                    changed[key] = new
    else:
        for index, item in enumerate(value):
            kind = type(item)
            if kind is dict or kind is list:
                new = _with_refs(item, path, run)
                if new is not item:
                    if changed is None:
                        changed = list(value)
                    changed[index] = new
    return value if changed is None else changed
