"""Inbound transforms of what identifies people and places: names, telecom, addresses, identifiers."""

from __future__ import annotations

from typing import Any
from unicodedata import normalize

from connector_runner.unification.absence import data_type
from connector_runner.unification.code_systems import ALIASES
from connector_runner.unification.datatypes import Fact, copy_text, each_object, period, reference
from connector_runner.unification.phones import normalise_phone
from connector_runner.unification.primitives import texts
from connector_runner.unification.run import Run

PHONE_SYSTEMS = frozenset({"phone", "fax", "sms", "pager"})
_NAME_ORDER = {"official": 0, "usual": 1}


def human_name(value: Any, path: str, run: Run) -> Fact | None:
    """One HumanName, its text in Unicode NFC."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    value = data_type(value)
    found: Fact = {}
    copy_text(value, "family", found, "family", path, run)
    for key in ("given", "prefix", "suffix"):
        if value.get(key) is not None:
            parts = texts(value[key], f"{path}.{key}", run)
            if parts is not None:
                found[key] = [part if part.isascii() else normalize("NFC", part) for part in parts]
    copy_text(value, "text", found, "text", path, run)
    if not found:
        return None
    for key in ("family", "text"):
        if key in found and not found[key].isascii():
            found[key] = normalize("NFC", found[key])
    copy_text(value, "use", found, "use", path, run)
    _copy_period(value, found, path, run)
    return found


def _copy_period(value: Fact, found: Fact, path: str, run: Run) -> None:
    if value.get("period") is not None:
        span = period(value["period"], f"{path}.period", run)
        if span is not None:
            found["period"] = span


def _name_rank(name: Fact) -> int:
    """Lower is more the person's name now: official, usual, any current one, a nickname, then what is past."""
    use = name.get("use")
    if use in ("old", "maiden") or "end" in name.get("period", ()):
        return 4
    if use == "nickname":
        return 3
    return _NAME_ORDER.get(use or "", 2)


def names_in_order(value: Any, path: str, run: Run) -> list[Fact]:
    """All names, the main one first, the rest as they came."""
    names = each_object(value, path, run, human_name) or []
    if len(names) > 1:
        main = min(names, key=_name_rank)
        names = [main, *(name for name in names if name is not main)]
    return names


def main_name(value: Any, path: str, run: Run) -> Fact | None:
    """The official name, else the usual one, else the first that is not past."""
    names = names_in_order(value, path, run)
    return names[0] if names else None


def other_names(value: Any, path: str, run: Run) -> list[Fact] | None:
    """Every name but the main one. Problems are reported by ``main_name`` over the same list."""
    if type(value) is not list or len(value) < 2:
        return None
    reported = len(run.problems)
    names = names_in_order(value, path, run)[1:]
    del run.problems[reported:]
    return names or None


def contact_point(value: Any, path: str, run: Run) -> Fact | None:
    """One ContactPoint: numbers in E.164, e-mail in lower case, ``raw`` where that changed something."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    value = data_type(value)
    found: Fact = {}
    copy_text(value, "system", found, "system", path, run)
    raw = value.get("value")
    if type(raw) is not str:
        if raw is not None:
            run.wrong_type(f"{path}.value", raw, "a string")
        return None
    kept = raw.strip()
    if not kept:
        return None
    system = found.get("system")
    if system in PHONE_SYSTEMS:
        phone = normalise_phone(kept, run.context.region)
        if phone is not None:
            kept, extension = phone
            if extension is not None:
                found["extension"] = extension
    elif system == "email":
        kept = kept.lower()
    found["value"] = kept
    if kept != raw:
        found["raw"] = raw
    copy_text(value, "use", found, "use", path, run)
    if "rank" in value:
        if type(value["rank"]) is int:
            found["rank"] = value["rank"]
        else:
            run.wrong_type(f"{path}.rank", value["rank"], "an integer")
    _copy_period(value, found, path, run)
    return found


def telecom(value: Any, path: str, run: Run) -> list[Fact] | None:
    """A list of ContactPoints."""
    return each_object(value, path, run, contact_point)


_ADDRESS_TEXTS = (
    ("use", "use"),
    ("type", "type"),
    ("city", "city"),
    ("district", "district"),
    ("state", "state"),
    ("postalCode", "postal_code"),
    ("country", "country"),
    ("text", "text"),
)


def postal_address(value: Any, path: str, run: Run) -> Fact | None:
    """One Address."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    value = data_type(value)
    found: Fact = {}
    for key, name in _ADDRESS_TEXTS:
        if key in value:
            copy_text(value, key, found, name, path, run)
    if value.get("line") is not None:
        lines = texts(value["line"], f"{path}.line", run)
        if lines is not None:
            found["line"] = lines
    if not found.keys() - {"use", "type"}:
        return None
    _copy_period(value, found, path, run)
    return found


def addresses(value: Any, path: str, run: Run) -> list[Fact] | None:
    """A list of Addresses."""
    return each_object(value, path, run, postal_address)


def single_address(value: Any, path: str, run: Run) -> list[Fact] | None:
    """An element that holds at most one Address, as a list of one."""
    found = postal_address(value, path, run)
    return None if found is None else [found]


def identifier(value: Any, path: str, run: Run) -> Fact | None:
    """One Identifier: system under its one name, value, and the code (else the text) of its type."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    value = data_type(value)
    found: Fact = {}
    copy_text(value, "system", found, "system", path, run)
    copy_text(value, "value", found, "value", path, run)
    if "value" not in found:
        return None
    system = found.get("system")
    if system in ALIASES:
        found["system"] = ALIASES[system]
    kind = value.get("type")
    if kind is not None:
        named = _identifier_type(kind, f"{path}.type", run)
        if named:
            found["type"] = named
    if "use" in value:
        copy_text(value, "use", found, "use", path, run)
    _copy_period(value, found, path, run)
    if value.get("assigner") is not None:
        assigner = reference(value["assigner"], f"{path}.assigner", run)
        if assigner is not None:
            found["assigner"] = assigner
    return found


def _identifier_type(value: Any, path: str, run: Run) -> str | None:
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    codings = value.get("coding")
    first = codings[0] if type(codings) is list and codings else None
    code = first.get("code") if type(first) is dict else None
    named = code or value.get("text")
    return named.strip() if type(named) is str else None


def identifiers(value: Any, path: str, run: Run) -> list[Fact] | None:
    """A list of Identifiers."""
    return each_object(value, path, run, identifier)


def single_identifier(value: Any, path: str, run: Run) -> list[Fact] | None:
    """An element that holds at most one Identifier, as a list of one."""
    found = identifier(value, path, run)
    return None if found is None else [found]
