"""Invented people: households with spouses, children, twins and juniors, and the Patient resource of each."""

from __future__ import annotations

import itertools
import random
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final

from .addresses import Address, dwelling, phone_digits, phone_text
from .chances import Weighted
from .fhir_json import Json
from .names import family_name, given_names
from .vocabulary import LANGUAGES, RACES

_CORE = "http://hl7.org/fhir/us/core/StructureDefinition"
_V2 = "http://terminology.hl7.org/CodeSystem/v2-0203"
MRN_SYSTEM = "https://ehr.sandbox.example/mrn"
_KINDS: Final = Weighted(("single", "family", "twins", "junior", "couple"), (40, 25, 5, 8, 22))
_RACES: Final = Weighted([race[:2] for race in RACES], [race[2] for race in RACES])
_LANGUAGES: Final = Weighted([language[:2] for language in LANGUAGES], [language[2] for language in LANGUAGES])
# The middle digits of social security numbers; and what spreads numbers that follow one another (prime to all of them).
_GROUPS: Final = (*range(1, 50), *range(66, 70), 89)
_SCATTER: Final = 33_370_499
# Reserved for examples (RFC 2606): nobody has a mailbox there.
_MAIL_HOSTS: Final = (
    *(f"{place}example.{end}" for place in ("", "mail.", "home.", "my.", "web.") for end in ("com", "net", "org")),
    *(f"{name}.example" for name in ("bluemail", "fastpost", "inbox", "letters", "mailhouse", "netbox", "swiftmail")),
)
_NOT_IN_MAILBOXES: Final = str.maketrans("", "", "' ")


@dataclass(frozen=True, slots=True)
class Home:
    """Where a household lives; ``phone`` are the ten digits of its landline."""

    address: Address
    phone: str


@dataclass(frozen=True, slots=True)
class Person:
    """One patient. ``number`` counts all people of a seed; ``subscriber`` is the id of who holds the plan."""

    number: int
    id: str
    gender: str
    family: str
    given: tuple[str, ...]
    birth: date
    home: Home
    race: tuple[str, str]
    hispanic: bool
    language: tuple[str, str]
    mobile: str
    email: str | None
    subscriber: str
    suffix: str | None = None
    maiden: str | None = None
    married: bool = False
    twin: int | None = None
    died: date | None = None


def new_id(rng: random.Random) -> str:
    """A UUID that depends on ``rng`` alone."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def people(seed: int, today: date) -> Iterator[Person]:
    """People without end, the same for the same ``seed`` and ``today``."""
    number = 0
    for household in itertools.count():
        rng = random.Random(f"{seed}:household:{household}")
        for person in _household(rng, household, number, today):
            yield person
            number += 1


def _household(rng: random.Random, household: int, first: int, today: date) -> list[Person]:
    # The first households hold one of each kind, so that a small population has them too.
    kind = _KINDS.options[household] if household < len(_KINDS.options) else _KINDS.draw(rng)
    home, family = Home(dwelling(rng), phone_digits(rng)), family_name(rng)
    race, hispanic, language = _RACES.draw(rng), rng.random() < 0.2, _LANGUAGES.draw(rng)
    age = rng.randrange(27, 70) if kind != "single" else rng.randrange(19, 92)
    members: list[Person] = []

    def person(years: float, gender: str | None = None, **more: Any) -> Person:
        sex, number = gender or rng.choice(("female", "male")), new_id(rng)
        given = more.pop("given", None) or given_names(rng, sex, {member.given[0] for member in members})
        birth = more.pop("birth", None) or today - timedelta(days=int(years * 365.25) + rng.randrange(365))
        holder = members[0].id if members and "suffix" not in more else number
        members.append(Person(
            first + len(members), number, sex, family, given, birth, home, race, hispanic, language,
            phone_digits(rng), _email(rng, given[0], family, years), holder, **more,
        ))  # fmt: skip
        return members[-1]

    if kind == "junior":
        senior = person(max(age, 45), "male", suffix="Sr.", married=True)
        person(max(age, 45) - 24, "male", given=senior.given, suffix="Jr.")
        return members
    head = person(age, married=kind != "single", died=_died(rng, age, today))
    if kind == "single":
        return members
    other = "male" if head.gender == "female" else "female"
    maiden = family_name(rng) if other == "female" and rng.random() < 0.7 else None
    person(age + rng.randrange(-4, 4), other, married=True, maiden=maiden)
    if kind == "family":
        for _ in range(rng.randrange(1, 4)):
            person(rng.uniform(0.5, 17))
    if kind == "twins":
        one = person(rng.uniform(1, 16), twin=1)
        person(0, one.gender, birth=one.birth, twin=2)
    return members


def _died(rng: random.Random, age: float, today: date) -> date | None:
    return today - timedelta(days=rng.randrange(30, 700)) if age > 75 and rng.random() < 0.3 else None


@lru_cache(maxsize=65_536)
def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return plain.lower().translate(_NOT_IN_MAILBOXES)


def _email(rng: random.Random, given: str, family: str, years: float) -> str | None:
    if years < 14 or rng.random() < 0.25:
        return None
    # Most names are taken already, so that few go without a number.
    digits = rng.randrange(5)
    number = rng.randrange(10**digits) if digits else ""
    first, last = _ascii(given), _ascii(family)
    form = rng.randrange(4 if digits else 2)
    name = (f"{first}.{last}", f"{last}.{first}", f"{first[0]}{last}", f"{first}{last}")[form]
    return f"{name}{number}@{rng.choice(_MAIL_HOSTS)}"


def patient(person: Person, organization: str, practitioner: str) -> Json:
    """The Patient resource; the references are ids of the clinic and the doctor."""
    rng = random.Random(person.number)
    resource: Json = {
        "resourceType": "Patient",
        "id": person.id,
        "meta": {"profile": [f"{_CORE}/us-core-patient"]},
        "extension": _extensions(person),
        "identifier": _identifiers(person),
        "active": True,
        "name": _names(person),
        "telecom": _telecom(rng, person),
        "gender": person.gender,
        "birthDate": person.birth.isoformat(),
        "address": [_address(person, rng)],
        "maritalStatus": _marital_status(person),
        "communication": [{"language": _concept("urn:ietf:bcp:47", *person.language), "preferred": True}],
        "generalPractitioner": [{"reference": f"Practitioner/{practitioner}"}],
        "managingOrganization": {"reference": f"Organization/{organization}"},
    }
    if person.died:
        resource["deceasedDateTime"] = f"{person.died.isoformat()}T08:15:00+00:00"
    if person.twin:
        resource["multipleBirthInteger"] = person.twin
    else:
        resource["multipleBirthBoolean"] = False
    return resource


def _concept(system: str, code: str, display: str) -> Json:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def _extensions(person: Person) -> list[Json]:
    omb = "urn:oid:2.16.840.1.113883.6.238"
    code, display = person.race
    ethnicity = ("2135-2", "Hispanic or Latino") if person.hispanic else ("2186-5", "Not Hispanic or Latino")
    parts = (("us-core-race", code, display), ("us-core-ethnicity", *ethnicity))
    extensions: list[Json] = [
        {
            "url": f"{_CORE}/{name}",
            "extension": [
                {"url": "ombCategory", "valueCoding": {"system": omb, "code": value, "display": text}},
                {"url": "text", "valueString": text},
            ],
        }
        for name, value, text in parts
    ]
    extensions.append({"url": f"{_CORE}/us-core-birthsex", "valueCode": "F" if person.gender == "female" else "M"})
    return extensions


def _identifiers(person: Person) -> list[Json]:
    return [
        {
            "use": "usual",
            "type": _concept(_V2, "MR", "Medical Record Number"),
            "system": MRN_SYSTEM,
            "value": f"MRN{100_000 + person.number}",
        },
        {
            "type": _concept(_V2, "SS", "Social Security Number"),
            "system": "http://hl7.org/fhir/sid/us-ssn",
            "value": _social_security_number(person.number),
        },
    ]


def _social_security_number(number: int) -> str:
    """One that was never issued: none begins with 9. It comes again after 53,994,600 people.

    Nor is it an individual's or adopted child's tax number, which have other middle digits (IRS, Publication 1915).
    """
    area, rest = divmod(number * _SCATTER % (100 * len(_GROUPS) * 9_999), len(_GROUPS) * 9_999)
    group, serial = divmod(rest, 9_999)
    return f"9{area:02d}-{_GROUPS[group]:02d}-{serial + 1:04d}"


def _names(person: Person) -> list[Json]:
    official: Json = {"use": "official", "family": person.family, "given": list(person.given)}
    if person.birth.year < 2008:
        official["prefix"] = ["Mr." if person.gender == "male" else "Mrs." if person.married else "Ms."]
    if person.suffix:
        official["suffix"] = [person.suffix]
    names = [official]
    if person.maiden:
        names.append({"use": "maiden", "family": person.maiden, "given": list(person.given)})
    return names


def _telecom(rng: random.Random, person: Person) -> list[Json]:
    points: list[Json] = [{"system": "phone", "value": phone_text(rng, person.home.phone), "use": "home"}]
    if person.email or person.birth.year < 2010:
        points.append({"system": "phone", "value": phone_text(rng, person.mobile), "use": "mobile"})
    if person.email:
        points.append({"system": "email", "value": person.email, "use": "home"})
    return points


def _address(person: Person, rng: random.Random) -> Json:
    address = {"use": "home", **person.home.address.resource()}
    if rng.random() >= 0.8:
        address["postalCode"] += f"-{rng.randrange(1000, 9999)}"
    return address


def _marital_status(person: Person) -> Json:
    code, display = ("M", "Married") if person.married else ("S", "Never Married")
    return _concept("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", code, display)
