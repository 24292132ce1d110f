"""What rules alone say of a case, and what of it a model is worth asking about. Pure.

A model is asked only where the words of the caller bear a value out already: it may doubt what rules found, and never
make up for what they did not find.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connector_runner.review.judge import checks, cues
from connector_runner.review.judge.case import CONTRADICTED, RULES, SUPPORTED, UNCLEAR, Case, FieldVerdict, Word
from connector_runner.review.judge.claims import pieces
from connector_runner.review.judge.hearing import Heard
from connector_runner.review.judge.speech import Speech
from connector_runner.review.judge.weighing import CONFIRMED, OK, Evidence, listen, weigh
from connector_runner.world.atoms import SAFETY_FIELDS, field_of, split
from connector_runner.world.events import StoredEvent
from connector_runner.world.fold import VERDICT_PREFIX

RULES_VERSION: Final = "2"
LONGEST: Final = 512 * 1024
"""Characters: ten hours of talk. What is longer is no one conversation, and a person's to read."""
MOST_SHOWN: Final = 6
"""So many places are shown to the person who reads on."""
SPOKEN_SOURCES: Final = frozenset({"voice_agent", "text_agent"})
_OTHERWISE: Final = frozenset({"denied", "corrected", "said_otherwise"})


@dataclass(frozen=True, slots=True)
class Point:
    """One atom of one event that the words of the caller bear out: a model may be asked whether it agrees."""

    case: Case
    event: StoredEvent
    path: str
    value: Any
    evidence: tuple[Evidence, ...]

    def verdict(self, word: Word, by: str, code: str, quotes: tuple[tuple[int, int], ...] = ()) -> FieldVerdict:
        """The verdict about it."""
        return FieldVerdict(self.event.id, self.path, word, "model" if by == "model" else "rules", code, quotes)


class _Ears:
    """What a conversation has for the values of an event, each listened for once."""

    def __init__(self, entity_type: str, speech: Speech, event: StoredEvent, values: Mapping[str, Any]) -> None:
        self._speech, self._about = speech, event.effective_at or event.ingested_at
        self._pieces = {path: pieces(entity_type, path, value) for path, value in values.items()}
        self._found: dict[str, list[list[Heard]]] | None = None

    def evidence(self, path: str) -> tuple[Evidence, ...] | None:
        """Of one value; None for one that no words of a caller can bear out."""
        parts = self._pieces[path]
        if parts is None:
            return None
        if self._found is None:
            self._found = {p: listen(self._speech, found, self._about) for p, found in self._pieces.items() if found}
        also = [
            (heard.start, heard.end)
            for other, found in self._found.items()
            if other != path
            for each in found
            for heard in each
            if heard.same
        ]
        return weigh(self._speech, parts, self._found[path], also)


def unreadable(speech: Speech) -> str | None:
    """Why nothing in a conversation can count by rules; None for one that they can read."""
    if not speech.turns:
        return "nothing_said"
    if cues.ADDRESSED.search(speech.text):
        return "addressed_to_judge"
    caller = [speech.text[turn.start : turn.end] for turn in speech.turns if turn.speaker == "caller"]
    if not caller:
        return "nothing_said"
    if cues.UNSEEN.search(speech.text) or any(not cues.is_english(said) for said in caller):
        return "language"
    return "for_another" if any(cues.FOR_ANOTHER.search(said) for said in caller) else None


def decide(case: Case, speech: Speech | None, flaw: str | None, now: datetime) -> Iterator[FieldVerdict | Point]:
    """For every atom of the events a verdict, or a point that a model may be asked about.

    ``speech`` is the case's material, read; ``flaw`` why it cannot be used (``unreadable``).
    """
    for event in case.events:
        if event.event_type.startswith(VERDICT_PREFIX):
            continue
        values = split(event.facts)
        ears = None if speech is None or flaw is not None else _Ears(case.entity_type, speech, event, values)
        for path, value in values.items():
            yield _decided(case, event, path, value, ears, flaw, now)


def _decided(
    case: Case, event: StoredEvent, path: str, value: Any, ears: _Ears | None, flaw: str | None, now: datetime
) -> FieldVerdict | Point:
    def verdict(word: Word, code: str, quotes: tuple[tuple[int, int], ...] = ()) -> FieldVerdict:
        return FieldVerdict(event.id, path, word, RULES, code, quotes)

    kind = case.entity_type
    if (problem := checks.malformed(kind, path, value, now)) is not None:
        return verdict(UNCLEAR, problem)
    if (problem := checks.against_authority(kind, path, value, event, case.view.folded)) is not None:
        return verdict(CONTRADICTED, problem)
    if (reason := checks.agreement(kind, path, value, event, case.view.folded)) is not None:
        return verdict(SUPPORTED, reason)
    if case.material is None or event.source not in SPOKEN_SOURCES:
        return verdict(UNCLEAR, "no_material")
    if flaw is not None or ears is None:
        return verdict(UNCLEAR, flaw or "no_material")
    evidence = ears.evidence(path)
    if evidence is None:
        return verdict(UNCLEAR, "not_for_speech")
    fallen = [one for one in evidence if not one.stands]
    if fallen:
        against = [one for one in fallen if one.code in _OTHERWISE and one.contrary]
        if against:
            quotes = tuple(quote for one in against for statement in one.contrary for quote in statement.quotes)
            return verdict(CONTRADICTED, against[0].code, quotes)
        shown = tuple(statement.quotes[0] for statement in fallen[0].mentioned[:MOST_SHOWN])
        return verdict(UNCLEAR, fallen[0].code, shown)
    if field_of(path) not in SAFETY_FIELDS and all(_proven(one) for one in evidence):
        return verdict(SUPPORTED, "said_and_confirmed", _quotes(evidence))
    return Point(case, event, path, value, evidence)


def _proven(evidence: Evidence) -> bool:
    """Said by the caller, and read back by the agent with a yes to it."""
    return {OK, CONFIRMED} <= {statement.why for statement in evidence.statements}


def _quotes(evidence: tuple[Evidence, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(quote for one in evidence for statement in one.statements for quote in statement.quotes)
