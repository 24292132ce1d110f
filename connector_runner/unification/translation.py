"""A system's own words to codes of a vocabulary, by rules alone: as written, normalised, or alike enough.

Deterministic and pure: the same text and vocabulary always give the same answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from connector_runner.unification.vocabularies import Vocabulary, normalised

Method = Literal["exact", "normalised", "fuzzy"]
FEWEST_LETTERS: Final = 5
"""Shorter texts are never matched by likeness: abbreviations that differ by a letter differ in meaning."""
MARGIN: Final = 0.05
"""So much more alike than the next code the best one has to be."""
MOST_CANDIDATES: Final = 5

_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_DENIALS: Final = frozenset({"no", "not", "non", "never", "without", "nor", "none", "denies", "ohne", "sin"})
# Words that are alike and mean the opposite, or another thing altogether.
_OPPOSITES: Final = (
    ("hypo", "hyper"), ("pre", "post"), ("intra", "inter"), ("left", "right"), ("male", "female"), ("ante", "anti"),
    ("married", "unmarried"), ("in", "out"), ("before", "after"), ("twice", "thrice"), ("new", "renew"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """A code that a text might mean; ``score`` is its likeness, 0 to 1."""

    code: str
    score: float


@dataclass(frozen=True, slots=True)
class Translated:
    """The code that a text means and how that was found; ``score`` is 1 unless by likeness."""

    code: str
    method: Method
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Untranslated:
    """No code for certain; the likeliest ones for a person to choose from, best first."""

    candidates: tuple[Candidate, ...] = ()


def translate(text: str, vocabulary: Vocabulary, fuzzy: float | None = None) -> Translated | Untranslated:
    """The code that ``text`` means. ``fuzzy``: the least likeness (0 to 1) that is enough, None for none.

    A likeness counts only where numbers are the same, nothing is denied or opposed, and no other code comes near.
    """
    code = vocabulary.words.get(text)
    if code is not None:
        return Translated(code, "exact")
    folded = normalised(text)
    code = vocabulary.folded.get(folded)
    if code is not None:
        return Translated(code, "normalised")
    if not folded:
        return Untranslated()
    ranked = _ranked(folded, vocabulary)
    best = ranked[0] if ranked else None
    if fuzzy is None or best is None or best[0].score < fuzzy or len(folded.replace(" ", "")) < FEWEST_LETTERS:
        return Untranslated(tuple(candidate for candidate, _ in ranked))
    rival = next((candidate for candidate, word in ranked[1:] if _agrees(folded, word)), None)
    alone = rival is None or rival.score < min(fuzzy, best[0].score - MARGIN)
    if alone and _agrees(folded, best[1]):
        return Translated(best[0].code, "fuzzy", best[0].score)
    return Untranslated(tuple(candidate for candidate, _ in ranked))


def _ranked(folded: str, vocabulary: Vocabulary) -> list[tuple[Candidate, str]]:
    """The best word of each code, most alike first; equal ones in the order of their codes."""
    from rapidfuzz import fuzz

    best: dict[str, tuple[float, str]] = {}
    turned = " ".join(sorted(folded.split()))
    for word, code in vocabulary.folded.items():
        score = max(fuzz.ratio(folded, word), fuzz.ratio(turned, " ".join(sorted(word.split())))) / 100
        if (score, word) > best.get(code, (0.0, "")):
            best[code] = (score, word)
    found = [(Candidate(code, round(score, 4)), word) for code, (score, word) in best.items() if score > 0]
    found.sort(key=lambda item: (-item[0].score, item[0].code))
    return found[:MOST_CANDIDATES]


def _agrees(one: str, other: str) -> bool:
    """Whether two texts that are alike do not contradict each other."""
    if sorted(_NUMBER.findall(one)) != sorted(_NUMBER.findall(other)):
        return False
    first, second = set(one.split()), set(other.split())
    if first & _DENIALS != second & _DENIALS:
        return False
    only_first, only_second = first - second, second - first
    return not any(_opposed(a, b) for a in only_first for b in only_second)


def _opposed(one: str, other: str) -> bool:
    for first, second in _OPPOSITES:
        for a, b in ((one, other), (other, one)):
            if a.startswith(first) and b.startswith(second) and a[len(first) :] == b[len(second) :]:
                return True
    return one in (f"un{other}", f"non{other}", f"in{other}") or other in (f"un{one}", f"non{one}", f"in{one}")


def texts_of(said: Any) -> tuple[str, ...]:
    """What a text or the fact of a code says in words, the most telling first; its bare code comes last."""
    if type(said) is str:
        return (said,) if said.strip() else ()
    if type(said) is not dict:
        return ()
    found = [said.get(key) for key in ("display", "text", "code")]
    return tuple(dict.fromkeys(text for text in found if type(text) is str and text.strip()))


def is_of(said: Any, vocabulary: Vocabulary) -> bool:
    """Whether a text or the fact of a code is a code of the vocabulary as it stands."""
    code = said.get("code") if type(said) is dict else said
    if type(code) is not str or code not in vocabulary.displays:
        return False
    return type(said) is str or said.get("system") == vocabulary.system_of(code)


def translate_fact(said: Any, vocabulary: Vocabulary, fuzzy: float | None) -> Translated | Untranslated:
    """The code of a text or of the fact of a code: its own where it is of the vocabulary, else by its words.

    A code of another system says nothing here but by what it is called, unless the vocabulary lists it as a word.
    """
    if type(said) is dict:
        listed = said.get("codings")
        for coded in (said, *(listed if type(listed) is list else ())):
            if is_of(coded, vocabulary):
                return Translated(coded["code"], "exact")
    answers: list[Translated] = []
    missed: list[Candidate] = []
    for text in texts_of(said):
        answer = translate(text, vocabulary, None if type(said) is dict and text == said.get("code") else fuzzy)
        if isinstance(answer, Translated):
            answers.append(answer)
        else:
            missed += answer.candidates
    sure = [answer for answer in answers if answer.method != "fuzzy"] or answers
    if len({answer.code for answer in sure}) == 1:
        return sure[0]
    # Nothing, or its words contradict each other.
    best: dict[str, Candidate] = {}
    for candidate in (*(Candidate(answer.code, answer.score) for answer in sure), *missed):
        held = best.get(candidate.code)
        best[candidate.code] = candidate if held is None or held.score < candidate.score else held
    ranked = sorted(best.values(), key=lambda candidate: (-candidate.score, candidate.code))
    return Untranslated(tuple(ranked[:MOST_CANDIDATES]))
