"""What was said in a conversation, turn by turn, with the place of every character. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from connector_runner.kernel.errors import BadRecord

Speaker = Literal["caller", "agent", "other"]

LONGEST_BYTES: Final = 5 * 1024 * 1024
MOST_TURNS: Final = 50_000
_SPEAKERS: Final[dict[str, Speaker]] = {
    **dict.fromkeys(("caller", "user", "patient", "customer", "human", "client", "guest"), "caller"),
    **dict.fromkeys(("agent", "assistant", "ai", "bot", "receptionist", "representative", "rep", "operator"), "agent"),
    **dict.fromkeys(("scheduler", "staff", "front desk", "clinic", "office", "virtual assistant", "voice agent",
                     "ai agent", "ai assistant"), "agent"),
}  # fmt: skip
_LINE = re.compile(
    r"[\s*_>-]{0,9}(?:[\[(]?\d[\d:.,\s>-]{0,40}[\])]?)?[\s*_-]{0,9}"  # list marks, a time
    r"([^\W\d_][^:,;?!\[\n]{0,39}?)"
    r"[ *_]{0,9}(?:[\[(]\d[\d:.,\s>-]{0,40}[\])])?[*_]{0,4}:(?!\d)[*_]{0,4}"
)
_LONGEST_LABEL: Final = 160
_NUMBERED = re.compile(r"(.{1,40}?)[ _-]{0,2}(\d{1,2}|\([^()]{1,40}\))?")
_MOST_WORDS: Final = 4


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker said without a break: characters ``start`` up to ``end`` of the material's text."""

    speaker: Speaker
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Material:
    """One conversation. ``text`` is the texts of its turns, in their order, parted by line feeds.

    ``session`` names the conversation: the ``correlation_id`` of the events that came of it.
    """

    session: str
    text: str
    turns: tuple[Turn, ...]

    def said(self, turn: Turn) -> str:
        """The words of a turn."""
        return self.text[turn.start : turn.end]


def read(session: str, body: Any) -> Material:
    """The conversation that ``body`` tells: a text with a line ``Speaker: words`` a turn, or turns as objects.

    Turns are ``{"speaker": …, "text": …}`` (also ``role``, ``content``), or ``{"agent_transcript": …,
    "user_transcript": …}`` as call platforms give them: what the agent said, then the caller; either a list of these,
    or an object that has it as ``turns``. A speaker who is neither agent nor caller, or a second caller, is another.
    Lines without a speaker belong to the one before; before the first, to another.
    Raises BadRecord for anything else, or for more than 5 MB.
    """
    if isinstance(body, Mapping):
        body = body.get("turns", body.get("text"))
    if isinstance(body, str):
        if len(body.encode("utf-8", "surrogatepass")) > LONGEST_BYTES:
            raise BadRecord("a transcript is of 5 MB at the most", code="too_large", where="transcript")
        return _joined(session, _lines(body))
    if isinstance(body, list):
        return _joined(session, _objects(body))
    raise BadRecord("expected a text or a list of turns", code="wrong_type", where="transcript")


class _Voices:
    """Who the names of speakers stand for: ``Caller 1`` or ``Caller (Ann)`` is the caller, a second one another."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def of(self, label: str) -> Speaker | None:
        """Agent or caller; None for a name of neither."""
        name = " ".join(label.lower().replace("_", " ").split())
        found = _NUMBERED.fullmatch(name)
        if found is None or (speaker := _SPEAKERS.get(found[1])) is None:
            return None
        which = found[2] or ""
        same = speaker == "agent" or self._first.setdefault(found[1], which) == which
        return speaker if same else "other"


def _lines(text: str) -> Iterable[tuple[Speaker, str]]:
    speaker: Speaker = "other"
    voices = _Voices()
    for line in text.splitlines():
        found = _LINE.match(line) if ":" in line[:_LONGEST_LABEL] else None
        if found is not None and len(found[1].split()) <= _MOST_WORDS:
            speaker, line = voices.of(found[1]) or "other", line[found.end() :]
        yield speaker, line


def _objects(turns: list[Any]) -> Iterable[tuple[Speaker, str]]:
    voices = _Voices()
    for index, turn in enumerate(turns):
        where = f"transcript.{index}"
        if not isinstance(turn, Mapping):
            raise BadRecord("expected an object", code="wrong_type", where=where)
        if "agent_transcript" in turn or "user_transcript" in turn:
            yield "agent", _text(turn.get("agent_transcript"), f"{where}.agent_transcript")
            yield "caller", _text(turn.get("user_transcript"), f"{where}.user_transcript")
            continue
        name = turn.get("speaker", turn.get("role"))
        if not isinstance(name, str):
            raise BadRecord("who speaks", code="missing", where=f"{where}.speaker")
        yield (
            voices.of(name) or "other",
            _text(turn.get("text", turn.get("content")), f"{where}.text"),
        )


def _text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRecord("expected a text", code="wrong_type", where=where)
    return value


def _joined(session: str, said: Iterable[tuple[Speaker, str]]) -> Material:
    """Turns of the same speaker in a row are one; empty ones are none."""
    turns: list[Turn] = []
    pieces: list[str] = []
    at = size = 0
    for speaker, words in said:
        words = words.replace("\x00", " ").strip()
        if not words:
            continue
        if turns and turns[-1].speaker == speaker:
            turns[-1] = Turn(speaker, turns[-1].start, at + len(words))
        else:
            turns.append(Turn(speaker, at, at + len(words)))
        pieces.append(words)
        at += len(words) + 1
        size += len(words.encode("utf-8", "surrogatepass")) + 1
        if size > LONGEST_BYTES:
            raise BadRecord("a transcript is of 5 MB at the most", code="too_large", where="transcript")
        if len(turns) > MOST_TURNS:
            raise BadRecord("a transcript has too many turns", code="too_many", where="transcript")
    return Material(session, "\n".join(pieces), tuple(turns))
