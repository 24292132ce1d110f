"""A mention with the words around it that say something of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from connector_runner.review.judge.hearing import Heard
from connector_runner.review.judge.speech import Speech

_CONTRAST = re.compile(
    r"(?:[,;:-]|\bbut\b|\band\b|\bbecause\b)\s*(?:(?:no|so|and|but|actually|um|uh|oh),?\s+)*"
    r"(?=(?:it's|it is|that's|my|mine|the (?:new|right|correct|best)|i'm|i am|i live|i go by|use|now|for me"
    r"|(?:date of )?birth|dob|birthday|phone|cell|number|e-?mail|address|member id)\b)"
)
_MINE = re.compile(
    r"(?:[,;:.-]|\bbut\b|\band\b|\bbecause\b)\s*(?:(?:no|so|and|but|actually|um|uh|oh),?\s+)*"
    r"(?=(?:my|mine|i'm|i am|i live|i go by|for me)\b)"
)
_SHORT_STATE = re.compile(r",\s+(?:OR|IN|ME|OK|HI|OH|MA|PA|LA|DE)\b")
_OPENING = re.compile(
    r"\W*(?:no+|nope|nah|no no|no problem|not a problem|not at all|sorry|oh|um|uh|well|wait|actually)\b\s*[,.;:!-]+\s*"
)
_NOT_THE_NEXT = re.compile(r"[,;\s]*\b(?:and|but|or)?\s*(?:it's |it is )?(?:not|instead of|rather than)\W*$")
_NEXT_CLAUSE = re.compile(r"[,;]|\band\b|\bbut\b")


@dataclass(frozen=True, slots=True)
class Place:
    """A mention with its surroundings. ``before`` and ``after`` are of its sentence, up to others of its kind."""

    heard: Heard
    sentence: int
    before: str
    after: str
    clause: str
    """Of ``before`` what the value belongs to."""
    told: str
    """Of ``before`` what may say who told it: what is said of another value of the sentence does not."""
    owned: str
    """Of ``before`` what may say whose it is."""
    bridge: str
    """What leads over to another value in the same sentence; empty where none follows."""


def place_of(speech: Speech, heard: Sequence[Heard], n: int) -> Place:
    """The surroundings of the ``n``-th of the mentions of a kind."""
    here = heard[n]
    first, last = speech.sentence_at(here.start), speech.sentence_at(here.end - 1)
    start, end = speech.sentences[first].start, speech.sentences[last].end
    if n and heard[n - 1].end > start:
        start = heard[n - 1].end
    following = n + 1 < len(heard) and heard[n + 1].start < end
    if following:
        end = heard[n + 1].start
    before, after = plain(speech, start, here.start), plain(speech, here.end, end)
    bridge = after if following and heard[n + 1].same != here.same else ""
    if following:
        after = _NOT_THE_NEXT.sub("", after)
        cut = _NEXT_CLAUSE.search(after)
        after = after[: cut.start()] if cut else after
    clause = _since_last(_CONTRAST, before)
    while (opening := _OPENING.match(clause)) is not None:
        clause = clause[opening.end() :]
    told = clause if n and heard[n - 1].end > speech.sentences[first].start else before
    return Place(here, first, before, after, clause, told, _since_last(_MINE, before), bridge)


def _since_last(pattern: re.Pattern[str], text: str) -> str:
    clause = text
    for found in pattern.finditer(text):
        clause = text[found.end() :]
    return clause


def plain(speech: Speech, start: int, end: int) -> str:
    """A part of the text, without the short names of states that would be taken for words."""
    text = speech.text[start:end]
    for found in _SHORT_STATE.finditer(speech.material.text, start, end):
        text = f"{text[: found.start() - start]}{' ' * len(found[0])}{text[found.end() - start :]}"
    return text
