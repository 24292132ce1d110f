"""What each place where a value is said is worth, and whether the value stands at the end of the conversation. Pure.

A value stands when the caller said it of himself, or said yes to the agent's reading it back, and nothing after that
takes it back: no denial, no correction, no other value of the same kind. Everything doubtful does not stand.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from connector_runner.review.judge import cues
from connector_runner.review.judge.afterwards import afterwards
from connector_runner.review.judge.answering import NOT_CONFIRMED, answer_to
from connector_runner.review.judge.ascribing import ascribed, asserted
from connector_runner.review.judge.claims import Kind, Piece
from connector_runner.review.judge.framing import Span, harmless
from connector_runner.review.judge.hearing import Heard, hear
from connector_runner.review.judge.places import Place, place_of
from connector_runner.review.judge.speech import Speech

OK: Final = "said"
CONFIRMED: Final = "confirmed"
_STANDING: Final = (OK, CONFIRMED)
_REVOKED: Final = ("denied", "taken_back")
_UNSETTLING: Final = frozenset({"odd_words", "not_asserted", "supposed", "asked", "reported", "wished"})
"""What another value is worth that the caller names later: nothing by itself, but the first is no longer sure."""
MOST_MENTIONS: Final = 200
"""Of what is said more often than this in one conversation no rule can make sense."""
_LOOK_BACK: Final = 8

_REPLACED = re.compile(r"\b(?:no|nope|or|make that|well)\b")
_SPELLED_OUT = re.compile(r"\b[a-z](?:-[a-z])+\b")
"""It is ``n-o-t`` mine."""
_REPLY: Final = 80
_READ_OFF: Final = frozenset({"member_id"})
"""What nobody knows by heart: that a card says so is how it is said."""
_CLOCK = re.compile(r"[ap]\.? ?m\b|:\d|o'clock|\bnoon\b|\bpast\b|\bquarter\b|\bin the\b")
_LABELLED: Final = frozenset({"phone", "street"})


@dataclass(frozen=True, slots=True)
class Statement:
    """A place, and what it is worth: ``said``, ``confirmed``, or a code for why it is worth nothing.

    ``quotes`` are places that show it: the value, and for what was confirmed the answer too.
    """

    heard: Heard
    why: str
    labels: frozenset[str]
    quotes: tuple[tuple[int, int], ...]

    @property
    def stands(self) -> bool:
        """Whether it counts by itself."""
        return self.why in _STANDING


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a conversation has for one piece. ``code`` is ``stands``, or why it does not.

    ``statements`` are the places that bear it out; ``contrary`` are those that say otherwise, or deny it.
    """

    piece: Piece
    code: str
    statements: tuple[Statement, ...] = ()
    contrary: tuple[Statement, ...] = ()
    mentioned: tuple[Statement, ...] = ()

    @property
    def stands(self) -> bool:
        """Whether the value holds at the end of the conversation."""
        return self.code == "stands"


def listen(speech: Speech, pieces: Sequence[Piece], about: datetime | None = None) -> list[list[Heard]]:
    """Where each piece of a value is said, or another of its kind; ``about`` is when the conversation took place.

    A spelling of one piece is no other spelling of the next: ``Priya Pereira, P-E-R-E-I-R-A``.
    """
    found = [hear(speech, piece, about) for piece in pieces]
    meant = {(heard.start, heard.end) for each in found for heard in each if heard.same}
    return [[heard for heard in each if heard.same or (heard.start, heard.end) not in meant] for each in found]


def weigh(
    speech: Speech, pieces: Sequence[Piece], found: Sequence[Sequence[Heard]], also: Sequence[Span] = ()
) -> tuple[Evidence, ...]:
    """What the conversation has for each piece of a value, of where it was heard (``listen``).

    ``also`` are places of other values that are claimed of the same: words that need no explanation.
    """
    covered = [*also[:MOST_MENTIONS], *((heard.start, heard.end) for each in found for heard in each)]
    answer = []
    for piece, heard in zip(pieces, found, strict=True):
        if sum(map(len, found)) > MOST_MENTIONS:
            answer.append(Evidence(piece, "too_often"))
            continue
        statements = [_statement(speech, piece, heard, n, covered) for n in range(len(heard))]
        if piece.kind == "start":
            statements = _agreed(speech, statements)
        answer.append(_settled(speech, piece, statements))
    return tuple(answer)


def _statement(
    speech: Speech, piece: Piece, heard: Sequence[Heard], n: int, covered: Sequence[tuple[int, int]]
) -> Statement:
    here = heard[n]
    place = place_of(speech, heard, n)
    speaker = speech.speaker(here.turn)
    labels = _labels(speech, piece, place, heard)
    quotes: tuple[tuple[int, int], ...] = ((here.start, here.end),)
    if speaker == "other":
        return Statement(here, "another_speaker", labels, quotes)
    why = _flaw(speech, piece, place, labels)
    if speaker == "agent":
        booking = piece.kind == "start" and cues.BOOKED.search(_sentence_of(speech, here)) is not None
        who = piece.kind in ("given", "family") and cues.ASKS_FOR.search(_sentence_of(speech, here)) is not None
        answer, word = answer_to(speech, heard, n, covered, booking=booking, who=who)
        if word == "denied" and why in (None, "denied"):
            # "That is not your number?" - "No": nobody can tell what was denied.
            why = "denied" if why is None else "unclear_answer"
        else:
            why = why or (word or CONFIRMED if ascribed(speech, piece.kind, place, covered) else "not_ascribed")
        quotes = (*quotes, answer) if answer is not None else quotes
        return Statement(here, why, labels, quotes)
    if why is None and _echoes(speech, heard, n, place, covered, piece.kind):
        why = "another_speaker"
    why = why or afterwards(speech, piece.kind, heard, n, covered)
    start, end = here.start - len(place.clause), here.end + len(place.after)
    if why is None and not harmless(speech, here.turn, start, end, covered):
        why = "odd_words"
    if why is None and not here.spelled and not asserted(speech, piece.kind, place, covered):
        why = "not_asserted"
    return Statement(here, why or OK, labels, quotes)


def _echoes(speech: Speech, heard: Sequence[Heard], n: int, place: Place, covered: Sequence[Span], kind: Kind) -> bool:
    """Whether the caller only says after the agent what that one said of somebody else, or of nobody."""
    here = heard[n]
    said = next((m for m in range(n) if heard[m].turn == here.turn - 1 and heard[m].same and here.same), None)
    if said is None or speech.speaker(here.turn - 1) != "agent" or cues.SELF.search(place.clause):
        return False
    return not ascribed(speech, kind, place_of(speech, heard, said), covered)


def _flaw(speech: Speech, piece: Piece, place: Place, labels: frozenset[str]) -> str | None:
    """Why a mention is worth nothing whoever confirms it; None where nothing speaks against it."""
    agent = speech.speaker(place.heard.turn) == "agent"
    sentence = speech.sentences[place.sentence]
    if sentence.asks and not agent:
        return "asked"
    if _of_another(speech, place, agent=agent):
        return "another_person"
    if cues.DENIED.search(
        _SPELLED_OUT.sub(lambda letters: letters[0].replace("-", ""), place.clause)
    ) or cues.DENIED.search(place.after):
        return "denied"
    if not agent and (_REPLACED.search(place.bridge) or cues.MENDED.search(place.bridge)):
        return "taken_back"
    around = f"{place.before} | {place.after}"
    begins = sentence.start == speech.turns[place.heard.turn].start
    lead = cues.GOING_TO_BE.sub(" ", place.before) if begins else place.before
    if not agent and cues.SUPPOSED.search(_without_months(f"{lead} | {place.after}")):
        return "supposed"
    if not agent and piece.kind not in _READ_OFF and cues.REPORTED.search(f"{place.told} | {place.after}"):
        return "reported"
    asked = _question(speech, place, agent=agent)
    own = cues.CONTEXT[piece.kind].search(around) is not None
    if agent and place.heard.turn + 1 < len(speech.turns):
        reply = speech.turns[place.heard.turn + 1]
        asked = f"{asked} | {speech.text[reply.start : min(reply.end, reply.start + _REPLY)]}"
    if not own and not place.heard.spelled and not cues.CONTEXT[piece.kind].search(asked):
        return "out_of_context"
    foreign = cues.FOREIGN.get(piece.kind)
    if foreign is not None and foreign.search(f"{place.clause} | {place.after}" if own else f"{around} | {asked}"):
        return "another_kind"
    if piece.label in cues.LABELS and labels and piece.label not in labels:
        return "another_use"
    return None


def _without_months(text: str) -> str:
    return re.sub(r"\bmay (?=\d|the \d|\w+(?:st|nd|rd|th)\b|first|second|third)", "", text)


def _of_another(speech: Speech, place: Place, *, agent: bool) -> bool:
    """Whether the value is somebody else's: said so here, right after, or by what was spoken of last."""
    heard = place.heard
    if speech.text[heard.start : heard.end].endswith("'s") or speech.text[heard.end : heard.end + 2] == "'s":
        return True
    if any(cues.OTHER_PERSON.search(said) or cues.OTHER_REACHED.search(said) for said in (place.owned, place.after)):
        return True
    own = cues.YOU if agent else cues.SELF
    if own.search(place.owned) or own.search(place.after):
        return False
    for n in range(place.sentence - 1, max(place.sentence - 1 - _LOOK_BACK, -1), -1):
        sentence = speech.sentences[n]
        said, speaker = speech.text[sentence.start : sentence.end], speech.speaker(sentence.turn)
        if cues.OTHER_PERSON.search(said) or speaker == "other":
            return True
        if (cues.YOU if speaker == "agent" else cues.SELF).search(said):
            return False
    return False


def _question(speech: Speech, place: Place, *, agent: bool = False, besides: Sequence[Heard] = ()) -> str:
    """What was said just before: of the same speaker's turn, and what the agent asked last.

    ``besides`` are mentions that have sentences of their own, which say nothing of this one.
    """
    found = _asked_before(speech, place, 3 if agent else 1, agent=agent, besides=besides)
    if not agent and not any(topic.search(found) for topic in cues.TOPICS.values()):
        found = _asked_before(speech, place, 3, agent=agent, besides=besides)  # "And the new one?"
    return found


def _asked_before(speech: Speech, place: Place, turns: int, *, agent: bool, besides: Sequence[Heard]) -> str:
    own = {speech.sentence_at(heard.start) for heard in besides}
    found: list[str] = []
    questions = 0
    for n in range(place.sentence - 1, max(place.sentence - 6, -1), -1):
        sentence = speech.sentences[n]
        if sentence.turn == place.heard.turn and n in own:
            continue
        if sentence.turn == place.heard.turn:
            found.append(speech.text[sentence.start : sentence.end])
        elif sentence.turn < place.heard.turn - turns or questions == (4 if agent else 2 * turns):
            break
        else:
            questions += 1
            found.append(speech.text[sentence.start : sentence.end])
    return " | ".join(reversed(found))


def _labels(speech: Speech, piece: Piece, place: Place, heard: Sequence[Heard]) -> frozenset[str]:
    if piece.kind not in _LABELLED:
        return frozenset()
    agent = speech.speaker(place.heard.turn) == "agent"
    for text in (f"{place.clause} | {place.after[:40]}", "" if agent else _question(speech, place, besides=heard)):
        found = frozenset(label for label, words in cues.LABELS.items() if words.search(text))
        if found:
            return found
    return frozenset()


def _agreed(speech: Speech, statements: list[Statement]) -> list[Statement]:
    """A time that the caller names is a wish, until the agent says that it is booked, or reads it back."""
    booked = [
        statement.heard.start
        for statement in statements
        if statement.heard.same
        and speech.speaker(statement.heard.turn) == "agent"
        and statement.why in (CONFIRMED, NOT_CONFIRMED)
        and cues.BOOKED.search(_sentence_of(speech, statement.heard))
        and not cues.DENIED.search(_sentence_of(speech, statement.heard))
    ]
    return [
        replace(statement, why=OK if any(start > statement.heard.start for start in booked) else "wished")
        if statement.why in (OK, "asked") and speech.speaker(statement.heard.turn) == "caller"
        else statement
        for statement in statements
    ]


def _sentence_of(speech: Speech, heard: Heard) -> str:
    sentence = speech.sentences[speech.sentence_at(heard.start)]
    return speech.text[sentence.start : sentence.end]


def _settled(speech: Speech, piece: Piece, statements: Sequence[Statement]) -> Evidence:
    same = [statement for statement in statements if statement.heard.same]
    standing = [statement for statement in same if statement.stands]
    denied = [statement for statement in same if statement.why in _REVOKED]
    other = [statement for statement in statements if not statement.heard.same and _differs(statement, piece)]
    if not standing:
        code = same[-1].why if same else ("said_otherwise" if other else "not_said")
        last = other[-1:] if other else denied[-1:]
        return Evidence(piece, code, contrary=tuple(last), mentioned=tuple(statements))
    last_at = standing[-1].heard.start
    against = [statement for statement in (*denied, *other) if statement.heard.start > last_at]
    if against:
        code = "denied" if against[-1].heard.same else "corrected"
        return Evidence(piece, code, contrary=tuple(against), mentioned=tuple(statements))
    if piece.kind == "start" and any(_moved(speech, statement, last_at) for statement in statements):
        return Evidence(piece, "corrected", mentioned=tuple(statements))
    turns = {statement.heard.turn for statement in statements if not statement.heard.same}
    if _revoked_later(speech, piece, standing[-1], turns):
        return Evidence(piece, "taken_back", mentioned=tuple(statements))
    return Evidence(piece, "stands", tuple(standing), mentioned=tuple(statements))


def _moved(speech: Speech, statement: Statement, since: int) -> bool:
    """Whether the agent names another time of day later, whatever becomes of it: the first is not sure any more."""
    heard = statement.heard
    later = heard.start > since and not heard.same and speech.speaker(heard.turn) == "agent"
    return (
        later and statement.why != "another_person" and _CLOCK.search(speech.text, heard.start, heard.end) is not None
    )


def _differs(statement: Statement, piece: Piece) -> bool:
    """Whether another value of the kind counts against this one: one said of another use does not."""
    if statement.heard.spelled:
        return True
    labelled = piece.label in cues.LABELS and statement.labels and piece.label not in statement.labels
    return (statement.stands or statement.why in _UNSETTLING) and not labelled


def _revoked_later(speech: Speech, piece: Piece, last: Statement, turns: Collection[int]) -> bool:
    """Whether, turns later, the caller takes back what he said, or begins to mend a value of this kind.

    ``turns`` name other values of the kind, and so are about it.
    """
    own, elsewhere = cues.TOPICS[cues.TOPIC_OF[piece.kind]], False
    pattern = cues.CONTEXT[piece.kind]
    for sentence in speech.sentences[speech.sentence_at(last.quotes[-1][1] - 1) + 1 :]:
        said = speech.text[sentence.start : sentence.end]
        if sentence.turn in turns or own.search(said) or cues.EVERYTHING.search(said):
            elsewhere = False
        elif not elsewhere:
            elsewhere = any(topic.search(said) for topic in cues.TOPICS.values())
        if elsewhere or speech.speaker(sentence.turn) != "caller":
            continue
        if cues.TAKEN_BACK.search(said):
            return True
        if pattern.pattern and cues.MENDED.search(said) and pattern.search(said) and not sentence.asks:
            return True
    return False
