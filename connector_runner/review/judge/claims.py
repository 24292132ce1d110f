"""What must be heard for a value to be borne out: each value as the pieces that somebody has to say. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from connector_runner.review.judge.speech import folded
from connector_runner.unification.phones import normalise_phone
from connector_runner.world.atoms import field_of

Kind = Literal[
    "phone", "fax", "email", "given", "family", "birth", "gender", "street", "city", "state", "postal_code",
    "member_id", "allergy", "medication", "start",
]  # fmt: skip

_WORDS = re.compile(r"[^\W_]+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_HOME_COUNTRY: Final = frozenset({"us", "usa", "united states", "united states of america"})
_UNSPOKEN: Final = frozenset({"use", "rank", "period", "raw", "type"})
_CONCEPTS: Final[dict[tuple[str, str], Kind]] = {
    ("allergy_intolerance", "code"): "allergy",
    ("medication_order", "medication"): "medication",
    ("medication_statement", "medication"): "medication",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that has to be said. ``value`` is in the form that what was said is brought into.

    ``label`` is the use that it must not be said to be otherwise of: ``home``, ``work``, ``mobile``.
    """

    kind: Kind
    value: str
    label: str | None = None


def pieces(entity_type: str, atom: str, value: Any) -> tuple[Piece, ...] | None:
    """The pieces of an atom's value; None for a value that no words of a caller can bear out.

    So are references, codes without their meaning in words, free texts, and values that are not well-formed.
    """
    found = _pieces(entity_type, field_of(atom), value)
    return None if found is None or not found or any(not piece.value for piece in found) else tuple(found)


def _pieces(entity_type: str, field: str, value: Any) -> list[Piece] | None:
    if field == "telecom" and isinstance(value, Mapping):
        return _telecom(value)
    if field == "name" and isinstance(value, Mapping):
        return _name(value)
    if field == "address" and isinstance(value, Mapping):
        return _address(value)
    if field == "birth_date" and isinstance(value, str) and _DATE.fullmatch(value):
        return [Piece("birth", value)]
    if field == "gender" and value in ("male", "female"):
        return [Piece("gender", value)]
    if field == "subscriber_id" and isinstance(value, str):
        return [Piece("member_id", "".join(_WORDS.findall(folded(value))))]
    if (entity_type, field) == ("appointment", "start") and isinstance(value, str):
        return _start(value)
    kind = _CONCEPTS.get((entity_type, field))
    return None if kind is None else _concept(kind, value)


def _telecom(value: Mapping[str, Any]) -> list[Piece] | None:
    said, system, use = value.get("value"), value.get("system"), value.get("use")
    if not isinstance(said, str) or value.get("extension") or use == "old":
        return None
    if system == "email":
        return [Piece("email", folded(said.strip()))]
    if system not in ("phone", "sms", "fax"):
        return None
    number = normalise_phone(said)
    if number is None or number[1] is not None:
        return None
    digits = number[0].removeprefix("+1") if number[0].startswith("+1") else number[0].removeprefix("+")
    return [Piece("fax" if system == "fax" else "phone", digits, use if isinstance(use, str) else None)]


def _name(value: Mapping[str, Any]) -> list[Piece] | None:
    given, family = value.get("given") or [], value.get("family")
    if not isinstance(given, list) or not all(isinstance(part, str) for part in given):
        return None
    if not isinstance(family, str) or not given or value.get("use") in ("old", "maiden", "nickname"):
        return None
    if set(value) - {"given", "family", "use", "text"}:
        return None
    whole = value.get("text")
    if whole is not None and words_of(str(whole)) != words_of(" ".join([*given, family])):
        return None
    return [*(Piece("given", words_of(part)) for part in given), Piece("family", words_of(family))]


def _address(value: Mapping[str, Any]) -> list[Piece] | None:
    lines, use = value.get("line"), value.get("use")
    if not isinstance(lines, list) or not lines or not all(isinstance(line, str) for line in lines) or use == "old":
        return None
    if set(value) - _UNSPOKEN - {"line", "city", "state", "postal_code", "country"} or "period" in value:
        return None
    if folded(str(value.get("country", "us"))).strip() not in _HOME_COUNTRY or not isinstance(value.get("city"), str):
        return None
    found = [Piece("street", words_of(line), use) for line in lines]
    for name in ("city", "state", "postal_code"):
        part = value.get(name)
        if part is not None:
            if not isinstance(part, str):
                return None
            found.append(Piece(name, words_of(part), use))
    return found


def _start(value: str) -> list[Piece] | None:
    """A moment on the clock of the place; one in UTC says nothing of what the clock there shows."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if len(value) < 16 or value.endswith("Z") or moment.second:
        return None
    return [Piece("start", moment.strftime("%Y-%m-%dT%H:%M"))]


def _concept(kind: Kind, value: Any) -> list[Piece] | None:
    if isinstance(value, str):
        return [Piece(kind, words_of(value))]
    if not isinstance(value, Mapping):
        return None
    texts = list(_titles(value))
    return None if None in texts else [Piece(kind, words_of(text)) for text in dict.fromkeys(texts) if text]


def _titles(value: Mapping[str, Any]) -> Iterator[str | None]:
    if value.get("text") is not None:
        yield value["text"] if isinstance(value["text"], str) else None
    for coding in value.get("coding") or ():
        display = coding.get("display") if isinstance(coding, Mapping) else None
        yield display if isinstance(display, str) else None


def words_of(text: str) -> str:
    """The words of a text, folded, one space between two."""
    return " ".join(_WORDS.findall(folded(text).replace("'", "")))
