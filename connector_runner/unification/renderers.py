"""Outbound transforms: facts back to FHIR data types. Each is a pure function of (value, path, run).

State may hold what an agent wrote: a value of the wrong shape renders as nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from connector_runner.unification.code_systems import IDENTIFIER_TYPES, V2_IDENTIFIER_TYPE
from connector_runner.unification.demographics import PHONE_SYSTEMS
from connector_runner.unification.model import Ask, MappingContext, OutboundContext
from connector_runner.unification.phones import normalise_phone
from connector_runner.unification.run import Run, Transform

Json = dict[str, Any]


class RenderRun(Run):
    """One rendering of one entity: the sink's references and codes, and those that there are not yet."""

    __slots__ = ("decided", "recoded", "resolve", "unresolved", "untranslated")

    def __init__(self, context: OutboundContext, state: Json) -> None:
        super().__init__(MappingContext(source=""), state)
        self.resolve = context.resolve
        self.decided, self.recoded = context.decided, context.recoded
        self.unresolved: list[str] = []
        self.untranslated: list[Ask] = []

    def recodes(self, path: str) -> bool:
        """Whether what stands at ``path`` is translated."""
        root = (self.prefix or path).partition(".")[0].partition("[")[0]
        return self.recoded is None or root in self.recoded


def _sink_reference(canonical: str, run: Run) -> str | None:
    if not isinstance(run, RenderRun):
        raise TypeError("references are rendered in a RenderRun")
    found = run.resolve(canonical)
    if found is None:
        run.unresolved.append(canonical)
    return found


def listed(one: Transform) -> Transform:
    """``one`` over each element of a list."""

    def transform(value: Any, path: str, run: Run) -> list[Any] | None:
        items = value if type(value) is list else ()
        rendered = [one(item, path, run) for item in items]
        return [item for item in rendered if item is not None] or None

    return transform


def _of(*kinds: type) -> Transform:
    def transform(value: Any, path: str, run: Run) -> Any:
        return value if type(value) in kinds and value != "" else None

    return transform


def _members(*pairs: tuple[str, str]) -> Callable[[Json], Json]:
    """Copies members of a fact to the names that FHIR gives them."""

    def copy(value: Json) -> Json:
        return {target: value[name] for name, target in pairs if value.get(name) not in (None, "", [], {})}

    return copy


def _same(*names: str) -> Callable[[Json], Json]:
    return _members(*((name, name) for name in names))


def _object(copy: Callable[[Json], Json]) -> Transform:
    def transform(value: Any, path: str, run: Run) -> Json | None:
        return (copy(value) or None) if type(value) is dict else None

    return transform


_coding_members = _members(
    ("system", "system"),
    ("version", "version"),
    ("code", "code"),
    ("display", "display"),
    ("user_selected", "userSelected"),
)
_name_members = _same("use", "text", "family", "given", "prefix", "suffix", "period")
_address_members = _members(
    ("use", "use"),
    ("type", "type"),
    ("text", "text"),
    ("line", "line"),
    ("city", "city"),
    ("district", "district"),
    ("state", "state"),
    ("postal_code", "postalCode"),
    ("country", "country"),
    ("period", "period"),
)
_attachment_members = _members(
    ("content_type", "contentType"),
    ("language", "language"),
    ("url", "url"),
    ("size", "size"),
    ("hash", "hash"),
    ("title", "title"),
    ("creation", "creation"),
)
coding = _object(_coding_members)
name = _object(_name_members)
address = _object(_address_members)
attachment = _object(_attachment_members)
period = _object(_same("start", "end"))
quantity = _object(_same("value", "comparator", "unit", "system", "code"))
money = _object(_same("value", "currency"))
quantity_range = _object(_same("low", "high"))
ratio = _object(_same("numerator", "denominator"))
position = _object(_same("longitude", "latitude", "altitude"))


def concept(value: Any, path: str, run: Run) -> Json | None:
    """A code fact as a CodeableConcept."""
    if type(value) is not dict:
        return None
    several = value.get("codings")
    items = several if type(several) is list else [value]
    codes = [code for code in (coding(item, path, run) for item in items) if code is not None]
    rendered: Json = {"coding": codes} if codes else {}
    if value.get("text"):
        rendered["text"] = value["text"]
    return rendered or None


def code(value: Any, path: str, run: Run) -> str | None:
    """The bare code of a code fact, for a field that holds no more."""
    found = value.get("code") if type(value) is dict else value
    return found if type(found) is str and found else None


def reference(value: Any, path: str, run: Run) -> Json | None:
    """A reference fact as a Reference into the sink; by identifier or display where the sink lacks it."""
    if type(value) is not dict:
        return None
    rendered: Json = {}
    if type(value.get("ref")) is str:
        literal = _sink_reference(value["ref"], run)
        if literal is not None:
            rendered["reference"] = literal
    for key in ("type", "identifier", "display"):
        if value.get(key):
            rendered[key] = value[key]
    return rendered if rendered.keys() - {"type"} else None


def structure(value: Any, path: str, run: Run) -> Any:
    """An element that is kept as FHIR writes it, each ``ref`` inside made a Reference into the sink."""
    if type(value) is dict:
        if type(value.get("ref")) is str:
            return reference(value, path, run)
        inner = {key: structure(item, path, run) for key, item in value.items()}
        return {key: item for key, item in inner.items() if item is not None} or None
    if type(value) is list:
        return [item for item in (structure(item, path, run) for item in value) if item is not None] or None
    return value


def names(value: Any, path: str, run: Run) -> list[Json] | None:
    """Of [main name, other names]: all of them, the main one first."""
    main, others = value
    found = [name(main, path, run), *(listed(name)(others, path, run) or ())]
    return [item for item in found if item is not None] or None


def contact_point(value: Any, path: str, run: Run) -> Json | None:
    """A telecom fact as its source wrote it, so that a number that did not change does not move."""
    if type(value) is not dict or not value.get("value"):
        return None
    rendered = _same("system", "value", "use", "rank", "period")(value)
    raw = value.get("raw")
    if type(raw) is str and _same_point(raw, value):
        rendered["value"] = raw
    elif value.get("extension") and _is_phone(value):
        rendered["value"] = f"{value['value']} x{value['extension']}"
    return rendered


def _is_phone(value: Json) -> bool:
    system = value.get("system")
    return type(system) is str and system in PHONE_SYSTEMS


def _same_point(raw: str, value: Json) -> bool:
    """Whether ``raw`` still is the point that ``value`` names."""
    if _is_phone(value):
        phone = normalise_phone(raw.strip())
        if phone is None:
            return raw.strip() == str(value["value"])
        return phone == (value["value"], value.get("extension"))
    return raw.strip().lower() == str(value["value"]).lower()


def identifier(value: Any, path: str, run: Run) -> Json | None:
    """An identifier fact as an Identifier, its type as a v2-0203 code where it is one."""
    if type(value) is not dict or not value.get("value"):
        return None
    rendered = _same("use", "system", "value", "period")(value)
    kind = value.get("type")
    if type(kind) is str and kind:
        coded = {"coding": [{"system": V2_IDENTIFIER_TYPE, "code": kind}]}
        rendered["type"] = coded if kind in IDENTIFIER_TYPES else {"text": kind}
    assigner = reference(value.get("assigner"), path, run)
    if assigner is not None:
        rendered["assigner"] = assigner
    return rendered


def first_of(one: Transform) -> Transform:
    """``one`` over the first element, where the fact is a list and FHIR has room for one."""

    def transform(value: Any, path: str, run: Run) -> Any:
        return one(value[0], path, run) if type(value) is list and value else None

    return transform


def race(value: Any, path: str, run: Run) -> Json | None:
    """A race or ethnicity fact as the parts of its US Core extension."""
    if type(value) is not dict:
        return None
    several = value.get("codings")
    broad = several if type(several) is list else [value]
    detailed = value.get("detailed")
    parts: list[Json] = []
    for url, items in (("ombCategory", broad), ("detailed", detailed if type(detailed) is list else [])):
        codes = (coding(item, path, run) for item in items)
        parts += [{"url": url, "valueCoding": code} for code in codes if code is not None]
    label = value.get("text") or value.get("display")
    if label:
        parts.append({"url": "text", "valueString": label})
    return {"extension": parts} if parts else None


def communication(value: Any, path: str, run: Run) -> list[Json] | None:
    """The language that a person is spoken to in."""
    rendered = concept(value, path, run)
    return None if rendered is None else [{"language": rendered, "preferred": True}]


def note(value: Any, path: str, run: Run) -> Json | None:
    """A note as an Annotation."""
    if type(value) is not dict or not value.get("text"):
        return None
    rendered = _same("text", "time")(value)
    author = reference(value.get("author"), path, run)
    if author is not None:
        if author.keys() == {"display"}:
            rendered["authorString"] = author["display"]
        else:
            rendered["authorReference"] = author
    return rendered


RENDERERS: dict[str, Transform] = {
    "text": _of(str),
    "texts": listed(_of(str)),
    "boolean": _of(bool),
    "integer": _of(int),
    "number": _of(int, float, Decimal),
    "date": _of(str),
    "date_time": _of(str),
    "coding": coding,
    "codings": listed(coding),
    "code": code,
    "concept": concept,
    "concepts": listed(concept),
    "reference": reference,
    "references": listed(reference),
    "period": period,
    "periods": listed(period),
    "quantity": quantity,
    "money": money,
    "range": quantity_range,
    "ratio": ratio,
    "structure": structure,
    "structures": structure,
    "name": name,
    "names": names,
    "telecom": listed(contact_point),
    "addresses": listed(address),
    "single_address": first_of(address),
    "identifiers": listed(identifier),
    "single_identifier": first_of(identifier),
    "race": race,
    "communication": communication,
    "position": position,
    "notes": listed(note),
    "attachment": attachment,
    "attachments": listed(attachment),
}
