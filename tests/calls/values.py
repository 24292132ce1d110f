"""Invented values, and the ways in which people say them. Seeded: the same number gives the same."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

GIVEN = (
    "Jane",
    "Marcus",
    "Ingrid",
    "Tobias",
    "Leila",
    "Owen",
    "Priya",
    "Hector",
    "Sylvia",
    "Dmitri",
    "Anneke",
    "Rufus",
)
FAMILY = (
    "Quillfeather",
    "Smyth",
    "Okonjo",
    "Varga",
    "Lindqvist",
    "Pereira",
    "Haldane",
    "Brandt",
    "Castellan",
    "Moreau",
)
STREETS = ("Oak Street", "Willow Lane", "Birch Avenue", "Harbor Road", "Mill Drive", "Cedar Court")
CITIES = (
    ("Springfield", "IL", "Illinois"),
    ("Dayton", "OH", "Ohio"),
    ("Salem", "OR", "Oregon"),
    ("Macon", "GA", "Georgia"),
)
ALLERGENS = ("Penicillin", "Latex", "Shellfish", "Sulfa", "Peanuts", "Codeine")
MEDICINES = ("Lisinopril 10 mg", "Metformin 500 mg", "Sertraline 50 mg", "Atorvastatin 20 mg")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = (
    *("ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    *("eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth"),
    *("eighteenth", "nineteenth", "twentieth"),
)


@dataclass(frozen=True)
class Value:
    """A value as an event has it, and as it may be said: ``said`` by a caller, ``read`` by an agent."""

    atom: str
    facts: dict[str, Any]
    said: tuple[str, ...]
    read: tuple[str, ...]


def two(number: int) -> str:
    """A number under a hundred in words."""
    if number < 10:
        return DIGITS[number]
    if number < 20:
        return TEENS[number - 10]
    return TENS[number // 10] + (f" {DIGITS[number % 10]}" if number % 10 else "")


def ordinal(day: int) -> str:
    if day <= 20:
        return ORDINALS[day - 1]
    return "thirtieth" if day == 30 else f"{TENS[day // 10]} {ORDINALS[day % 10 - 1]}"


def year_words(year: int) -> str:
    if year >= 2000:
        return "two thousand" + (f" {two(year - 2000)}" if year > 2000 else "")
    tail = year % 100
    return f"nineteen {'oh ' if tail < 10 else ''}{two(tail)}" if tail else "nineteen hundred"


def phone(random: Random) -> Value:
    area, exchange = random.randrange(210, 990), random.randrange(201, 999)
    digits = f"{area}{exchange}{random.randrange(1000, 9999)}"
    a, b, c = digits[:3], digits[3:6], digits[6:]
    words = [DIGITS[int(d)] for d in digits]
    apart = f"{' '.join(words[:3])}, {' '.join(words[3:6])}, {' '.join(words[6:])}"
    pairs = f"{' '.join(words[:3])} {' '.join(words[3:6])} {pair(c[:2])} {pair(c[2:])}"
    return Value(
        "telecom[phone|mobile]",
        {"telecom": [{"system": "phone", "use": "mobile", "value": f"+1{digits}"}]},
        (f"{a}-{b}-{c}", f"({a}) {b}-{c}", apart, pairs, " ".join(words), f"{a} {b} {c}"),
        (f"{a}-{b}-{c}", apart, f"{a} {b} {c}"),
    )


def pair(digits: str) -> str:
    """Two digits as one number, unless that would be said digit by digit."""
    return two(int(digits)) if digits[0] not in "01" else " ".join(DIGITS[int(d)] for d in digits)


def email(random: Random) -> Value:
    name, tail = random.choice(FAMILY).lower(), str(random.randrange(10, 99))
    first, host = random.choice(GIVEN)[0].lower(), random.choice(("example.org", "mailbox.net", "inbox.com"))
    where, kind = host.split(".")
    value = f"{first}.{name}{tail}@{host}"
    spoken = f"{first} dot {name}{tail} at {where} dot {kind}"
    return Value(
        "telecom[email|home]",
        {"telecom": [{"system": "email", "use": "home", "value": value}]},
        (
            value,
            spoken,
            f"{first} dot {name} {two(int(tail))} at {where} dot {kind}",
        ),
        (value, spoken),
    )


def birth(random: Random) -> Value:
    year, month, day = random.randrange(1931, 2012), random.randrange(1, 13), random.randrange(1, 29)
    name = MONTHS[month - 1]
    said = (
        f"{name} {day}, {year}",
        f"{name} {ordinal(day)}, {year}",
        f"{name} {ordinal(day)} {year_words(year)}",
        f"the {ordinal(day)} of {name} {year_words(year)}",
        f"{month}/{day}/{year}",
        f"{two(month)} {two(day)} {year_words(year)}",
    )
    return Value("birth_date", {"birth_date": f"{year}-{month:02}-{day:02}"}, said, said[:2])


def address(random: Random) -> Value:
    number, street = random.randrange(12, 99), random.choice(STREETS)
    (city, short, state), code = random.choice(CITIES), f"{random.randrange(30000, 97999)}"
    spoken = " ".join(DIGITS[int(d)] for d in code)
    return Value(
        "address[home]",
        {
            "address": [
                {"use": "home", "line": [f"{number} {street}"], "city": city, "state": short, "postal_code": code}
            ]
        },
        (
            f"{number} {street}, {city}, {state} {code}",
            f"{two(number)} {street} in {city}, {state}, {spoken}",
            f"{number} {street}, {city}, {short} {code}",
        ),
        (f"{number} {street}, {city}, {state} {code}",),
    )


def name(random: Random) -> Value:
    given, family = random.choice(GIVEN), random.choice(FAMILY)
    spelled = "-".join(family.upper())
    return Value(
        "name",
        {"name": {"given": [given], "family": family}},
        (f"{given} {family}", f"{given} {family}, that's {spelled}", f"{given.lower()} {family.lower()}"),
        (f"{given} {family}",),
    )


def allergy(random: Random) -> Value:
    text = random.choice(ALLERGENS)
    return Value("code", {"code": {"text": text}}, (text.lower(),), (text.lower(),))


def medicine(random: Random) -> Value:
    text = random.choice(MEDICINES)
    drug, dose, _ = text.split(" ")
    said = (f"{drug.lower()} {dose} milligrams", f"{drug.lower()} {dose} mg")
    return Value("medication", {"medication": {"text": text}}, said, said)


def member_id(random: Random) -> Value:
    letters = "".join(random.choice("BCDFGHJKMNPQRTVWXYZ") for _ in range(3))
    digits = f"{random.randrange(100000, 999999)}"
    spoken = f"{' '.join(letters)} {' '.join(DIGITS[int(d)] for d in digits)}"
    said = (letters + digits, spoken, f"{letters} {digits}")
    return Value("subscriber_id", {"subscriber_id": letters + digits}, said, said)


def start(random: Random) -> Value:
    month, day, hour = random.randrange(4, 10), random.randrange(1, 29), random.randrange(8, 17)
    minute = random.choice((0, 30))
    clock, half = hour if hour <= 12 else hour - 12, "am" if hour < 12 else "pm"
    shown = f"{clock}:{minute:02} {half}" if minute else f"{clock} {half}"
    said = (f"{MONTHS[month - 1]} {ordinal(day)} at {shown}", f"{MONTHS[month - 1]} {day} at {shown}")
    return Value("start", {"start": f"2026-{month:02}-{day:02}T{hour:02}:{minute:02}:00-05:00"}, said, said)
