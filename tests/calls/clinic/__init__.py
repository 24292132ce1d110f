"""Whole invented calls to a clinic, one a line, with claims of each and whether its caller says so of himself.

``talk`` is of wide and difficult talk, ``plain`` of ordinary calls, ``attacks`` of nothing but false claims.
``said`` is the transcript: ``a:`` the agent, ``c:`` the caller, ``o:`` another; or a body of any form that one has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from connector_runner.review import transcript
from connector_runner.review.judge.case import Case
from connector_runner.world.atoms import split
from tests.calls.cases import WORKSPACE, event_of, view_of
from tests.calls.generator import Call

BOOKS: Final = ("talk", "plain", "attacks")
_SPEAKERS: Final = {"a": "agent", "c": "caller", "o": "voice"}


@dataclass(frozen=True)
class Heard:
    """One claim of a call, as a case of its own; ``atom`` names it."""

    call: str
    case: Case
    atom: str
    is_true: bool


def claims(book: str) -> Iterator[Heard]:
    """Every claim of a book."""
    path = Path(__file__).with_name(f"{book}.jsonl")
    for number, line in enumerate(path.read_text().splitlines()):
        row = json.loads(line)
        for claim in row["claims"]:
            yield _heard(f"{book}-{number}", number, row, claim)


def _heard(name: str, number: int, row: dict[str, Any], claim: dict[str, Any]) -> Heard:
    event = event_of(Call(number, name, row["type"], claim["facts"], ()))
    material = transcript.read(name, _body(row["said"]))
    [atom] = split(event.facts)
    case = Case(WORKSPACE, event.entity_id, row["type"], (event,), view_of(event), material)
    return Heard(name, case, atom, claim["true"])


def _body(said: Any) -> Any:
    if not isinstance(said, list) or not all(isinstance(turn, str) for turn in said):
        return said
    return [{"speaker": _SPEAKERS[turn[0]], "text": turn[2:]} for turn in said]
