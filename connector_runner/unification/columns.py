"""People as systems have them that keep one field for each thing: a first name, a work phone, a city.

What has no such field there (a second home phone, a nickname) has no place, and is not written. Each field stands for
one atom, so that what is written and read back is the same atom again.
"""

from __future__ import annotations

from typing import Any, Final
from unicodedata import normalize

from connector_runner.unification.datatypes import Fact
from connector_runner.unification.demographics import contact_point
from connector_runner.unification.primitives import text
from connector_runner.unification.references import relative_id
from connector_runner.unification.renderers import RenderRun
from connector_runner.unification.renderers import contact_point as rendered_point
from connector_runner.unification.run import Run, Transform

Json = dict[str, Any]

_POINTS: Final = (("email", "home"), ("email", "work"), ("phone", "home"), ("phone", "work"), ("phone", "mobile"))
_ADDRESS: Final = (("city", "city"), ("state", "state"), ("postalCode", "postal_code"), ("country", "country"))
_LINE_BREAK: Final = "\n"


# inbound


def first_and_last_name(value: Any, path: str, run: Run) -> Fact | None:
    """Of [first names, last name]: a name; first names are told apart by blanks."""
    first, last = (None if part is None else text(part, path, run) for part in value)
    found: Fact = {}
    if last is not None:
        found["family"] = normalize("NFC", last)
    if first is not None:
        found["given"] = normalize("NFC", first).split()
    return found or None


def point_columns(value: Any, path: str, run: Run) -> list[Fact] | None:
    """Of [e-mail, e-mail at work, phone, phone at work, mobile phone]: those that there are."""
    points = (
        contact_point({"system": system, "use": use, "value": column}, path, run)
        for (system, use), column in zip(_POINTS, value, strict=True)
        if column is not None
    )
    return [point for point in points if point is not None] or None


def address_columns(value: Any, path: str, run: Run) -> list[Fact] | None:
    """An address of one street (perhaps of several lines), city, state, postal code and country: the one at home."""
    if type(value) is not dict:
        run.wrong_type(path, value, "an object")
        return None
    found: Fact = {"use": "home"}
    street = text(value["street"], f"{path}.street", run) if value.get("street") is not None else None
    if street is not None:
        found["line"] = [line.strip() for line in street.split(_LINE_BREAK) if line.strip()]
    for column, name in _ADDRESS:
        part = text(value[column], f"{path}.{column}", run) if value.get(column) is not None else None
        if part is not None:
            found[name] = part
    return [found] if len(found) > 1 else None


def id_of(kind: str) -> Transform:
    """The bare id of a record of ``kind``, as a reference to it."""

    def transform(value: Any, path: str, run: Run) -> Fact | None:
        record_id = text(str(value) if type(value) is int else value, path, run)
        canonical = None if record_id is None else relative_id(run.source, f"{kind}/{record_id}")
        return None if canonical is None else {"ref": canonical}

    return transform


# outbound


def joined(value: Any, path: str, run: Run) -> str | None:
    """A list of words as one text."""
    words = [word for word in value if type(word) is str and word] if type(value) is list else []
    return " ".join(words) or None


def point_column(system: str, use: str) -> Transform:
    """The contact point of one system and use, as its source wrote it."""

    def transform(value: Any, path: str, run: Run) -> str | None:
        for point in value if type(value) is list else ():
            if type(point) is dict and point.get("system") == system and point.get("use") == use:
                shown = rendered_point(point, path, run)
                return None if shown is None else str(shown["value"])
        return None

    return transform


def home_address(value: Any, path: str, run: Run) -> Json | None:
    """The address at home as street, city, state, postal code and country."""
    for address in value if type(value) is list else ():
        if type(address) is not dict or address.get("use") != "home":
            continue
        lines = address.get("line")
        street = _LINE_BREAK.join(line for line in lines if type(line) is str) if type(lines) is list else ""
        found: Json = {"street": street} if street else {}
        found |= {column: address[name] for column, name in _ADDRESS if type(address.get(name)) is str}
        return found or None
    return None


def sink_id(value: Any, path: str, run: Run) -> str | None:
    """The id alone of the record in the target that a reference leads to."""
    if type(value) is not dict or type(value.get("ref")) is not str or not isinstance(run, RenderRun):
        return None
    found = run.resolve(value["ref"])
    if found is None:
        run.unresolved.append(value["ref"])
        return None
    return found.partition("/")[2] or None


INBOUND: Final[dict[str, Transform]] = {
    "first_and_last_name": first_and_last_name,
    "point_columns": point_columns,
    "address_columns": address_columns,
    "contact_id": id_of("Contact"),
}
OUTBOUND: Final[dict[str, Transform]] = {
    "joined": joined,
    **{f"{use}_{system}": point_column(system, use) for system, use in _POINTS},
    "home_address": home_address,
    "sink_id": sink_id,
}
