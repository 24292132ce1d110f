"""Inbound transforms that know one element of one kind of record."""

from __future__ import annotations

from typing import Any

from connector_runner.unification.datatypes import (
    Fact,
    coding,
    concept,
    each_object,
    reference,
    reference_kind,
    structure,
)
from connector_runner.unification.primitives import date_time, is_number, text
from connector_runner.unification.run import Run, Transform

PATIENT = frozenset({"Patient"})
PRACTITIONER = frozenset({"Practitioner", "PractitionerRole"})
LOCATION = frozenset({"Location"})
_MAIN_ROLES = ("PPRF", "ATND", "ADM", "CON")


def category_of_race(value: Any, path: str, run: Run) -> Fact | None:
    """A US Core race or ethnicity extension: the OMB category as a code, ``detailed`` codings, the text."""
    if type(value) is not dict or type(value.get("extension")) is not list:
        run.wrong_type(path, value, "an extension with parts")
        return None
    broad: list[Fact] = []
    detailed: list[Fact] = []
    found: Fact = {}
    for index, part in enumerate(value["extension"]):
        where = f"{path}.extension[{index}]"
        if type(part) is not dict:
            run.wrong_type(where, part, "an object")
        elif part.get("url") in ("ombCategory", "detailed"):
            code = coding(part.get("valueCoding"), f"{where}.valueCoding", run)
            if code is not None:
                (broad if part["url"] == "ombCategory" else detailed).append(code)
        elif part.get("url") == "text":
            label = text(part.get("valueString"), f"{where}.valueString", run)
            if label is not None:
                found["text"] = label
    if broad:
        found = {**broad[0], **found}
        if len(broad) > 1:
            found["codings"] = broad
    if detailed:
        found["detailed"] = detailed
    return found or None


def position(value: Any, path: str, run: Run) -> Fact | None:
    """Latitude and longitude in degrees, altitude in metres."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    found: Fact = {}
    for key in ("latitude", "longitude", "altitude"):
        part = value.get(key)
        if is_number(part):
            found[key] = part
        elif part is not None:
            run.wrong_type(f"{path}.{key}", part, "a number")
    return found or None


def language(value: Any, path: str, run: Run) -> Fact | None:
    """Of a list of communications, the preferred language, else the first."""
    if type(value) is not list:
        run.wrong_type(path, value, "a list")
        return None
    best: Fact | None = None
    for index, item in enumerate(value):
        if type(item) is not dict:
            run.wrong_type(f"{path}[{index}]", item, "an object")
            continue
        if item.get("language") is not None and (best is None or item.get("preferred") is True):
            found = concept(item["language"], f"{path}[{index}].language", run)
            if found is not None:
                best = found
                if item.get("preferred") is True:
                    break
    return best


def note(value: Any, path: str, run: Run) -> Fact | None:
    """An Annotation: text, time, author."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    words = text(value.get("text"), f"{path}.text", run)
    if words is None:
        return None
    found: Fact = {"text": words}
    if value.get("time") is not None:
        moment = date_time(value["time"], f"{path}.time", run)
        if moment is not None:
            found["time"] = moment
    author: Any = None
    if value.get("authorReference") is not None:
        author = reference(value["authorReference"], f"{path}.authorReference", run)
    elif value.get("authorString") is not None:
        label = text(value["authorString"], f"{path}.authorString", run)
        author = None if label is None else {"display": label}
    if author is not None:
        found["author"] = author
    return found


def notes(value: Any, path: str, run: Run) -> list[Fact] | None:
    """A list of Annotations."""
    return each_object(value, path, run, note)


_ATTACHMENT = (
    ("contentType", "content_type"),
    ("url", "url"),
    ("title", "title"),
    ("hash", "hash"),
    ("creation", "creation"),
    ("language", "language"),
)


def attachment(value: Any, path: str, run: Run) -> Fact | None:
    """What is known about an Attachment; its bytes stay in the raw record."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    found: Fact = {}
    for key, name in _ATTACHMENT:
        if value.get(key) is not None:
            part = text(value[key], f"{path}.{key}", run)
            if part is not None:
                found[name] = part
    if type(value.get("size")) is int:
        found["size"] = value["size"]
    return found or None


def attachments(value: Any, path: str, run: Run) -> list[Fact] | None:
    """A list of Attachments."""
    return each_object(value, path, run, attachment)


def medication(value: Any, path: str, run: Run) -> Fact | None:
    """A reference to a Medication; a contained one counts as its code."""
    literal = value.get("reference") if type(value) is dict else None
    if type(literal) is str and literal.startswith("#"):
        inside = run.contained(literal[1:])
        if inside is not None and type(inside.get("code")) is dict:
            found = concept(inside["code"], f"{path}.code", run)
            if found is not None:
                return found
    return reference(value, path, run)


def actor_of(kinds: frozenset[str], element: str) -> Transform:
    """The participant that is one of ``kinds``: the primary or attending one, else the first.

    Problems inside participants are reported by the rule that takes them whole.
    """

    def transform(value: Any, path: str, run: Run) -> Fact | None:
        if type(value) is not list:
            return None
        best: Fact | None = None
        best_rank = len(_MAIN_ROLES) + 1
        reported = len(run.problems)
        for item in value:
            actor = item.get(element) if type(item) is dict else None
            if type(actor) is not dict:
                continue
            rank = _role_rank(item.get("type"))
            if rank < best_rank:
                found = reference(actor, path, run)
                if found is not None and reference_kind(found) in kinds:
                    best, best_rank = found, rank
        del run.problems[reported:]
        return best

    return transform


def _role_rank(types: Any) -> int:
    for item in types if type(types) is list else ():
        listed = item.get("coding") if type(item) is dict else None
        for code in listed if type(listed) is list else ():
            if type(code) is dict and code.get("code") in _MAIN_ROLES:
                return _MAIN_ROLES.index(code["code"])
    return len(_MAIN_ROLES)


def sampled_data(value: Any, path: str, run: Run) -> Fact | None:
    """SampledData as FHIR writes it."""
    return structure(value, path, run)
