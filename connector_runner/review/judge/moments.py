"""Dates and times of day as they are said. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from connector_runner.review.judge.speech import Number, Speech, Token

_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
MONTHS: Final[Mapping[str, int]] = {
    **{name: n for n, name in enumerate(_MONTHS, start=1)},
    **{name[:3]: n for n, name in enumerate(_MONTHS, start=1)},
    "sept": 9,
}
_NUMERIC = re.compile(r"(?<![\d/-])(?:(\d{1,2})[/-](\d{1,2})[/-](\d{4}|\d{2})|(\d{4})-(\d{2})-(\d{2}))(?![\d/-])")
_PAST: Final = {("half", "past"): (0, "30"), ("quarter", "past"): (0, "15"), ("quarter", "to"): (1, "45")}
_HALVES: Final = (("morning", "am"), ("afternoon", "pm"), ("evening", "pm"))


@dataclass(frozen=True, slots=True)
class Said:
    """A value found in a turn: ``1980-03-14``, ``--03-14`` where no year was said, ``15:30`` of the clock."""

    value: str
    start: int
    end: int
    turn: int


def dates(speech: Speech) -> Iterator[Said]:
    """Every date that was said, whoever said it; in numbers alone the month comes first, as in the United States."""
    for turn, tokens in enumerate(speech.tokens):
        numbers = {number.first: number for run in speech.runs[turn] for number in run}
        named = list(_named(tokens, numbers, turn))
        yield from named
        place = speech.turns[turn]
        for found in _NUMERIC.finditer(speech.text, place.start, place.end):
            year, month, day = (found[4], found[5], found[6]) if found[4] else (found[3], found[1], found[2])
            value = _date(_full_year(year), int(month), int(day))
            if value is not None:
                yield Said(value, found.start(), found.end(), turn)
        ends = [said.end for said in named]
        for run in speech.runs[turn]:
            at = bisect_right(ends, run[0].start)
            if at == len(named) or named[at].start >= run[-1].end:
                yield from _in_numbers(run, turn)


def _full_year(digits: str) -> int | None:
    """Of two digits only those that nobody takes for this century."""
    if len(digits) == 4:
        return int(digits)
    return 1900 + int(digits) if len(digits) == 2 and digits >= "30" else None


def _date(year: int | None, month: int, day: int) -> str | None:
    try:
        date(year or 2000, month, day)
    except ValueError:
        return None
    return f"{'-' if year is None else year}-{month:02}-{day:02}"


def _named(tokens: Sequence[Token], numbers: Mapping[int, Number], turn: int) -> Iterator[Said]:
    lasts = {number.last: number for number in numbers.values()}
    for at, token in enumerate(tokens):
        month = MONTHS.get(token.word)
        if month is None:
            continue
        after = _skip(tokens, at + 1, (",", ".", "the"))
        day = numbers.get(after)
        of = at > 0 and tokens[at - 1].word == "of" and _before(tokens, lasts, at) is not None
        if (
            not of
            and day is not None
            and len(day.digits) <= 2
            and (token.word != "may" or after == at + 1 or day.ordinal)
        ):
            start, end, following = token.start, day.end, day.last + 1
        else:
            day = _before(tokens, lasts, at)
            if day is None or len(day.digits) > 2:
                continue
            start, end, following = day.start, token.end, at + 1
        following = _skip(tokens, _skip(tokens, following, (",", "of", "in", ".")), ("'",))
        year, end = _year(numbers, following, end)
        value = _date(year, month, int(day.digits))
        if value is not None:
            yield Said(value, start, end, turn)


def _skip(tokens: Sequence[Token], at: int, words: Sequence[str]) -> int:
    return at + 1 if at < len(tokens) and tokens[at].word in words else at


def _before(tokens: Sequence[Token], lasts: Mapping[int, Number], month: int) -> Number | None:
    at = month - 1
    if at >= 0 and tokens[at].word == "of":
        at -= 1
    return lasts.get(at)


def _year(numbers: Mapping[int, Number], at: int, end: int) -> tuple[int | None, int]:
    first = numbers.get(at)
    if first is None or first.ordinal:
        return None, end
    if len(first.digits) == 4:
        return int(first.digits), first.end
    second = numbers.get(first.last + 1) or numbers.get(first.last + 2)
    if first.digits in ("18", "19", "20") and second is not None:
        if len(second.digits) == 2:
            return int(first.digits + second.digits), second.end
        third = numbers.get(second.last + 1)
        if second.digits == "0" and third is not None and len(third.digits) == 1:
            return int(f"{first.digits}0{third.digits}"), third.end
    year = _full_year(first.digits)
    return (None, end) if year is None else (year, first.end)


def _in_numbers(run: Sequence[Number], turn: int) -> Iterator[Said]:
    """``three fourteen nineteen eighty``: month, day and year with nothing else in the run."""
    groups = [number.digits for number in run]
    while "0" in groups[:-1]:
        at = groups.index("0")
        if len(groups[at + 1]) != 1:
            return
        groups[at : at + 2] = ["0" + groups[at + 1]]
    if len(groups) == 4 and groups[2] in ("19", "20") and len(groups[3]) == 2:
        groups[2:] = [groups[2] + groups[3]]
    if len(groups) != 3 or len(groups[2]) not in (2, 4) or max(map(len, groups[:2])) > 2:
        return
    value = _date(_full_year(groups[2]), int(groups[0]), int(groups[1]))
    if value is not None and not value.startswith("--"):
        yield Said(value, run[0].start, run[-1].end, turn)


def times(speech: Speech) -> Iterator[Said]:
    """Every time of day: ``15:30``, or ``3:30`` with a ``?`` where neither half of the day was named."""
    for turn, tokens in enumerate(speech.tokens):
        numbers = {number.first: number for run in speech.runs[turn] for number in run}
        for at, token in enumerate(tokens):
            if token.word == "noon":
                yield Said("12:00", token.start, token.end, turn)
            hour = numbers.get(at)
            if hour is not None and not hour.ordinal and 1 <= int(hour.digits) <= 12 and len(hour.digits) <= 2:
                found = _past(tokens, hour, turn) or _time(tokens, numbers, hour, turn)
                if found is not None:
                    yield found


def _past(tokens: Sequence[Token], hour: Number, turn: int) -> Said | None:
    """``half past ten``, ``a quarter to three in the afternoon``."""
    at = hour.first
    before = tuple(token.word for token in tokens[max(at - 2, 0) : at])
    if before not in _PAST:
        return None
    back, minutes = _PAST[before]
    half, last = _half(tokens, hour.last + 1)
    value = int(hour.digits) - back or 12
    start, end = tokens[at - 2].start, tokens[last].end if half else hour.end
    if half is None:
        return Said(f"{value}:{minutes}?", start, end, turn)
    return Said(f"{value % 12 + (12 if half == 'pm' else 0):02}:{minutes}", start, end, turn)


def _time(tokens: Sequence[Token], numbers: Mapping[int, Number], hour: Number, turn: int) -> Said | None:
    at, minutes, end = hour.last + 1, "00", hour.end
    colon = at < len(tokens) and tokens[at].word == ":"
    minute = numbers.get(at + 1 if colon else at)
    if minute is not None and len(minute.digits) == 2 and int(minute.digits) < 60:
        at, minutes, end = minute.last + 1, minute.digits, minute.end
    elif colon:
        return None
    half, last = _half(tokens, at)
    clock = at < len(tokens) and tokens[at].word == "o'clock"
    if half is None and clock:
        half, last = _half(tokens, at + 1)
        last = last or at
    if half is None and not clock and not colon:
        return None
    end = tokens[last].end if last else end
    value = int(hour.digits)
    if half is None:
        return Said(f"{value}:{minutes}?", hour.start, end, turn)
    return Said(f"{value % 12 + (12 if half == 'pm' else 0):02}:{minutes}", hour.start, end, turn)


def _half(tokens: Sequence[Token], at: int) -> tuple[str | None, int]:
    words = [token.word for token in tokens[at : at + 4]]
    if words[:1] in (["am"], ["pm"]):
        return words[0], at
    if words[:3] in (["a", ".", "m"], ["p", ".", "m"]):
        return words[0] + "m", at + 2
    if words[:2] in (["a", "m"], ["p", "m"]):
        return words[0] + "m", at + 1
    for name, half in _HALVES:
        if words[:3] == ["in", "the", name]:
            return half, at + 2
    return None, 0


def same_time(said: str, hour: int, minute: int) -> bool:
    """Whether what was said means this time; without a half of the day, the one that clinics are open in."""
    if not said.endswith("?"):
        return said == f"{hour:02}:{minute:02}"
    named, minutes = said[:-1].split(":")
    return int(minutes) == minute and int(named) % 12 == hour % 12 and 8 <= hour <= 18
