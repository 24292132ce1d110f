"""An invented town of known truth: who lives there, and what two systems say of them, mistakes included.

Households, twins, seniors and juniors, and namesakes come at the rates at which they are found; so do mistakes: most
records are right, and a given name is rarely another one altogether. Names follow a long tail: a few are common, most
are rare. All of it follows from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import accumulate
from typing import Any

Record = tuple[str, str, dict[str, Any]]
"""Source, name of the person, resource."""

TWIN_BIRTHS = 0.031
"""Of births in the United States that are of twins, of all born (CDC, National Vital Statistics Reports)."""
SAME_NAME_SONS = 0.03
_PARENT = 17
"""Years by which a parent is older."""
LANDLINE, MOVED, NEW_PHONE = 0.35, 0.1, 0.1
FAMILY_MAILBOX = 0.0
"""Of households whose members all go by one mailbox; what that does is measured by itself."""
TYPO, SHORT_NAME, OTHER_NAME, MARRIED_NAME, WRONG_DAY = 0.02, 0.04, 0.002, 0.02, 0.01
SHORT = {
    "william": "bill", "robert": "bob", "richard": "rick", "james": "jim", "michael": "mike", "elizabeth": "liz",
    "katherine": "kate", "margaret": "peggy", "thomas": "tom", "joseph": "joe", "daniel": "dan", "jennifer": "jen",
    "christopher": "chris", "patricia": "pat", "steven": "steve", "susan": "sue", "edward": "ed", "anthony": "tony",
}  # fmt: skip
_ONSETS = ("b", "br", "c", "ch", "d", "f", "g", "gr", "h", "j", "k", "kl", "l", "m", "n", "p", "r", "s", "sh", "st",
           "t", "th", "tr", "v", "w", "z")  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ee", "ou")
_ENDS = ("n", "r", "s", "th", "ck", "ll", "m", "rd", "son", "ton", "berg", "man", "ez", "ski", "ley", "ford")
_STREETS = ("Oak", "Maple", "Cedar", "Elm", "Park", "Main", "Hill", "Lake", "River", "Church", "Mill", "Spring", "High")
_KINDS = ("Street", "Avenue", "Road", "Lane", "Drive", "Court")
_AREAS = ("617", "857", "781", "339", "508", "774", "978", "351", "413")


@dataclass(frozen=True, slots=True)
class Person:
    """One of the town. ``mobile`` and ``mailbox`` may be those of a parent."""

    key: str
    given: str
    middle: str
    family: str
    born: date
    sex: str
    home: tuple[str, str, str]
    landline: str
    mobile: str
    mailbox: str
    suffix: str = ""


class Town:
    """Draws people and records of them."""

    def __init__(self, seed: int, family_mailbox: float = FAMILY_MAILBOX) -> None:
        self._shared = family_mailbox
        self._chance = random.Random(seed)
        names = random.Random(f"{seed}:names")
        self._families = _long_tail(names, 20_000, (2, 2, 3), "")
        self._girls = [*_long_tail(names, 1_500, (2, 3), "a")]
        self._boys = [*_long_tail(names, 1_500, (2, 3), "")]
        for place, name in enumerate(SHORT):
            (self._girls if name.endswith(("a", "h", "e", "t", "r", "n")) and place % 2 else self._boys)[place] = name
        self._count = 0
        self._mailboxes: set[str] = set()

    def people(self, number: int) -> Iterator[Person]:
        """At least ``number`` people, household by household."""
        while self._count < number:
            yield from self._household()

    def _household(self) -> list[Person]:
        chance = self._chance
        family, grown = self._name(self._families), chance.randrange(20, 85)
        home = self._home()
        line = self._phone() if chance.random() < LANDLINE else ""
        head = self._person(family, grown, chance.choice("mf"), home, line)
        if chance.random() < 0.3:
            return [head]
        partner = self._person(family, grown, "f" if head.sex == "m" else "m", home, line)
        if chance.random() < 0.25:
            partner = replace(partner, family=self._name(self._families))
        members = [head, partner]
        for _ in range(chance.choice((0, 0, 1, 1, 2, 2, 3)) if grown < 60 else 0):
            members += self._children(members, grown)
        shared = chance.random() < self._shared
        return [replace(m, mailbox=head.mailbox) for m in members] if shared else members

    def _children(self, family: list[Person], grown: int) -> list[Person]:
        """A child of parents of that age, or twins. Nobody gives a child the name of its brother or sister."""
        chance, (head, partner) = self._chance, family[:2]
        age = chance.randrange(0, min(22, max(1, grown - _PARENT)))
        taken = {one.given for one in family}
        child = self._person(head.family, age, chance.choice("mf"), head.home, head.landline, taken)
        if age < 14:
            child = replace(child, mobile=partner.mobile, mailbox="")
        father = head if head.sex == "m" else partner
        named_after = any(one.given == father.given for one in family[2:])
        if child.sex == "m" and not named_after and chance.random() < SAME_NAME_SONS:
            suffix = "Jr" if chance.random() < 0.5 else ""
            return [replace(child, given=father.given, suffix=suffix)]
        if chance.random() >= TWIN_BIRTHS / 2:
            return [child]
        sex = child.sex if chance.random() < 0.65 else chance.choice("mf")
        twin = self._person(head.family, age, sex, head.home, head.landline, taken | {child.given})
        twin = replace(twin, born=child.born)
        return [child, replace(twin, mobile=child.mobile, mailbox=child.mailbox) if age < 14 else twin]

    def _person(
        self, family: str, age: int, sex: str, home: tuple[str, str, str], landline: str, taken: Set[str] = frozenset()
    ) -> Person:
        chance = self._chance
        self._count += 1
        names = self._girls if sex == "f" else self._boys
        given = self._name(names)
        while given in taken:
            given = self._name(names)
        born = date(2026, 1, 1) - timedelta(days=age * 365 + chance.randrange(365))
        form = chance.choice(("{g}.{f}{n}", "{g}{n}", "{i}{f}{n}", "{f}.{g}{n}"))
        mailbox = form.format(g=given, f=family, i=given[0], n=chance.choice(("", str(chance.randrange(100)))))
        mailbox += "@" + chance.choice(("mail.example", "post.example", "inbox.example"))
        while mailbox in self._mailboxes:
            mailbox = f"{given}{chance.randrange(10_000)}@mail.example"
        self._mailboxes.add(mailbox)
        middle = chance.choice("abcdefghjklmnprstvw") if chance.random() < 0.6 else ""
        return Person(
            f"p{self._count}", given, middle, family, born, sex, home, landline, self._phone(), mailbox,
        )  # fmt: skip

    def _name(self, names: list[str]) -> str:
        """The first are the commonest, after Zipf and Mandelbrot."""
        weights = _WEIGHTS.setdefault(len(names), list(accumulate(1 / (rank + 30) for rank in range(len(names)))))
        return self._chance.choices(names, cum_weights=weights)[0]

    def _home(self) -> tuple[str, str, str]:
        chance = self._chance
        street = f"{chance.randrange(1, 400)} {chance.choice(_STREETS)} {chance.choice(_KINDS)}"
        if chance.random() < 0.25:
            street += f" Apt {chance.randrange(1, 80)}"
        area = chance.randrange(120)
        return street, f"Town {area // 4}", f"{2000 + area:05}"

    def _phone(self) -> str:
        return f"{self._chance.choice(_AREAS)}{self._chance.randrange(2_000_000, 9_999_999)}"

    def records(self, person: Person) -> Iterator[Record]:
        """One to four records of a person, at the EHR and in the CRM."""
        chance = self._chance
        for number in range(chance.choices((1, 2, 3, 4), weights=(15, 40, 30, 15))[0]):
            said = self._said(person)
            if chance.random() < 0.55 or not person.mailbox:  # whom a clinic's CRM knows is grown up
                yield "ehr", person.key, _patient(f"{person.key}-{number}", said, chance)
            else:
                yield "crm", person.key, _contact(f"{person.key[1:]}0{number}", said, chance)

    def _said(self, p: Person) -> Person:
        """What is written down of a person on some day."""
        chance = self._chance

        def happens(rate: float) -> bool:
            return chance.random() < rate

        given = SHORT.get(p.given, p.given) if happens(SHORT_NAME * 5) else p.given
        given = self._name(self._girls) if happens(OTHER_NAME) else given
        family = self._name(self._families) if p.sex == "f" and happens(MARRIED_NAME) else p.family
        born = p.born + timedelta(days=chance.choice((-1, 1, 10, 30, 365))) if happens(WRONG_DAY) else p.born
        if happens(WRONG_DAY) and born.day <= 12:
            born = date(born.year, born.day, born.month)
        return replace(
            p,
            given=_mistyped(given, chance) if happens(TYPO) else given,
            family=_mistyped(family, chance) if happens(TYPO) else family,
            born=born,
            home=self._home() if happens(MOVED) else p.home,
            mobile=self._phone() if happens(NEW_PHONE) else p.mobile,
        )


_WEIGHTS: dict[int, list[float]] = {}


def _long_tail(chance: random.Random, number: int, syllables: tuple[int, ...], ending: str) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < number:
        word = "".join(chance.choice(_ONSETS) + chance.choice(_VOWELS) for _ in range(chance.choice(syllables)))
        found.setdefault(word + (ending or chance.choice(_ENDS)))
    return list(found)


def _mistyped(name: str, chance: random.Random) -> str:
    place = chance.randrange(len(name))
    letter = chance.choice("abcdefghijklmnopqrstuvwxyz")
    kind = chance.randrange(3)
    if kind == 0:
        return name[:place] + letter + name[place + 1 :]
    return name[:place] + name[place + 1 :] if kind == 1 and len(name) > 2 else name[:place] + letter + name[place:]


def _patient(number: str, p: Person, chance: random.Random) -> dict[str, Any]:
    numbers = [n for n in (p.mobile if chance.random() < 0.85 else "", p.landline) if n]
    telecom = [{"system": "phone", "value": f"+1{n}"} for n in numbers]
    if p.mailbox and chance.random() < 0.5:
        telecom.append({"system": "email", "value": p.mailbox})
    name: dict[str, Any] = {"family": p.family.title(), "given": [p.given.title(), *([p.middle] if p.middle else [])]}
    found: dict[str, Any] = {"resourceType": "Patient", "id": number, "telecom": telecom}
    found["name"] = [name | ({"suffix": [p.suffix]} if p.suffix else {})]
    if chance.random() < 0.99:
        found["birthDate"] = p.born.isoformat()
    if chance.random() < 0.95:
        found["gender"] = {"f": "female", "m": "male"}[p.sex]
    if chance.random() < 0.9:
        line, city, code = p.home
        found["address"] = [{"line": [line], "city": city, "state": "MA", "postalCode": code}]
    return found


def _contact(number: str, p: Person, chance: random.Random) -> dict[str, Any]:
    said = {"contact_type": "patient", "firstname": p.given.title(), "lastname": p.family.title()}
    said["phone" if chance.random() < 0.7 or not p.landline else "mobilephone"] = p.mobile
    if p.mailbox and chance.random() < 0.75:
        said["email"] = p.mailbox
    if chance.random() < 0.6:
        said["date_of_birth"] = p.born.isoformat()
    if chance.random() < 0.6:
        said |= {"address": p.home[0], "city": p.home[1], "state": "MA", "zip": p.home[2]}
    return {"id": number, "properties": said}


def population(people: int, seed: int, family_mailbox: float = FAMILY_MAILBOX) -> Iterator[Record]:
    """Records of a town of so many people, household by household. Children go by a parent's phone."""
    town = Town(seed, family_mailbox)
    for person in town.people(people):
        yield from town.records(person)
