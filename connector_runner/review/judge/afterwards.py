"""Whether a value still holds after the caller has said it: in the rest of his turn, and at his next one. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from connector_runner.review.judge import cues
from connector_runner.review.judge.claims import Kind
from connector_runner.review.judge.framing import Span, harmless
from connector_runner.review.judge.hearing import Heard
from connector_runner.review.judge.speech import Sentence, Speech

_ANAPHOR = re.compile(r"\W*(?:(?:oh|um|and|but|well|wait|sorry|actually),? )*(?:that|it|this|which)(?:'s| is| was)?\b")
_NO = re.compile(r"\W*(?:(?:oh|um|well|sorry),? )*(?:no|nope|nah|not)\b")
_ABOUT_IT = re.compile(r"\b(?:that|this|it|yours?|right|correct)\b")
_OF_US = re.compile(r"\b(?:i|i'm|i've|i'd|my|we|our)\b")
_FEW: Final = 6


def _remark(speech: Speech, sentence: Sentence, covered: Sequence[Span]) -> bool:
    """A few strange words after a value, of nobody: they may well be about it (``Ask for Ann.``)."""
    said = speech.text[sentence.start : sentence.end]
    few = len(said.split()) <= _FEW and not sentence.asks and _OF_US.search(said) is None
    return few and not harmless(speech, sentence.turn, sentence.start, sentence.end, covered)


def afterwards(speech: Speech, kind: Kind, heard: Sequence[Heard], n: int, covered: Sequence[Span]) -> str | None:
    """Whether the caller takes a value back in the rest of the turn, or at his next turn."""
    here = heard[n]
    until = next((other.start for other in heard[n + 1 :] if other.turn == here.turn), speech.turns[here.turn].end)
    sentence = speech.sentence_at(here.end - 1)
    after = ""
    for number, following in enumerate(speech.sentences[sentence + 1 : sentence + 4], start=sentence + 1):
        if following.turn != here.turn or following.start >= until:
            break
        after = speech.text[following.start : following.end]
        if number == sentence + 1 and _remark(speech, following, covered):
            return "odd_words"
        if cues.TAKEN_BACK.search(after) or cues.MENDED.search(after):
            return "taken_back"
        if _ANAPHOR.match(after) and (cues.OTHER_PERSON.search(after) or cues.DENIED.search(after)):
            return "taken_back"
    return _next_turn(speech, kind, heard, n)


def _next_turn(speech: Speech, kind: Kind, heard: Sequence[Heard], n: int) -> str | None:
    here = heard[n]
    for turn in range(here.turn + 1, min(here.turn + 4, len(speech.turns))):
        place = speech.turns[turn]
        if speech.speaker(turn) != "caller":
            continue
        again = next((other for other in heard if other.turn == turn and other.same == here.same), None)
        said = speech.text[place.start : place.end if again is None else again.start][:400]
        if _elsewhere(speech, kind, speech.sentence_at(place.start), speech.sentence_at(here.end - 1)):
            return None
        if cues.TAKEN_BACK.search(said):
            return "taken_back"
        asked = speech.text[speech.turns[here.turn].end : place.start]
        read_back = any(other.turn in range(here.turn + 1, turn) for other in heard)
        another = cues.ANOTHER_QUESTION.search(cues.CONFIRMS.sub(" ", asked)) is not None
        another = another or ("?" in asked and not read_back and cues.CONFIRMS.search(asked) is None)
        mending = again is None and cues.MENDED.search(said.split("?")[0]) is not None
        of_it = not another or cues.TOPICS[cues.TOPIC_OF[kind]].search(said) or any(speech.runs[turn])
        if mending and of_it and not _asks_something(speech, place.start):
            return "taken_back"
        if _NO.match(said) and _ABOUT_IT.search(speech.text[speech.turns[here.turn].end : place.start]):
            return "taken_back"
        if again is None and not _asks_something(speech, place.start):
            moved_on = another or (not read_back and "?" in asked)
            end = min(place.end, place.start + 200)
            if not moved_on and not harmless(speech, turn, place.start, end, ()):
                return "taken_back"
        if _ANAPHOR.match(said) and cues.OTHER_PERSON.search(said.split(".")[0]):
            return "taken_back"
        return None
    return None


def _elsewhere(speech: Speech, kind: Kind, sentence: int, since: int) -> bool:
    """Whether the talk has moved on to something else between a value and a sentence, the sentence included."""
    own = cues.TOPIC_OF[kind]
    for n in range(sentence, since, -1):
        said = speech.text[speech.sentences[n].start : speech.sentences[n].end]
        if cues.TOPICS[own].search(said) or cues.EVERYTHING.search(said):
            return False
        if any(topic.search(said) for topic in cues.TOPICS.values()):
            return True
    return False


def _asks_something(speech: Speech, start: int) -> bool:
    return speech.sentences[speech.sentence_at(start)].asks
