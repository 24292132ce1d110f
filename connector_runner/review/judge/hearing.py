"""Where a value is said, in whatever form; and where another of its kind is. Pure: places, not yet their worth."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rapidfuzz import fuzz

from connector_runner.review.judge.claims import Kind, Piece
from connector_runner.review.judge.moments import Said, dates, same_time, times
from connector_runner.review.judge.speech import Number, Speech, Token, runs_of, tokens_of

_SHORT: Final = {
    "street": "st", "avenue": "ave", "road": "rd", "drive": "dr", "lane": "ln", "boulevard": "blvd", "court": "ct",
    "place": "pl", "terrace": "ter", "circle": "cir", "parkway": "pkwy", "highway": "hwy", "square": "sq",
    "apartment": "apt", "suite": "ste", "north": "n", "south": "s", "east": "e", "west": "w", "saint": "st",
    "milligrams": "mg", "milligram": "mg", "micrograms": "mcg", "microgram": "mcg", "milliliters": "ml",
}  # fmt: skip
_STATES: Final = {
    "al": "alabama", "ak": "alaska", "az": "arizona", "ar": "arkansas", "ca": "california", "co": "colorado",
    "ct": "connecticut", "de": "delaware", "fl": "florida", "ga": "georgia", "hi": "hawaii", "id": "idaho",
    "il": "illinois", "in": "indiana", "ia": "iowa", "ks": "kansas", "ky": "kentucky", "la": "louisiana",
    "me": "maine", "md": "maryland", "ma": "massachusetts", "mi": "michigan", "mn": "minnesota", "ms": "mississippi",
    "mo": "missouri", "mt": "montana", "ne": "nebraska", "nv": "nevada", "nh": "new hampshire", "nj": "new jersey",
    "nm": "new mexico", "ny": "new york", "nc": "north carolina", "nd": "north dakota", "oh": "ohio",
    "ok": "oklahoma", "or": "oregon", "pa": "pennsylvania", "ri": "rhode island", "sc": "south carolina",
    "sd": "south dakota", "tn": "tennessee", "tx": "texas", "ut": "utah", "vt": "vermont", "va": "virginia",
    "wa": "washington", "wv": "west virginia", "wi": "wisconsin", "wy": "wyoming", "dc": "district of columbia",
}  # fmt: skip
_FORMS: Final = frozenset({"oral", "tablet", "tablets", "capsule", "capsules", "pill", "pills", "allergy", "allergic",
                           "to", "substance", "drug", "disorder", "the", "of"})  # fmt: skip
_GENDERS: Final = {"male": ("male", "man", "guy", "boy"), "female": ("female", "woman", "lady", "girl")}
_PUNCTUATED: Final = {"dot": ".", "period": ".", "at": "@", "underscore": "_", "dash": "-", "hyphen": "-", "plus": "+"}
_LEADS: Final = frozenset(
    {
        *(
            "is",
            "it's",
            "its",
            "email",
            "e",
            "mail",
            "address",
            "to",
            "at",
            "yes",
            "yeah",
            "use",
            "me",
            "um",
            "uh",
            "so",
        ),
        *("that's", "be", "reads", "as", "have", "on", "under", ":", ",", ".", "?", "!", "it", "id", "number", "card"),
        *("says", "spelled", "correct", "right", "okay", "ok", "sure", "got", "confirm"),
        *("still", "see", "was", "now", "just", "with", "using", "be", "give", "mean", "reading", "not", "for", "down"),
        *("heard", "hear", "have", "has", "had", "shows", "listed", "put", "new", "my", "your", "read", "gave", "take"),
    }
)
_NEAR: Final = 40
"""So many characters may stand between a day and its time of day."""
_ALIKE: Final = 60.0
"""So many letters in a hundred make a spelling one of this name and not of another."""
MAIL = re.compile(r"(?<![\w.+-])[a-z0-9][\w.+-]{0,63}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,9}")
_SPOKEN_MAIL = re.compile(r"(?:\bat\s+|@\s*)[\w-]+\s*(?:\bdot\b|\.)\s*(?:com|org|net|edu|gov|us|io|co)\b")
_STREET = re.compile(
    r"\b(?:\d+|ten|[a-z]*teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:[ -][a-z]+)?|hundred|one|two|three|four"
    r"|five|six|seven|eight|nine)\s+(?:[a-z]+\.?\s+){1,3}(?:st|street|ave|avenue|rd|road|dr|drive|ln|lane|blvd|boulevard|ct"
    r"|court|pl|place|ter|terrace|cir|circle|pkwy|parkway|hwy|highway|sq|square|way|trail)\b"
)
_NAMED = re.compile(r"\b(?:(first|last|family|sur) ?name(?: is|'s|,)?|name(?: is|'s))\s+(?:actually\s+)?([^\W\d_]+)")


@dataclass(frozen=True, slots=True)
class Heard:
    """A place where something of a kind is said. ``same``: it is the value that was looked for."""

    start: int
    end: int
    turn: int
    same: bool
    spelled: bool = False


@dataclass(frozen=True, slots=True)
class _Item:
    word: str
    start: int
    end: int


def hear(speech: Speech, piece: Piece, about: datetime | None = None) -> list[Heard]:
    """Every place where the value, or another of its kind, is said, in order.

    ``about`` is when it was said: a day without a year is of the year around it.
    """
    found = sorted(_FINDERS[piece.kind](speech, piece, about), key=lambda heard: (heard.start, -heard.end))
    kept: list[Heard] = []
    for heard in found:
        if kept and heard.start < kept[-1].end:
            if heard.same and not kept[-1].same:
                kept[-1] = heard
            continue
        kept.append(heard)
    return kept


Finder = Callable[[Speech, Piece, datetime | None], Iterator[Heard]]


def _numbers(speech: Speech, piece: Piece, about: datetime | None) -> Iterator[Heard]:
    for turn, runs in enumerate(speech.runs):
        for run in runs:
            whole = _number(run, piece.value, turn)
            if whole is not None:
                yield whole
                continue
            # "0136. No, 0163. 770 555 0163": what goes on after a full stop is another number.
            parts = list(_parted(speech.text, run))
            if len(parts) > 1:
                yield from (found for part in parts if (found := _number(part, piece.value, turn)) is not None)


def _parted(text: str, run: Sequence[Number]) -> Iterator[list[Number]]:
    part: list[Number] = []
    for number in run:
        if part and "." in text[part[-1].end : number.start]:
            yield part
            part = []
        part.append(number)
    yield part


def _number(run: Sequence[Number], wanted: str, turn: int) -> Heard | None:
    digits = "".join(number.digits for number in run)
    if digits in (wanted, f"1{wanted}"):
        return Heard(run[0].start, run[-1].end, turn, same=True)
    if len(digits) in (7, 10, 11) and not (len(digits) == 7 and wanted.endswith(digits)):
        return Heard(run[0].start, run[-1].end, turn, same=False)
    return None


def _mails(speech: Speech, piece: Piece, _: datetime | None) -> Iterator[Heard]:
    for turn, tokens in enumerate(speech.tokens):
        place = speech.turns[turn]
        literal = [*MAIL.finditer(speech.text, place.start, place.end)]
        for found in literal:
            yield Heard(found.start(), found.end(), turn, same=found[0] == piece.value)
        for start, end in _compact(speech, turn, tokens, piece.value, _PUNCTUATED):
            yield Heard(start, end, turn, same=True)
        for found in _SPOKEN_MAIL.finditer(speech.text, place.start, place.end):
            yield Heard(found.start(), found.end(), turn, same=False)


def _ids(speech: Speech, piece: Piece, _: datetime | None) -> Iterator[Heard]:
    for turn, tokens in enumerate(speech.tokens):
        for start, end in _compact(speech, turn, tokens, piece.value, {}):
            yield Heard(start, end, turn, same=True)
        for token in tokens:
            if len(token.word) >= 5 and any(c.isdigit() for c in token.word) and token.word != piece.value:
                yield Heard(token.start, token.end, turn, same=False)


def _compact(
    speech: Speech, turn: int, tokens: Sequence[Token], value: str, marks: dict[str, str]
) -> Iterator[tuple[int, int]]:
    """Places where what was said, read without its gaps, is the value: letters, numbers and words as they came."""
    numbers = {number.first: number for run in speech.runs[turn] for number in run}
    for at, token in enumerate(tokens):
        before = tokens[at - 1].word if at else "."
        if before not in _LEADS or (at and tokens[at - 1].end == token.start and before not in ":,"):
            continue
        if before == "." and at > 1 and len(tokens[at - 2].word) == 1 and tokens[at - 2].word.isalnum():
            continue
        end = _matched(tokens, numbers, at, value, marks)
        if end is not None:
            following = tokens[end + 1] if end + 1 < len(tokens) else None
            joined = following is not None and (
                following.word == "dot"
                or (len(following.word) == 1 and following.word.isalnum() and following.word not in "ai")
                or end + 1 in numbers
                or (following.word == "." and end + 2 < len(tokens) and tokens[end + 2].start == following.end)
            )
            if not joined:
                yield token.start, tokens[end].end


def _matched(
    tokens: Sequence[Token], numbers: dict[int, Number], at: int, value: str, marks: dict[str, str]
) -> int | None:
    done = ""
    while at < len(tokens):
        number = numbers.get(at)
        word = tokens[at].word
        piece, last = (number.digits, number.last) if number is not None else (marks.get(word, word), at)
        if number is None and word in (",", " ", "-", ".") and not value.startswith(done + word):
            piece = ""
        if number is None and word == "as" and at + 2 < len(tokens) and tokens[at + 1].word == "in" and done:
            piece, last = "", at + 2
        if not value.startswith(done + piece):
            return None
        done += piece
        if done == value:
            return last
        at = last + 1
    return None


def _birth(speech: Speech, piece: Piece, _: datetime | None) -> Iterator[Heard]:
    for said in dates(speech):
        if said.value.startswith("--"):
            if not piece.value.endswith(said.value[1:]):
                yield Heard(said.start, said.end, said.turn, same=False)
        else:
            yield Heard(said.start, said.end, said.turn, same=said.value == piece.value)


def _start(speech: Speech, piece: Piece, about: datetime | None) -> Iterator[Heard]:
    moment = datetime.fromisoformat(piece.value)
    clocks: dict[int, list[Said]] = {}
    for said in times(speech):
        clocks.setdefault(said.turn, []).append(said)
    dated: set[int] = set()
    for day in dates(speech):
        clock = _beside(day, clocks.get(day.turn, ()))
        same = _same_day(day.value, moment, about)
        if clock is None:
            if not same:
                yield Heard(day.start, day.end, day.turn, same=False)
            continue
        dated.add(clock.start)
        start, end = min(day.start, clock.start), max(day.end, clock.end)
        yield Heard(start, end, day.turn, same=same and same_time(clock.value, moment.hour, moment.minute))
    for clock in (clock for found in clocks.values() for clock in found):
        # "How about 11:15?" is of the day that is spoken of.
        asks = clock.start not in dated and speech.sentences[speech.sentence_at(clock.start)].asks
        if asks and not same_time(clock.value, moment.hour, moment.minute):
            yield Heard(clock.start, clock.end, clock.turn, same=False)


def _beside(day: Said, clocks: Sequence[Said]) -> Said | None:
    """The nearest time of a day's turn, at most so many characters away; times are in order."""
    at = bisect_left(clocks, day.start, key=lambda clock: clock.start)
    near = [
        (max(clock.start - day.end, day.start - clock.end), clock)
        for clock in clocks[max(at - 2, 0) : at + 2]
        if max(clock.start - day.end, day.start - clock.end) <= _NEAR
    ]
    return min(near, key=lambda pair: pair[0])[1] if near else None


def _same_day(said: str, moment: datetime, about: datetime | None) -> bool:
    if not said.startswith("--"):
        return said == f"{moment:%Y-%m-%d}"
    if about is None or said[2:] != f"{moment:%m-%d}":
        return False
    return -30 <= (moment.date() - about.date()).days <= 300


def _family(speech: Speech, piece: Piece, _: datetime | None) -> Iterator[Heard]:
    yield from _worded(speech, [piece.value])
    for turn, tokens in enumerate(speech.tokens):
        for letters, start, end in _spelled(tokens):
            if letters == piece.value.replace(" ", ""):
                yield Heard(start, end, turn, same=True, spelled=True)
            elif letters[:1] == piece.value[:1] and fuzz.ratio(letters, piece.value) >= _ALIKE:
                yield Heard(start, end, turn, same=False, spelled=True)
    wanted = ("first",) if piece.kind == "given" else ("last", "family", "sur")
    for found in _NAMED.finditer(speech.text):
        if found[1] in wanted and found[2] not in piece.value.split() and len(found[2]) > 2:
            sentence = speech.sentences[speech.sentence_at(found.start(2))]
            yield Heard(found.start(2), found.end(2), sentence.turn, same=False)


def _spelled(tokens: Sequence[Token]) -> Iterator[tuple[str, int, int]]:
    letters, start, end, at = "", 0, 0, 0
    while at <= len(tokens):
        word = tokens[at].word if at < len(tokens) else ""
        if len(word) == 1 and word.isalpha():
            start, end, letters = (start if letters else tokens[at].start), tokens[at].end, letters + word
        elif letters and word == "double" and at + 1 < len(tokens) and len(tokens[at + 1].word) == 1:
            letters, end, at = letters + tokens[at + 1].word * 2, tokens[at + 1].end, at + 1
        elif letters and word in ("as", "like") and [t.word for t in tokens[at + 1 : at + 2]] == ["in"]:
            at += 2
        elif letters and word == "for":
            at += 1
        elif not (letters and word in ("-", ",", ".")):
            if len(letters) > 2:
                yield letters, start, end
            letters = ""
        at += 1


def _words(speech: Speech, piece: Piece, _: datetime | None) -> Iterator[Heard]:
    if piece.kind == "gender":
        yield from _worded(speech, _GENDERS[piece.value])
        for other, words in _GENDERS.items():
            if other != piece.value:
                yield from _worded(speech, words, same=False)
        return
    value = piece.value
    if piece.kind in ("allergy", "medication"):
        value = " ".join(word for word in value.split() if word not in _FORMS)
    yield from _worded(speech, [value])
    if piece.kind == "street":
        for found in _STREET.finditer(speech.text):
            number = speech.sentences[speech.sentence_at(found.start())].turn
            yield Heard(found.start(), found.end(), number, same=False)


def _states(speech: Speech, piece: Piece, _: datetime | None) -> Iterator[Heard]:
    yield from _worded(speech, [_STATES.get(piece.value, piece.value)])
    short = next((short for short, name in _STATES.items() if piece.value in (short, name)), None)
    for turn, tokens in enumerate(speech.tokens):
        for token in tokens:
            if token.word == short and speech.material.text[token.start : token.end].isupper():
                yield Heard(token.start, token.end, turn, same=True)


def _worded(speech: Speech, values: Sequence[str], *, same: bool = True) -> Iterator[Heard]:
    wanted = [found for value in values if (found := _sequence_of(value))]
    for turn, tokens in enumerate(speech.tokens):
        items = _items(tokens, speech.runs[turn])
        for words in wanted:
            for at in range(len(items) - len(words) + 1):
                if items[at].word == words[0] and [item.word for item in items[at : at + len(words)]] == words:
                    yield Heard(items[at].start, items[at + len(words) - 1].end, turn, same=same)


def _sequence_of(value: str) -> list[str]:
    tokens = [*tokens_of(value, 0, len(value))]
    return [item.word for item in _items(tokens, [*runs_of(tokens)])]


def _items(tokens: Sequence[Token], runs: Sequence[Sequence[Number]]) -> list[_Item]:
    """Words in one form, numbers that follow one another as one, without punctuation."""
    inside = {at: run for run in runs for at in range(run[0].first, run[-1].last + 1)}
    items: list[_Item] = []
    for at, token in enumerate(tokens):
        run = inside.get(at)
        if run is not None:
            if at == run[0].first:
                ordinal = "th" if run[-1].ordinal else ""
                items.append(_Item("".join(n.digits for n in run) + ordinal, run[0].start, run[-1].end))
            continue
        if token.word[0].isalnum():
            word = token.word.removesuffix("'s").replace("'", "")
            items.append(_Item(_SHORT.get(word, word), token.start, token.end))
    return items


_FINDERS: Final[dict[Kind, Finder]] = {
    "phone": _numbers, "fax": _numbers, "email": _mails, "member_id": _ids, "birth": _birth, "start": _start,
    "given": _family, "family": _family, "state": _states, "gender": _words, "street": _words, "city": _words,
    "postal_code": _words, "allergy": _words, "medication": _words,
}  # fmt: skip
