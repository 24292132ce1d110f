"""What the installation itself asks of a write, whatever the standard allows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from connector_runner.outbound.validation.problems import POLICY, Problem

Json = dict[str, Any]
_ALWAYS: Final = frozenset({"resourceType", "id", "identifier"})
"""What a create may hold beside what its mapping writes: our identity is added to it."""
_ADDRESSES: Final = frozenset({"url", "system", "source", "implicitRules", "profile", "fullUrl"})
_STANDARD: Final = (
    "http://hl7.org/",
    "http://terminology.hl7.org/",
    "http://unitsofmeasure.org",
    "http://loinc.org",
    "http://snomed.info/",
    "http://www.nlm.nih.gov/",
    "urn:oid:",
    "urn:ietf:",
    "urn:iso:",
)
_WORDS = re.compile(r"[^\W\d_]{3,}")
_DIGITS = re.compile(r"\D+")
_DIGITS_THAT_TELL: Final = 7
_HOST = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
"""Whose server an address is of, which is the same for all its patients, also for one of the same name."""


def foreign_changes(body: Json, before: Json | None, written: frozenset[str]) -> Iterator[Problem]:
    """Elements that are not ours to write, and that ``body`` makes or changes all the same."""
    if before is None:
        names = body.keys() - _ALWAYS
        changed = {name for name in names if name.lstrip("_") not in written}
    else:
        names = body.keys() | before.keys()
        changed = {name for name in names if name.lstrip("_") not in written and body.get(name) != before.get(name)}
    if changed:
        yield Problem(POLICY, "", "foreign_field", "an element would change that is not ours to write")


def our_identity(body: Json, client_ref: str) -> Iterator[Problem]:
    """A create must carry the identity under which it is looked for when its answer is lost."""
    listed = body.get("identifier")
    carried = (item.get("value") for item in (listed if type(listed) is list else [listed]) if type(item) is dict)
    if body.get("id") != client_ref and client_ref not in carried:
        yield Problem(POLICY, "identifier", "no_identity", "a create without our identifier or id")


def protected_data_in_addresses(body: Json, *, ours: bool) -> Iterator[Problem]:
    """Ids and addresses end in logs everywhere: they hold no name, birth date or number of the person.

    ``ours``: the id is of our making; the sink's own is not ours to judge.
    """
    words, digits = _telling(body)
    if not words and not digits:
        return
    if ours and _tells(body.get("id"), words, digits):
        yield Problem(POLICY, "id", "protected_id", "an id that is made of the person's data")
    for path, text in _addresses(body, ""):
        if not text.startswith(_STANDARD) and _tells(_HOST.sub("", text), words, digits):
            yield Problem(POLICY, path, "protected_address", "an address that is made of the person's data")
            return


def _telling(body: Json) -> tuple[set[str], set[str]]:
    """The words and numbers of a body that name a person."""
    words: set[str] = set()
    names = body.get("name")
    for name in names if type(names) is list else ():
        if type(name) is dict:
            given = name.get("given")
            for part in (name.get("family"), *(given if type(given) is list else ())):
                if type(part) is str:
                    words.update(word.casefold() for word in _WORDS.findall(part))
    digits: set[str] = set()
    telecom = body.get("telecom")
    points = [point.get("value") for point in (telecom if type(telecom) is list else ()) if type(point) is dict]
    for text in (body.get("birthDate"), *points):
        if type(text) is str:
            number = _DIGITS.sub("", text)
            if len(number) >= _DIGITS_THAT_TELL:
                digits.add(number[-10:])
    return words, digits


def _tells(text: Any, words: set[str], digits: set[str]) -> bool:
    if type(text) is not str:
        return False
    if not words.isdisjoint(word.casefold() for word in _WORDS.findall(text)):
        return True
    number = _DIGITS.sub("", text)
    return any(one in number for one in digits)


def _addresses(value: Json, path: str) -> Iterator[tuple[str, str]]:
    """Every member that is an address by its name, with its place."""
    for key, item in value.items():
        if type(item) is str:
            # A system that is one word is a code: ``email`` is how somebody is reached, whatever their name.
            if key in _ADDRESSES and (key != "system" or ":" in item):
                yield f"{path}{key}", item
        elif type(item) is dict:
            yield from _addresses(item, f"{path}{key}.")
        elif type(item) is list:
            for index, one in enumerate(item):
                if type(one) is dict:
                    yield from _addresses(one, f"{path}{key}[{index}].")
