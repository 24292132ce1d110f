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
}
_LINE = re.compile(r"\s*(?:\[[\d:.,\s>-]{1,40}\]\s*)?([A-Za-z][A-Za-z ]{0,30}?)(?: ?\(?\d{1,2}\)?)?\s*:\s*(.*)")


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
    or an object that has it as ``turns``. A speaker who is neither agent nor caller is another. Lines without a speaker
    belong to the one before; before the first, to another. Raises BadRecord for anything else, or for more than 5 MB.
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


def _lines(text: str) -> Iterable[tuple[Speaker, str]]:
    speaker: Speaker = "other"
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is not None and (name := found[1].strip().lower()) in _SPEAKERS:
            speaker, line = _SPEAKERS[name], found[2]
        elif found is not None and found[1].istitle() and len(found[1].split()) <= 2:
            speaker, line = "other", found[2]
        yield speaker, line


def _objects(turns: list[Any]) -> Iterable[tuple[Speaker, str]]:
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
            _SPEAKERS.get(name.strip().lower(), "other"),
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
