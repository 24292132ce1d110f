"""Names as they are compared: folded, without titles, with how they sound and what they are short for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final
from unicodedata import combining, normalize

import yaml

_WORD = re.compile(r"[^\W\d_]+")
_TITLES: Final = frozenset({"mr", "mrs", "ms", "miss", "mx", "dr", "prof", "rev"})
_DEGREES: Final = frozenset({"md", "do", "np", "pa", "rn", "phd", "dds", "dmd", "od"})
_GENERATIONS: Final = frozenset({"jr", "sr", "ii", "iii", "iv"})
_SOUNDS: Final = {
    **dict.fromkeys("bfpv", "1"),
    **dict.fromkeys("cgjkqsxz", "2"),
    **dict.fromkeys("dt", "3"),
    "l": "4",
    **dict.fromkeys("mn", "5"),
    "r": "6",
}

_COMMON_FAMILIES: Final = frozenset(
    [
        "smith",
        "johnson",
        "williams",
        "brown",
        "jones",
        "garcia",
        "miller",
        "davis",
        "rodriguez",
        "martinez",
        "hernandez",
        "lopez",
        "gonzalez",
        "wilson",
        "anderson",
        "thomas",
        "taylor",
        "moore",
        "jackson",
        "martin",
        "lee",
        "perez",
        "thompson",
        "white",
        "harris",
        "sanchez",
        "clark",
        "ramirez",
        "lewis",
        "robinson",
        "walker",
        "young",
        "allen",
        "king",
        "wright",
        "scott",
        "torres",
        "nguyen",
        "hill",
        "flores",
        "green",
        "adams",
        "nelson",
        "baker",
        "hall",
        "rivera",
        "campbell",
        "mitchell",
        "carter",
        "roberts",
        "kim",
        "patel",
    ]
)  # fmt: skip
_COMMON_GIVEN: Final = frozenset(
    [
        "james",
        "robert",
        "john",
        "michael",
        "david",
        "william",
        "richard",
        "joseph",
        "thomas",
        "christopher",
        "charles",
        "daniel",
        "matthew",
        "anthony",
        "mark",
        "steven",
        "andrew",
        "paul",
        "joshua",
        "kenneth",
        "kevin",
        "brian",
        "george",
        "timothy",
        "jose",
        "juan",
        "luis",
        "carlos",
        "mary",
        "patricia",
        "jennifer",
        "linda",
        "elizabeth",
        "barbara",
        "susan",
        "jessica",
        "sarah",
        "karen",
        "lisa",
        "nancy",
        "sandra",
        "ashley",
        "emily",
        "kimberly",
        "margaret",
        "donna",
        "michelle",
        "carol",
        "amanda",
        "melissa",
        "deborah",
        "stephanie",
        "maria",
        "rebecca",
        "laura",
        "anna",
    ]
)  # fmt: skip
"""The commonest names of the United States (Census Bureau 2010 and Social Security Administration, top ranks)."""


def is_common(given: str, family: str) -> bool:
    """Whether a name is so common everywhere that it is, also where few records have been seen yet."""
    return given in _COMMON_GIVEN and family in _COMMON_FAMILIES


def folded(text: str) -> str:
    """Lower case without accents; scripts without either stay as they are."""
    plain = text if text.isascii() else "".join(c for c in normalize("NFKD", text) if not combining(c))
    return plain.casefold()


def words(text: str) -> list[str]:
    """The words of a text, folded; an apostrophe is inside a word, a hyphen is between two."""
    return _WORD.findall(folded(text).replace("'", "").replace("\u2019", ""))


def parts(texts: Sequence[str]) -> tuple[list[str], str]:
    """The words of names without titles, and the generation (``jr``) that stood among them, or an empty text.

    A degree is left out where another word is the name: alone it is one (Do, Pa).
    """
    found = [word for text in texts for word in words(text)]
    generation = next((word for word in found if word in _GENERATIONS), "")
    named = [word for word in found if word not in _TITLES and word not in _GENERATIONS]
    return [word for word in named if word not in _DEGREES] or named[:1], generation


def sound(name: str) -> str:
    """Soundex (US National Archives): the first letter and three digits; another script's first letters."""
    if not name:
        return ""
    if not name.isascii():
        return name[:4]
    code, last = name[0], _SOUNDS.get(name[0], "")
    for letter in name[1:]:
        digit = _SOUNDS.get(letter, "")
        if digit and digit != last:
            code += digit
        if letter not in "hw":
            last = digit
    return (code + "000")[:4]


@cache
def _nicknames() -> Mapping[str, frozenset[int]]:
    content: Any = yaml.safe_load(files(__package__).joinpath("nicknames.yaml").read_text(encoding="utf-8"))
    groups: dict[str, set[int]] = {}
    for number, (name, short) in enumerate(sorted(content.items())):
        for word in (name, *short.split()):
            groups.setdefault(word, set()).add(number)
    return {word: frozenset(numbers) for word, numbers in groups.items()}


def nicknames(name: str) -> frozenset[int]:
    """The numbers of the groups of names that may stand for one another which ``name`` is in."""
    return _nicknames().get(name, frozenset())
