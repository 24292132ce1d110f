"""What of a model's word counts: only what the conversation itself bears out at the places that it quotes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector_runner.review.judge import cues
from connector_runner.review.judge.case import CONTRADICTED, MODEL, SUPPORTED, UNCLEAR, FieldVerdict
from connector_runner.review.judge.prompt import Asked
from connector_runner.review.judge.rules import Point
from connector_runner.review.judge.speech import Speech
from connector_runner.review.judge.weighing import CONFIRMED, Evidence, Statement

Span = tuple[int, int]


def verified(asked: Asked, answer: Mapping[str, Any]) -> list[FieldVerdict]:
    """One verdict for each point of a question, of an answer that is of the shape that was asked for.

    A claim that is judged twice, or not at all, is unclear.
    """
    by_claim: dict[int, list[Mapping[str, Any]]] = {}
    for entry in answer["verdicts"]:
        by_claim.setdefault(entry["claim"], []).append(entry)
    return [_verified(asked, point, by_claim.get(n, [])) for n, point in enumerate(asked.points)]


def _verified(asked: Asked, point: Point, entries: Sequence[Mapping[str, Any]]) -> FieldVerdict:
    if len(entries) != 1:
        return point.verdict(UNCLEAR, MODEL, "not_answered" if not entries else "answered_twice")
    word = entries[0]["verdict"]
    if word == UNCLEAR:
        return point.verdict(UNCLEAR, MODEL, "model_unclear")
    places = [_place(asked, quote) for quote in entries[0]["quotes"]]
    if not places:
        return point.verdict(UNCLEAR, MODEL, "no_quote")
    spans = tuple(place for place in places if place is not None)
    if len(spans) != len(places):
        return point.verdict(UNCLEAR, MODEL, "quote_absent")
    if word == CONTRADICTED:
        shown = any(_overlaps(spans, statement) for one in point.evidence for statement in _against(one))
        return point.verdict(
            CONTRADICTED if shown else UNCLEAR, MODEL, "said_otherwise" if shown else "not_shown", spans
        )
    if all(_shown(asked.speech, one, spans) for one in point.evidence):
        return point.verdict(SUPPORTED, MODEL, "quoted", spans)
    return point.verdict(UNCLEAR, MODEL, "not_shown", spans)


def _place(asked: Asked, quote: Mapping[str, Any]) -> Span | None:
    """Where in the material a quote stands: its turn must have that text, once."""
    excerpt = next((e for e in asked.excerpts if e.number == quote["turn"]), None)
    text = quote["text"]
    if excerpt is None or not text.strip() or excerpt.text.count(text) != 1:
        return None
    at = excerpt.start + excerpt.text.index(text)
    return at, at + len(text)


def _shown(speech: Speech, evidence: Evidence, spans: Sequence[Span]) -> bool:
    """Whether a piece stands, and a quote holds it whole, or holds the yes to its being read back."""
    return evidence.stands and any(
        _holds(speech, statement, start, end) for statement in evidence.statements for start, end in spans
    )


def _holds(speech: Speech, statement: Statement, start: int, end: int) -> bool:
    first, last = statement.quotes[0]
    if start <= first and last <= end:
        return True
    if statement.why != CONFIRMED or len(statement.quotes) < 2:
        return False
    answer = statement.quotes[1]
    return answer[0] <= start and end <= answer[1] and cues.YES.match(speech.text[start:end]) is not None


def _against(evidence: Evidence) -> Sequence[Statement]:
    return [one for one in evidence.mentioned if not one.heard.same or not one.stands]


def _overlaps(spans: Sequence[Span], statement: Statement) -> bool:
    return any(start < statement.heard.end and statement.heard.start < end for start, end in spans)
