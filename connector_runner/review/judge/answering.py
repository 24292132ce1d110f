"""What the caller answers to a value that the agent reads back: a plain yes, or why it is none. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from connector_runner.review.judge import cues
from connector_runner.review.judge.framing import Span, plain_yes
from connector_runner.review.judge.hearing import Heard
from connector_runner.review.judge.places import plain
from connector_runner.review.judge.speech import Speech

NOT_CONFIRMED: Final = "not_confirmed"
_OR = re.compile(r"\bor\b")
_BUT = re.compile(r"\b(?:but|except|only|almost|nearly|partly|though|although|whichever|either)\b")
_NEAR: Final = 120
_NO = re.compile(r"\W*(?:no|nope|nah|not|wrong|incorrect)\b")


def answer_to(
    speech: Speech, heard: Sequence[Heard], n: int, covered: Sequence[Span], *, booking: bool = False, who: bool = False
) -> tuple[Span | None, str | None]:
    """The place of the caller's answer to the ``n``-th mention, and why it is no yes; None for a plain yes.

    ``booking``: the agent says what is booked, which holds when the caller takes note of it. ``who``: the agent asks
    for somebody, whom the caller must say that he is.
    """
    here = heard[n]
    turn = speech.turns[here.turn]
    if here.turn + 1 >= len(speech.turns) or speech.speaker(here.turn + 1) != "caller":
        return None, NOT_CONFIRMED
    reply = speech.turns[here.turn + 1]
    answer = (reply.start, reply.end)
    if any(other.turn == here.turn and other.same != here.same for other in heard):
        return answer, "alternatives"
    sentence = speech.sentences[speech.sentence_at(here.start)]
    if _OR.search(plain(speech, sentence.start, sentence.end)):
        return answer, "alternatives"
    asked = speech.text[max(sentence.start, here.start - _NEAR) : turn.end]
    if cues.CHANGED.search(asked):
        return answer, _unchanged(speech, here.turn + 1, answer, covered)
    if cues.ANOTHER_QUESTION.search(cues.CONFIRMS.sub(" ", speech.text[here.end : turn.end])):
        return answer, NOT_CONFIRMED
    said = speech.text[reply.start : reply.end]
    yes = cues.YES.match(said) or (cues.NOTED.match(said) if booking else None)
    if yes is None:
        return answer, "denied" if _NO.match(said) else NOT_CONFIRMED
    if who and cues.IDENTITY.search(said) is None:
        return answer, NOT_CONFIRMED
    rest = said[yes.end() :]
    if cues.TAKEN_BACK.search(rest) or cues.MENDED.search(rest) or _BUT.search(rest) or _declined(rest):
        return answer, "taken_back"
    if any(other.turn == here.turn + 1 and other.same != here.same for other in heard):
        return answer, "taken_back"
    plain_rest = plain_yes(speech, here.turn + 1, reply.start + yes.end(), reply.end, covered)
    return answer, None if plain_rest else "unclear_answer"


def _unchanged(speech: Speech, turn: int, answer: Span, covered: Sequence[Span]) -> str | None:
    """Has it changed? No, and nothing else, leaves it as it is."""
    start, end = answer
    no = _NO.match(speech.text, start, end)
    if no is None:
        return "denied" if cues.YES.match(speech.text, start, end) else NOT_CONFIRMED
    return None if plain_yes(speech, turn, no.end(), end, covered) else "unclear_answer"


def _declined(rest: str) -> bool:
    first = rest.split(".")[0]
    return cues.DENIED.search(first) is not None or cues.OTHER_PERSON.search(first) is not None
