"""Whether a value is said to be the caller's: what leads up to it in his words, or in the agent's. Pure.

``harmless`` tells that no word around a value is strange; here the words must also make it his: he says it bare or with
a word that leads to such a value (``my number is``, ``I'm``, ``born on``; not ``I'm with``, ``I lost``), and the agent
says it of him (``your number is``) or says it back with nothing of anybody.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

from connector_runner.review.judge.claims import Kind
from connector_runner.review.judge.framing import COURTESY, Span, known, words
from connector_runner.review.judge.moments import MONTHS
from connector_runner.review.judge.places import Place
from connector_runner.review.judge.speech import NUMBER_WORDS, Speech

_PASSED_OVER: Final = COURTESY | words(
    "no nope the a an just only still also now actually mean meant rather correction oops"
)
_BEGINS: Final = words("and but so because or then")
_LEADS: Final = words("is are be am as it that use put name number correct current new to code")
_NAMED: Final = words("i'm am me by under as first last name names full legal")
_PLACED: Final = words("at on to in address home street mail")
_LEADS_TO: Final[Mapping[Kind, frozenset[str]]] = {
    "phone": words(
        "at on phone cell cellphone mobile home work landline line call text try reach me callback fax digits"
    ),
    "fax": words("at on fax"),
    "email": words("at on email mail address"),
    "birth": words("born on in birth birthday birthdate dob date"),
    "given": _NAMED,
    "family": _NAMED,
    "gender": words("i'm am sex gender"),
    "street": _PLACED,
    "city": _PLACED,
    "state": _PLACED,
    "postal_code": _PLACED | words("zip"),
    "member_id": words("id says reads shows card policy member subscriber"),
    "allergy": words("to from allergies allergy my have"),
    "medication": words("take taking on my of have for prescribed"),
    "start": words("for at on"),
}
_NOT_TO: Final = {"given": words("to"), "family": words("to")}
_FOLLOWS: Final = (
    _PASSED_OVER
    | _BEGINS
    | words(
        "is it's that's my allergy allergies for on at in if as too which with speaking here calling again instead"
        " works work would will i by every once twice daily morning night evening afternoon mg tablet tablets pills"
        " pill mobile cell home p m pm"
    )
)
_OF_HIM = re.compile(
    r"\b(?:your|you were born|you (?:want|like) (?:us|me) to|our (?:records?|systems?|notes?|files?)|you're|is this"
    r"|am i|are you|(?<!for )(?<!to )you)\b"
)
_WHO_SPEAKS = re.compile(r"\b(?:this is|i'm|i am|my name)\b(?! (?:speaking|talking|calling|showing|seeing|looking))")
_DAYS: Final = words("monday tuesday wednesday thursday friday saturday sunday")
_SUBJECT: Final = (
    words(
        "a an the is it's it its that's that this these here and at in on of to for with by as into both any more"
        " only also now same then phone number numbers cell cellphone mobile home work house landline line callback"
        " contact area code dash dot space hyphen digits email e address underscore mailing date birth birthday"
        " birthdate born dob day name name's full legal first last middle family spelled live living street city state"
        " zip apartment residence gender sex female male insurance member subscriber policy id card allergic allergy"
        " allergies take taking medication medications daily morning night evening afternoon time mg milligrams"
        " prescription refill refills tablets current new personal primary main preferred permanent correct right pm p"
        " m o'clock noon st ave rd dr ln blvd ct apt unit north south east west drive lane"
    )
    | _DAYS
)
_AGENT: Final = (
    words(
        "your you you're yours we have has i've got see show shows showing list listed hear heard system file records"
        " here still reminder reminders messages message leave send sent receive get let me read back confirm verify"
        " just so make sure update updated all set booked scheduled confirmed reserved down moved speaking talking who"
        " does do did may can should shall could use put keep call text reach mail prefer best good okay works work"
        " fine am i'll i'd like want down calling ready done today appointment visit slot next earliest available"
        " first last recap how about open opening currently react reacts notes chart profile account under residential"
        " residence one spot dose dosage prescribed verified understand understood quickly also way come fit offer"
        " speak i'm showing seeing accurate still"
    )
    | COURTESY
    | _SUBJECT
)
_BACK: Final = _AGENT - words("line night your you're yours call text reach mail am send calling")
_NAMED_ASIDE = re.compile(
    r",?\s*\bwith (?:dr|doctor|nurse)?\.?\s*[^\W\d_]+|\b(?:mr|mrs|ms|miss)\.? [^\W\d_]+"
    r"|(?:\b(?:hi|hello|hey|thanks|thank you|okay|ok|great|perfect|sure|alright),? |^)[^\W\d_]+(?=[,.!])"
)
"""Whom the agent speaks to, or whom the caller will see."""


def asserted(speech: Speech, kind: Kind, place: Place, values: Sequence[Span]) -> bool:
    """Whether the caller's words lead to the value, and end with it or go on with something that may follow one."""
    return _led_to(speech, kind, place, values) and _followed(speech, place, values)


def _led_to(speech: Speech, kind: Kind, place: Place, values: Sequence[Span]) -> bool:
    tokens, here = speech.tokens[place.heard.turn], place.heard
    begin = speech.sentences[place.sentence].start
    for at in range(bisect_left(tokens, here.start, key=lambda token: token.start) - 1, -1, -1):
        token = tokens[at]
        if token.start < begin:
            return True
        word = token.word
        passed = not word[0].isalpha() or len(word) == 1 or word in _PASSED_OVER or _numeral(word)
        if passed or any(first <= token.start and token.end <= last for first, last in values):
            continue
        if word in _BEGINS:
            return True
        leads = (_LEADS - _NOT_TO.get(kind, frozenset())) | _LEADS_TO[kind]
        return word.endswith("'s") or word in leads
    return True


def _numeral(word: str) -> bool:
    return word in NUMBER_WORDS or word in MONTHS


def _followed(speech: Speech, place: Place, values: Sequence[Span]) -> bool:
    tokens, here = speech.tokens[place.heard.turn], place.heard
    end = here.end
    for at in range(bisect_left(tokens, end, key=lambda token: token.start), len(tokens)):
        token = tokens[at]
        if any(first <= token.start and token.end <= last for first, last in values):
            continue
        word = token.word
        return not word[0].isalpha() or len(word) == 1 or _numeral(word) or word in _FOLLOWS or word in _DAYS
    return True


def ascribed(speech: Speech, kind: Kind, place: Place, values: Sequence[Span]) -> bool:
    """Whether the agent says a value of the caller, or only says it back."""
    if kind in ("given", "family") and _WHO_SPEAKS.search(place.before):
        return False
    here, sentence = place.heard, speech.sentences[place.sentence]
    begin = max(sentence.start, here.start - len(place.before))
    of_him = [found.end() for found in _OF_HIM.finditer(speech.text, begin, here.start)]
    after = speech.text[here.end : here.end + len(place.after)]
    end = here.end + len(place.after)
    spans = [*values, *(found.span() for found in _NAMED_ASIDE.finditer(speech.text, begin, end))]
    allowed = _AGENT if of_him or _OF_HIM.search(after) else _BACK
    return known(speech, here.turn, of_him[-1] if of_him else begin, end, spans, allowed)
