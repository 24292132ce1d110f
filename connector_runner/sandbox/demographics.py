"""Invented people: households with spouses, children, twins and juniors, and the Patient resource of each."""

from __future__ import annotations

import itertools
import random
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from .fhir_json import Json
from .vocabulary import FAMILIES, FEMALE, LANGUAGES, MALE, RACES, STREET_KINDS, STREETS, TOWNS

_CORE = "http://hl7.org/fhir/us/core/StructureDefinition"
_V2 = "http://terminology.hl7.org/CodeSystem/v2-0203"
MRN_SYSTEM = "https://ehr.sandbox.example/mrn"


@dataclass(frozen=True, slots=True)
class Home:
    """Where a household lives; ``phone`` are the ten digits of its landline."""

    line: str
    city: str
    state: str
    postal_code: str
    area_codes: tuple[str, ...]
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


def _weighted(rng: random.Random, options: Any) -> tuple[str, str]:
    code, display, _ = rng.choices(options, weights=[option[2] for option in options])[0]
    return code, display


def _number(rng: random.Random, area_codes: tuple[str, ...]) -> str:
    return f"{rng.choice(area_codes)}555{rng.randrange(10_000):04d}"


def _home(rng: random.Random) -> Home:
    city, state, prefix, area_codes = rng.choice(TOWNS)
    line = f"{rng.randrange(1, 999)} {rng.choice(STREETS)} {rng.choice(STREET_KINDS)}"
    if rng.random() < 0.3:
        line += f" Apt {rng.randrange(1, 60)}"
    return Home(line, city, state, f"{prefix}{rng.randrange(1, 99):02d}", area_codes, _number(rng, area_codes))


def _household(rng: random.Random, household: int, first: int, today: date) -> list[Person]:
    # The first households hold one of each kind, so that a small population has them too.
    kinds = ("single", "family", "twins", "junior", "couple")
    kind = kinds[household] if household < len(kinds) else rng.choices(kinds, weights=(40, 25, 5, 8, 22))[0]
    home, family = _home(rng), rng.choice(FAMILIES)
    race, hispanic = _weighted(rng, RACES), rng.random() < 0.2
    language = _weighted(rng, LANGUAGES)
    age = rng.randrange(27, 70) if kind != "single" else rng.randrange(19, 92)

    def person(place: int, years: float, gender: str | None = None, **more: Any) -> Person:
        sex = gender or rng.choice(("female", "male"))
        names = FEMALE if sex == "female" else MALE
        given = more.pop("given", None) or tuple(rng.sample(names, 2 if rng.random() < 0.6 else 1))
        birth = more.pop("birth", None) or today - timedelta(days=int(years * 365.25) + rng.randrange(365))
        return Person(
            first + place, new_id(rng), sex, more.pop("family", family), given, birth, home, race, hispanic,
            language, _number(rng, home.area_codes), _email(rng, given[0], family, years), "", **more,
        )  # fmt: skip

    head = person(0, age, married=kind != "single", died=_died(rng, age, today))
    if kind == "single":
        return [replace(head, subscriber=head.id)]
    if kind == "junior":
        head = person(0, max(age, 45), "male", suffix="Sr.", married=True)
        child = person(1, max(age, 45) - 24, "male", given=head.given, suffix="Jr.")
        return [replace(head, subscriber=head.id), replace(child, subscriber=child.id)]
    other = "male" if head.gender == "female" else "female"
    spouse = person(1, age + rng.randrange(-4, 4), other, married=True)
    if spouse.gender == "female" and rng.random() < 0.7:
        spouse = replace(spouse, maiden=rng.choice(FAMILIES))
    members = [head, spouse]
    if kind == "family":
        members += [person(2 + place, rng.uniform(0.5, 17)) for place in range(rng.randrange(1, 4))]
    if kind == "twins":
        one = person(2, rng.uniform(1, 16), twin=1)
        members += [one, person(3, 0, one.gender, birth=one.birth, twin=2)]
    return [replace(member, subscriber=head.id) for member in members]


def _died(rng: random.Random, age: float, today: date) -> date | None:
    return today - timedelta(days=rng.randrange(30, 700)) if age > 75 and rng.random() < 0.3 else None


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return plain.lower().replace("'", "")


def _email(rng: random.Random, given: str, family: str, years: float) -> str | None:
    if years < 14 or rng.random() < 0.25:
        return None
    form = rng.choice(("{g}.{f}", "{g0}{f}", "{g}{f}{n}", "{f}.{g}{n}"))
    name = form.format(g=_ascii(given), g0=_ascii(given)[0], f=_ascii(family), n=rng.randrange(1, 99))
    return f"{name}@{rng.choice(('example.com', 'example.org', 'mail.example.net'))}"


def phone_text(rng: random.Random, digits: str) -> str:
    """The same number as different clerks write it."""
    area, exchange, line = digits[:3], digits[3:6], digits[6:]
    form = rng.choice(("({0}) {1}-{2}", "{0}-{1}-{2}", "+1 {0} {1} {2}", "+1-{0}-{1}-{2}", "{0}.{1}.{2}"))
    return form.format(area, exchange, line)


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
    number = person.number
    # 999 was never issued as the beginning of a social security number.
    serial = f"999-{10 + number // 10_000 % 90:02d}-{number % 10_000:04d}"
    return [
        {
            "use": "usual",
            "type": _concept(_V2, "MR", "Medical Record Number"),
            "system": MRN_SYSTEM,
            "value": f"MRN{100_000 + number}",
        },
        {
            "type": _concept(_V2, "SS", "Social Security Number"),
            "system": "http://hl7.org/fhir/sid/us-ssn",
            "value": serial,
        },
    ]


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
    home = person.home
    return {
        "use": "home",
        "line": [home.line],
        "city": home.city,
        "state": home.state,
        "postalCode": home.postal_code if rng.random() < 0.8 else f"{home.postal_code}-{rng.randrange(1000, 9999)}",
        "country": "US",
    }


def _marital_status(person: Person) -> Json:
    code, display = ("M", "Married") if person.married else ("S", "Never Married")
    return _concept("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", code, display)
