"""The words around a value: a statement counts only where every one of them is known to be harmless. Pure.

Cues name what takes a value away, and nobody can name all of it. So a clause with a word that is not among these bears
nothing out, whatever it may mean; a person reads it. Known are words that carry no person, no denial, no doubt and no
past: of courtesy, of grammar, and of what is asked for in such a call.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from connector_runner.review.judge.hearing import MAIL
from connector_runner.review.judge.moments import MONTHS
from connector_runner.review.judge.speech import NUMBER_WORDS, Speech, Token

Span = tuple[int, int]


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


COURTESY: Final = words(
    "you're worries yes yeah yep yup ya sure okay ok alright right correct perfect great good fine nice cool"
    " awesome lovely wonderful excellent hi hello hey there um uh oh er ah well mm hmm mhm huh please thanks thank"
    " you so much very course absolutely definitely certainly exactly totally indeed welcome problem sir ma'am"
    " ready let me see say again happy glad goodbye bye noise car sorry wait hold sec second moment minute quick"
    " yours"
)
_GRAMMAR: Final = words(
    "a an the my mine i i'm i've i'd i'll me we us our we're is it it's its am are was be been being that that's"
    " this these here and at in on of to for from with by as into up too both any more most all just only also now"
    " still same then because own already currently recently today really have has got get gotten do does did"
    " doing can could would will make made give gave giving take taking put use using go goes going come comes"
    " call calling text texting reach mail send sending keep write know look looking need want like try trying"
    " wondering hoping tell repeat read reading confirm verify check checking find leave pick answer add added"
    " fill change changed update updated how what before not no but about one thing anything always every once"
    " twice times out down actually mean meant rather correction oops"
)
_MATTER: Final = words(
    "phone number numbers cell cellphone iphone mobile home work house landline line callback contact area code"
    " dash dot space point hyphen digits email e address underscore period lowercase capital caps word mailing"
    " email's date birth birthday birthdate born dob day month year name name's full legal first last middle"
    " family married spelled spell spelling speaking live living moved street residential city state zip apartment"
    " residence reside gender sex female male woman man insurance member subscriber policy id card identification"
    " allergic allergy allergies hives rash break react reaction unfortunately medication medications medicine"
    " daily morning night evening time week mg milligrams prescription prescribed refill refills pills tablet"
    " tablets capsule appointment schedule book reason voicemail message reminder reminders records record chart"
    " profile account info information patient says reads shows anytime prefer blood pressure"
    " bedtime breakfast lunch dinner food"
    " drugs legally officially best better easiest current new personal private primary main preferred direct"
    " regular permanent physical actual real whole double triple pm p m o'clock noon works tuesday monday"
    " wednesday thursday friday saturday sunday afternoon around open ideal st ave rd dr ln blvd ct apt unit north"
    " south east west drive lane"
)
_FRAME: Final = COURTESY | _GRAMMAR | _MATTER
_TURNS: Final = words(
    "not no but wait sorry hold actually mean meant rather correction oops was been before change changed update"
    " updated new about anything what how could first last middle family out down write put want moved married any"
    " most wondering hoping trying try check checking find repeat tell again say let thing week"
)
_ASSENT: Final = _FRAME - _TURNS
"""What an answer may be made of: not of what begins to mend a value, or brings up another matter."""
_MORE = re.compile(
    r",?\s*\band (?=(?:i'm|i am|we're|i was|we were) (?:calling|trying|wondering|hoping|looking|running)\b"
    r"|i (?:need|want|have an?|would|wanted to)\b|i'd like\b|(?:could|can|would|do|does|is|are|what|when|how)\b)"
)
"""Where another matter begins."""


def harmless(speech: Speech, turn: int, start: int, end: int, covered: Sequence[Span]) -> bool:
    """Whether a part of a turn has only known words, besides values, numbers and letters."""
    return known(speech, turn, start, _up_to_more(speech, start, end, covered), covered, _FRAME)


def plain_yes(speech: Speech, turn: int, start: int, end: int, covered: Sequence[Span]) -> bool:
    """Whether an answer, up to the end of its first sentence, has nothing but words of assent."""
    end = min(end, speech.sentences[speech.sentence_at(start)].end)
    return known(speech, turn, start, _up_to_more(speech, start, end, covered), covered, _ASSENT)


def _up_to_more(speech: Speech, start: int, end: int, covered: Sequence[Span]) -> int:
    more = _MORE.search(speech.text, start, end)
    if more is None or more.start() <= start or any(first < more.start() < last for first, last in covered):
        return end
    return more.start()


def known(speech: Speech, turn: int, start: int, end: int, covered: Sequence[Span], among: frozenset[str]) -> bool:
    """Whether a part of a turn has only words that are among these, besides values, numbers and letters."""
    tokens = speech.tokens[turn]
    values = [span for span in covered if span[0] < end and start < span[1]]
    values += [found.span() for found in MAIL.finditer(speech.text, start, end)]
    for at in range(bisect_left(tokens, start, key=lambda token: token.start), len(tokens)):
        token = tokens[at]
        if token.end > end:
            break
        if not token.word[0].isalpha() or any(first <= token.start and token.end <= last for first, last in values):
            continue
        word = token.word
        stem = word.removesuffix("'s")
        fine = len(word) == 1 or word in NUMBER_WORDS or word in MONTHS or not among.isdisjoint((word, stem))
        if not fine and not _of_a_letter(tokens, at):
            return False
    return True


def _of_a_letter(tokens: Sequence[Token], at: int) -> bool:
    """``Q as in queen``, ``M for Mary``."""
    before = [token.word for token in tokens[max(at - 3, 0) : at]]
    if before[-2:] == ["as", "in"]:
        return len(before) == 3 and len(before[0]) == 1
    return before[-1:] in (["for"], ["like"]) and len(before) > 1 and len(before[-2]) == 1
