"""The words around a value: a statement counts only where every one of them is known to be harmless. Pure.

Cues name what takes a value away, and nobody can name all of it. So a sentence with a word that is not among these
bears nothing out, whatever it may mean; a person reads it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from connector_runner.review.judge.moments import MONTHS
from connector_runner.review.judge.speech import NUMBER_WORDS, Speech

Span = tuple[int, int]

_FRAME: Final = frozenset(
    {
        *("a", "an", "the", "my", "mine", "me", "i", "i'm", "i've", "is", "it's", "it", "its", "am", "are"),
        *("was", "be", "that's", "that", "this", "these", "here", "here's", "there", "there's", "and", "at"),
        *("in", "on", "of", "to", "for", "with", "by", "as", "so", "just", "only", "also", "now", "still"),
        *("same", "new", "current", "best", "yes", "yeah", "yep", "yup", "sure", "okay", "ok", "alright"),
        *("all", "right", "correct", "perfect", "great", "hi", "hello", "hey", "um", "uh", "oh", "er", "ah"),
        *("well", "mm", "hmm", "please", "thanks", "thank", "you", "course", "absolutely", "definitely"),
        *("certainly", "exactly", "ready", "let", "see", "say", "sir", "ma'am", "no", "not", "sorry", "wait"),
        *("actually", "mean", "oops", "rather", "correction", "but", "hold", "meant", "phone", "number"),
        *("numbers", "cell", "cellphone", "mobile", "home", "work", "house", "landline", "line", "callback"),
        *("contact", "reach", "call", "text", "area", "code", "dash", "dot", "space", "point", "hyphen"),
        *("email", "e", "mail", "address", "underscore", "period", "lowercase", "capital", "word", "mailing"),
        *("email's", "date", "birth", "birthday", "birthdate", "born", "dob", "day", "month", "year", "name"),
        *("name's", "full", "legal", "first", "last", "middle", "family", "spelled", "spell", "speaking"),
        *("live", "living", "street", "residential", "city", "state", "zip", "apartment", "residence"),
        *("reside", "gender", "sex", "female", "male", "woman", "man", "insurance", "member", "subscriber"),
        *("policy", "id", "card", "allergic", "allergy", "allergies", "have", "got", "get", "hives", "break"),
        *("out", "react", "unfortunately", "take", "taking", "medication", "medications", "medicine"),
        *("daily", "once", "twice", "every", "morning", "night", "evening", "time", "times", "week", "mg"),
        *("milligrams", "prescription", "prescribed", "refill", "would", "like", "i'd", "come", "could"),
        *("can", "we", "do", "appointment", "schedule", "book", "anything", "update", "updated", "change"),
        *("changed", "give", "gave", "again", "always", "repeat", "thing", "we're", "i'll", "need", "want"),
        *("calling", "about", "reason", "put", "use", "write", "down", "goes", "go", "double", "triple"),
        *("one", "pm", "p", "m", "o'clock", "noon", "works", "tuesday", "monday", "wednesday", "thursday"),
        *("friday", "saturday", "sunday", "afternoon", "around", "open", "going", "how", "what", "before"),
        *("st", "ave", "rd", "dr", "ln", "blvd", "ct", "apt", "unit", "north", "south", "east", "west"),
        *("drive", "lane", "fine", "good", "goodbye", "bye", "welcome", "problem", "very", "much", "noise", "car"),
        *("yours"),
    }
)
_YES: Final = frozenset(
    {
        *("yes", "yeah", "yep", "yup", "ya", "uh", "huh", "mm", "hmm", "mhm", "correct", "right", "exactly"),
        *("sure", "absolutely", "definitely", "perfect", "great", "good", "fine", "ok", "okay", "got", "it"),
        *("you", "that's", "that", "is", "it's", "the", "one", "same", "still", "works", "work", "would"),
        *("will", "sounds", "looks", "all", "me", "for", "please", "thanks", "thank", "ma'am", "sir", "mine"),
        *("my", "i", "am", "can", "confirm", "do", "accurate", "oh", "um", "so", "and", "very", "much"),
        *("number", "phone", "email", "address", "name", "birthday", "at", "on", "every", "night", "morning"),
        *("day", "then", "see", "be", "wonderful", "current", "alright"),
    }
)
_MORE = re.compile(
    r",?\s*\band (?=(?:i'm calling|i am calling|i need|i'd like|i want|i was wondering|i'm running|could|can)\b)"
)


def harmless(speech: Speech, turn: int, start: int, end: int, covered: Sequence[Span]) -> bool:
    """Whether a part of a turn has only known words, besides values, numbers and single letters."""
    more = _MORE.search(speech.text, start, end)
    if more is not None and not any(first < more.start() < last for first, last in covered):
        end = more.start() if more.start() > start else end
    for token in speech.tokens[turn]:
        if token.start < start or token.end > end or not token.word[0].isalpha():
            continue
        if any(first <= token.start and token.end <= last for first, last in covered):
            continue
        word = token.word
        if len(word) > 1 and word not in _FRAME and word not in NUMBER_WORDS and word not in MONTHS:
            return False
    return True


def plain_yes(speech: Speech, turn: int, start: int, end: int, covered: Sequence[Span]) -> bool:
    """Whether an answer, up to the end of its first sentence, has nothing but words of assent."""
    sentence = speech.sentences[speech.sentence_at(start)]
    for token in speech.tokens[turn]:
        if token.start >= min(end, sentence.end) or not token.word[0].isalpha() or len(token.word) == 1:
            continue
        if not any(first <= token.start and token.end <= last for first, last in covered) and token.word not in _YES:
            return False
    return True
