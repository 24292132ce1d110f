"""Spoken English made readable: sentences, words, and numbers however they were said. Pure.

Every form keeps the length of the text, so that a place in it is the same place in the material.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from unicodedata import normalize

from connector_runner.review.transcript import Material, Turn

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]|_")
_BREAK = re.compile(r"[.?!\u2026]+(?=[\s\"')\]]|$)|\n")
_ABBREVIATED = re.compile(r"(?:^|[\s.(])(?:dr|mr|mrs|ms|st|ave|blvd|rd|apt|ste|no|jr|sr|vs|[a-z])$")


def _counted(words: str, start: int, step: int = 1) -> dict[str, int]:
    return {word: start + step * n for n, word in enumerate(words.split())}


_UNITS: Final = _counted(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen",
    0,
)
_TENS: Final = _counted("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10)
_ORDINALS: Final = _counted(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth"
    " sixteenth seventeenth eighteenth nineteenth twentieth",
    1,
) | {"thirtieth": 30}
NUMBER_WORDS: Final = frozenset({*_UNITS, *_TENS, *_ORDINALS, "oh", "o", "double", "triple", "hundred", "thousand"})
_REPEATED: Final = {"double": 2, "triple": 3}
_BETWEEN: Final = frozenset({"-", ".", ",", "(", ")", "/", "um", "uh", "er", "ah", "dash", "hyphen", "space", "\u2013"})
_NUMERAL = re.compile(r"(\d{1,20})(st|nd|rd|th)?")


@dataclass(frozen=True, slots=True)
class Token:
    """A word or a mark of punctuation, in lower case without accents."""

    word: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Number:
    """One number as it was said (``fifty five`` is one): its digits, and whether it was said as an ordinal."""

    digits: str
    start: int
    end: int
    first: int
    last: int
    """Tokens that it was said with."""
    ordinal: bool = False


@dataclass(frozen=True, slots=True)
class Sentence:
    """Characters ``start`` up to ``end`` of turn number ``turn``."""

    start: int
    end: int
    turn: int
    asks: bool


@dataclass(frozen=True, slots=True)
class Speech:
    """A conversation, read. ``text`` is the material's, folded; ``tokens`` and ``runs`` are by turn.

    ``runs`` are numbers that follow one another with nothing said between them.
    """

    material: Material
    text: str
    sentences: tuple[Sentence, ...]
    tokens: tuple[tuple[Token, ...], ...]
    runs: tuple[tuple[tuple[Number, ...], ...], ...]

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Who said what from where to where."""
        return self.material.turns

    def speaker(self, turn: int) -> str:
        """Who speaks in a turn."""
        return self.material.turns[turn].speaker

    def sentence_at(self, place: int) -> int:
        """The number of the sentence that a place is in."""
        return max(bisect_right(self.sentences, place, key=lambda sentence: sentence.start) - 1, 0)


def folded(text: str) -> str:
    """Lower case without accents, character by character."""
    if text.isascii():
        return text.lower()
    return "".join(_plain(character) for character in text)


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    if character in "\u2019\u2018\u02bc":
        return "'"
    if character in "\u2014\u2013":
        return "-"
    lowered = normalize("NFKD", character)[0].lower()
    return lowered if len(lowered) == 1 else character


def read(material: Material) -> Speech:
    """Read a conversation."""
    text = folded(material.text)
    sentences = tuple(s for n, turn in enumerate(material.turns) for s in _sentences(text, turn, n))
    tokens = tuple(tuple(tokens_of(text, turn.start, turn.end)) for turn in material.turns)
    return Speech(material, text, sentences, tokens, tuple(tuple(runs_of(found)) for found in tokens))


def tokens_of(text: str, start: int, end: int) -> Iterator[Token]:
    """The words and marks of a part of a folded text."""
    for found in _WORD.finditer(text, start, end):
        yield Token(found[0], found.start(), found.end())


def _sentences(text: str, turn: Turn, number: int) -> Iterator[Sentence]:
    start = turn.start
    for found in _BREAK.finditer(text, turn.start, turn.end):
        if found[0] == "." and (_ABBREVIATED.search(text, max(start, found.start() - 6), found.start())
                                or _within_number(text, found.start(), turn.end)):  # fmt: skip
            continue
        if text[start : found.start()].strip():
            yield Sentence(start, found.end(), number, "?" in found[0])
        start = found.end()
    if text[start : turn.end].strip():
        yield Sentence(start, turn.end, number, asks=False)


def _within_number(text: str, dot: int, end: int) -> bool:
    after = text[dot + 1 : min(dot + 3, end)].strip()
    return dot > 0 and text[dot - 1].isdigit() and after[:1].isdigit()


def runs_of(tokens: Sequence[Token]) -> Iterator[tuple[Number, ...]]:
    """Numbers that follow one another."""
    run: list[Number] = []
    at = 0
    while at < len(tokens):
        found = _number(tokens, at)
        if found is not None:
            run.append(found)
            at = found.last + 1
            continue
        if not run or tokens[at].word not in _BETWEEN:
            if run:
                yield tuple(run)
            run = []
        at += 1
    if run:
        yield tuple(run)


def _number(tokens: Sequence[Token], at: int) -> Number | None:
    token = tokens[at]
    word = token.word
    if word[0].isdigit():
        numeral = _NUMERAL.fullmatch(word)
        if numeral is None:
            return None
        return Number(numeral[1], token.start, token.end, at, at, ordinal=numeral[2] is not None)
    if word in _REPEATED and at + 1 < len(tokens) and (unit := _digit(tokens[at + 1].word)) is not None:
        return Number(unit * _REPEATED[word], token.start, tokens[at + 1].end, at, at + 1)
    if word in ("oh", "o") and _beside_number(tokens, at):
        return Number("0", token.start, token.end, at, at)
    value, last, ordinal = _below_hundred(tokens, at)
    if value is None:
        return None
    if not ordinal:
        value, last, ordinal = _with_scale(tokens, value, last)
    return Number(str(value), token.start, tokens[last].end, at, last, ordinal)


def _digit(word: str) -> str | None:
    if word in ("oh", "o"):
        return "0"
    value = _UNITS.get(word)
    if value is not None and value < 10:
        return str(value)
    return word if len(word) == 1 and word.isdigit() else None


def _beside_number(tokens: Sequence[Token], at: int) -> bool:
    left, right = at - 1, at + 1
    if left > 0 and tokens[left].word == "-" and right + 1 < len(tokens) and tokens[right].word == "-":
        left, right = left - 1, right + 1  # five-oh-three
    near = [tokens[i].word for i in (left, right) if 0 <= i < len(tokens)]
    # A numeral of several digits is no neighbour of a spoken zero: "Dayton, OH 45402".
    return any(
        (word[0].isdigit() and len(word) == 1) or word in _UNITS or word in _TENS or word in ("oh", "o")
        for word in near
    )


def _below_hundred(tokens: Sequence[Token], at: int) -> tuple[int | None, int, bool]:
    word = tokens[at].word
    if word in _ORDINALS and word != "second":
        return _ORDINALS[word], at, True
    if word == "second":
        return (2, at, True) if at and tokens[at - 1].word != "a" else (None, at, False)
    if word in _UNITS:
        return _UNITS[word], at, False
    if word not in _TENS:
        return None, at, False
    after = at + 1
    if after + 1 < len(tokens) and tokens[after].word == "-":
        after += 1
    if after < len(tokens):
        unit = _UNITS.get(tokens[after].word, 0)
        if 0 < unit < 10:
            return _TENS[word] + unit, after, False
        ordinal = _ORDINALS.get(tokens[after].word, 0)
        if 0 < ordinal < 10:
            return _TENS[word] + ordinal, after, True
    return _TENS[word], at, False


def _with_scale(tokens: Sequence[Token], value: int, last: int) -> tuple[int, int, bool]:
    for name, scale in (("thousand", 1000), ("hundred", 100)):
        if last + 1 < len(tokens) and tokens[last + 1].word == name:
            value, last = value * scale, last + 1
            after = last + 1
            if after < len(tokens) and tokens[after].word == "and":
                after += 1
            if after < len(tokens):
                more, end, ordinal = _below_hundred(tokens, after)
                # "eight hundred five five five" is no 805: a lone digit that others follow is one of theirs.
                alone = scale == 1000 or not more or more > 9 or not _goes_on(tokens, end)
                if more and alone:
                    return value + more, end, ordinal
    return value, last, False


def _goes_on(tokens: Sequence[Token], last: int) -> bool:
    after = last + 1
    while after < len(tokens) and tokens[after].word in _BETWEEN:
        after += 1
    return after < len(tokens) and (tokens[after].word[0].isdigit() or tokens[after].word in NUMBER_WORDS)
