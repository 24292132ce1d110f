"""What identifies a person, read off the state of an entity and made comparable. Junk is no value.

A placeholder (a phone of one digit repeated, ``test@test.com``, 1 January 1900) says nothing of who somebody is,
and must never link two records.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from connector_runner.resolution.names import folded, parts, words

Kind = Literal["patient", "practitioner", "location"]

NPI_SYSTEM: Final = "http://hl7.org/fhir/sid/us-npi"
CANONICAL: Final = "canonical_id"
"""Stands for the system of canonical ids: a record's own, and those that it says are of the same person."""
_SAME_PERSON: Final = frozenset({"replaced-by", "replaces", "seealso"})
"""Patient.link.type values that say so (FHIR R4, link-type); ``refer`` only points to where more is known."""
SSN_SYSTEM: Final = "http://hl7.org/fhir/sid/us-ssn"
_CHART_TYPES: Final = frozenset({"MR", "MRT", "PI", "PT", "AN", "VN"})
"""Types of numbers (HL7 v2, table 0203) that are given to a chart or a stay: one person can have several."""
_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?")
_PLACEHOLDER_DAYS: Final = frozenset(
    {(1900, 0, 0), (1900, 1, 0), (1900, 1, 1), (1901, 1, 1), (1899, 12, 31), (1911, 11, 11), (1970, 1, 1)}
)
_EARLIEST_BIRTH, _LATEST_BIRTH = 1850, 2035
"""Nobody whom a system knows was born before; an unknown date is often one in times to come (2099, 9999)."""
_PLACEHOLDER_BOXES: Final = frozenset(
    {
        "test", "none", "noemail", "nomail", "no", "na", "unknown", "noreply", "donotreply", "patient", "x", "xx",
        "xxx", "refused", "declined", "nobody", "notprovided", "notgiven", "notavailable", "noemailaddress", "email",
        "null", "nil", "fake", "dummy", "asdf", "abc", "anonymous", "placeholder", "unk",
    }
)  # fmt: skip
_PLACEHOLDER_HOSTS: Final = frozenset({"none", "noemail", "nomail", "unknown", "invalid"})
"""First or last part of the name of a host at which nobody has a mailbox."""
_COUNTED: Final = ("01234567890123456789", "98765432109876543210")
"""What is typed where a number is asked for and none is known."""
_DIRECTORY: Final = "5551212"
"""Directory assistance in every area of North America."""
_NO_NUMBERS: Final = frozenset(
    {
        "none", "na", "null", "nil", "unknown", "unk", "pending", "tbd", "refused", "declined", "test", "xxx",
        "notavailable", "notapplicable", "notprovided", "notgiven", "noinsurance", "selfpay", "self",
    }
)  # fmt: skip
_SSN: Final = re.compile(r"(?!000|666)\d{3}(?!00)\d\d(?!0000)\d{4}")
_PLACEHOLDER_NAMES: Final = frozenset(
    {
        ("john", "doe"), ("jane", "doe"), ("baby", "doe"), ("unknown", "doe"), ("john", "roe"), ("jane", "roe"),
        ("max", "mustermann"), ("erika", "mustermann"), ("juan", "delospalotes"), ("fulano", "detal"),
        ("fulana", "detal"), ("sin", "nombre"), ("no", "name"), ("not", "known"), ("n", "n"), ("x", "x"),
        ("n", "a"), ("na", "na"), ("null", "null"), ("not", "available"), ("not", "given"), ("not", "provided"),
    }
)  # fmt: skip
_PLACEHOLDER_WORDS: Final = frozenset(
    folded(word)
    for word in (
        "test", "testing", "tester", "testpatient", "patienttest", "zztest", "zzztest", "ztest", "dummy", "donotuse",
        "mustermann", "unknown", "unk", "unbekannt", "desconocido", "desconocida", "inconnu", "inconnue", "sconosciuto",
        "ignoto", "anonymous", "anonym", "anonyme", "anonimo", "unidentified", "noname", "placeholder", "deleted",
        "none", "tbd", "xxx", "xxxx", "refused", "declined",
        "asdf", "neizvestno", "неизвестно", "неизвестный", "무명", "不明", "無名", "无名氏", "テスト", "测试",
        "試験", "مجهول",
    )
)  # fmt: skip
"""What stands where a name is not known, or where there is no person: tests and strangers, in several languages."""
_NEWBORN: Final = frozenset(
    {
        "baby", "babyboy", "babygirl", "babyof", "boy", "girl", "bb", "bg", "newborn", "infant", "male", "female",
        "bebe", "neonato", "neonata", "neonate", "reciennacido", "reciennacida", "nouveaune", "saugling",
        "neugeborenes", "twin", "twina", "twinb",
    }
)  # fmt: skip
_NUMBER = re.compile(r"\d+")
_EXTENSION = re.compile(r"[;#x]|ext", re.IGNORECASE)
_NOT_ALNUM = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """What is compared of one entity. An empty text, set or None says nothing.

    ``birth`` is (year, month, day), with 0 for what is not known. ``phones`` are ten national digits where the
    number has them, else what there is. ``street`` is without spaces. ``identifiers`` are (system, value);
    ``charts`` are those systems that number charts and not people.
    ``never``: nobody can be told by this name (John Doe, a newborn without one).
    """

    record: str
    kind: Kind
    given: str = ""
    middle: str = ""
    family: str = ""
    family_parts: frozenset[str] = frozenset()
    generation: str = ""
    birth: tuple[int, int, int] | None = None
    sex: str = ""
    phones: frozenset[str] = frozenset()
    emails: frozenset[str] = frozenset()
    street: str = ""
    house: str = ""
    city: str = ""
    region: str = ""
    postal_code: str = ""
    identifiers: frozenset[tuple[str, str]] = frozenset()
    charts: frozenset[str] = frozenset()
    specialties: frozenset[str] = frozenset()
    never: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compare."""
        said = self.given or self.family or self.phones or self.emails or len(self.identifiers) > 1
        return not (said or (self.kind == "location" and self.street))

    @property
    def is_only_phone(self) -> bool:
        """Whether there is a phone and nothing else to tell somebody by."""
        names = self.given or self.family or self.birth
        return bool(self.phones) and not (names or self.emails or self.street or self.postal_code or self.has_numbers)

    @property
    def is_dated(self) -> bool:
        """Whether it says the day of birth."""
        return self.birth is not None and self.birth[2] > 0

    @property
    def has_numbers(self) -> bool:
        """Whether the record has identifiers besides its own canonical id."""
        return len(self.identifiers) > 1


def identity_of(record: str, kind: Kind, state: Mapping[str, Any], canonical: str = "") -> Identity:
    """The identity in the ``state`` of an entity (facts of the world model).

    ``record`` names it in links, and orders them; ``canonical`` is its canonical id, by default the same.
    """
    given, family, generation = _name(state.get("name")) if kind != "location" else _place_name(state.get("name"))
    birth = birth_date(state.get("birth_date"))
    address = _first_dict(state.get("address"))
    line = address.get("line")
    street = folded(" ".join(map(str, line)) if isinstance(line, list) else str(line or ""))
    house = _NUMBER.match(street.strip())
    joined = "".join(family)
    first = given[0] if given else ""
    return Identity(
        record=record,
        kind=kind,
        given=first,
        middle=given[1][0] if len(given) > 1 else "",
        family=joined,
        family_parts=frozenset(family),
        generation=generation,
        birth=birth,
        sex=str(state.get("gender") or "").strip().lower() if state.get("gender") not in ("unknown", "other") else "",
        phones=frozenset(_telecom(state, "phone", phone)) | frozenset(_telecom(state, "sms", phone)),
        emails=frozenset(_telecom(state, "email", mailbox)),
        street=_NOT_ALNUM.sub("", street),
        house=house[0] if house else "",
        city=_NOT_ALNUM.sub("", folded(str(address.get("city") or ""))),
        region=_NOT_ALNUM.sub("", folded(str(address.get("state") or ""))),
        postal_code=re.sub(r"\D", "", str(address.get("postal_code") or ""))[:5],
        identifiers=frozenset((*_identifiers(state), (CANONICAL, canonical or record))),
        charts=frozenset(_systems_of_charts(state)),
        specialties=frozenset(_specialties(state)) if kind == "practitioner" else frozenset(),
        never=kind != "location" and _is_nobody(given, joined),
    )


def _is_nobody(given: list[str], family: str) -> bool:
    first = given[0] if given else ""
    together = "".join(given)
    placeholder = _PLACEHOLDER_WORDS & {first, together, family}
    return bool(placeholder) or (first, family) in _PLACEHOLDER_NAMES or bool(_NEWBORN & {first, together})


def _place_name(value: Any) -> tuple[list[str], list[str], str]:
    """The words of the name of a place, as a family name."""
    return [], words(value) if isinstance(value, str) else [], ""


def _name(value: Any) -> tuple[list[str], list[str], str]:
    """Given names, family names and generation; a whole name in one field is taken apart."""
    name = value if isinstance(value, dict) else {}
    given, one = parts([text for text in name.get("given") or () if isinstance(text, str)])
    family, two = parts([name["family"]] if isinstance(name.get("family"), str) else [])
    _, three = parts([text for text in name.get("suffix") or () if isinstance(text, str)])
    if not given and not family and isinstance(name.get("text"), str):
        given, one = parts([name["text"]])
    if not family and len(given) > 1:
        given, family = given[:-1], given[-1:]
    elif not given and len(family) > 1:
        given, family = family[:1], family[1:]
    return given, family, two or three or one


def birth_date(value: Any) -> tuple[int, int, int] | None:
    """A date of birth, perhaps partial; None for one that cannot be, or that stands for a missing one."""
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    year, month, day = int(found[1]), int(found[2] or 0), int(found[3] or 0)
    if not _EARLIEST_BIRTH <= year <= _LATEST_BIRTH or (year, month, day) in _PLACEHOLDER_DAYS:
        return None
    if not month <= 12 or (month and day > monthrange(year, month)[1]):
        return None
    return year, month, day


def phone(value: str) -> str | None:
    """Ten national digits of a North American number, else its digits; None for a placeholder."""
    digits = re.sub(r"\D", "", _EXTENSION.split(value, 1)[0])
    if len(digits) >= 11 and digits.startswith("1"):
        digits = digits[1:]
    repeated = len(set(digits[-7:])) == 1 or (len(digits) > 7 and len(set(digits)) == 2)
    if len(digits) < 7 or repeated or digits.endswith(_DIRECTORY) or _is_counted(digits):
        return None
    return digits


def _is_counted(digits: str) -> bool:
    return any(digits in counted for counted in _COUNTED)


def mailbox(value: str) -> str | None:
    """An e-mail address without what follows a plus; None for a placeholder."""
    box, at, host = value.strip().lower().rpartition("@")
    box = box.partition("+")[0]
    bare = _NOT_ALNUM.sub("", box)
    if not at or not host or not bare or {bare, bare.rstrip("0123456789")} & _PLACEHOLDER_BOXES:
        return None
    first, *_, last = host.split(".") if "." in host else (host, "")
    if first == box or host == "test.com" or {first, last} & _PLACEHOLDER_HOSTS:
        return None
    return f"{box}@{host}"


def _telecom(state: Mapping[str, Any], system: str, clean: Any) -> Iterable[str]:
    for point in state.get("telecom") or ():
        if isinstance(point, dict) and point.get("system") == system and isinstance(point.get("value"), str):
            cleaned = clean(point["value"])
            if cleaned is not None:
                yield cleaned


def _identifiers(state: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for link in state.get("link") or ():
        other = link.get("other") if isinstance(link, dict) else None
        if isinstance(other, dict) and isinstance(other.get("ref"), str) and link.get("type") in _SAME_PERSON:
            yield CANONICAL, other["ref"]
    for identifier in state.get("identifier") or ():
        if not isinstance(identifier, dict):
            continue
        system, value = identifier.get("system"), identifier.get("value")
        if isinstance(system, str) and isinstance(value, str):
            number = _number(system, value)
            if number and (system != NPI_SYSTEM or is_npi(number)):
                yield system, number


def _systems_of_charts(state: Mapping[str, Any]) -> Iterable[str]:
    for identifier in state.get("identifier") or ():
        if not isinstance(identifier, dict) or identifier.get("type") not in _CHART_TYPES:
            continue
        if isinstance(identifier.get("system"), str):
            yield identifier["system"]


def _number(system: str, value: str) -> str:
    """A business identifier, an SSN as its digits; an empty text for a word or a row of digits in its place.

    An SSN has no part that is all zeros, and does not begin with 666 (Social Security Administration, POMS RM
    10201.035); with some of its digits masked it is none.
    """
    bare = _NOT_ALNUM.sub("", folded(value))
    if len(set(bare)) < 2 or bare in _NO_NUMBERS:
        return ""
    if system == SSN_SYSTEM:
        return bare if _SSN.fullmatch(bare) else ""
    return value.strip()


def is_npi(value: str) -> bool:
    """Whether ``value`` is a well-formed NPI: ten digits, Luhn over 80840 and them (CMS, NPI check digit)."""
    if not re.fullmatch(r"[12]\d{9}", value):
        return False
    total = 0
    for place, digit in enumerate(reversed("80840" + value)):
        number = int(digit) * (2 if place % 2 else 1)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def _specialties(state: Mapping[str, Any]) -> Iterable[str]:
    for qualification in state.get("qualification") or ():
        code = qualification.get("code") if isinstance(qualification, dict) else None
        text = (code.get("display") or code.get("text")) if isinstance(code, dict) else None
        if isinstance(text, str):
            yield " ".join(parts([text])[0])


def _first_dict(value: Any) -> Mapping[str, Any]:
    found = value if isinstance(value, list) else [value]
    return next((item for item in found if isinstance(item, dict)), {})
