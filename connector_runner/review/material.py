"""Transcripts of conversations, kept sealed: what claims that were heard are held against."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import orjson

from connector_runner.audit import log as audit
from connector_runner.infra.database import Row, Tx
from connector_runner.infra.sealing import Sealer
from connector_runner.kernel.errors import BadRecord, Conflict
from connector_runner.review import material_store as store
from connector_runner.review import pending_store
from connector_runner.review.transcript import Material, Turn, read

LONGEST_SESSION: Final = 256


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a transcript: its number among those of its conversation; ``new`` unless it was known."""

    session: str
    n: int
    turns: int
    characters: int
    new: bool


def put(tx: Tx, sealer: Sealer, workspace_id: str, session: str, body: Any, *, actor: str, now: datetime) -> Kept:
    """Keep what was said in a conversation, audited. The same again changes nothing; other words are a further number.

    ``session`` is the ``correlation_id`` of the events that came of it, which are judged again if they were there
    first; ``body`` as ``transcript.read`` takes it.
    Raises BadRecord for what is no transcript or too large, Conflict when another writer was first: begin again.
    """
    if not isinstance(session, str) or not 0 < len(session) <= LONGEST_SESSION:
        raise BadRecord("expected a text of 1 to 256 characters", code="wrong_type", where="session")
    material = read(session, body)
    content = _written(material)
    digest = blake2b(content, digest_size=16, key=sealer.keyed_digest(workspace_id, "material", session)).digest()
    last = store.latest(tx, workspace_id, session)
    if last is not None and bytes(last["digest"]) == digest:
        return Kept(session, last["n"], len(material.turns), len(material.text), new=False)
    n = 1 if last is None else last["n"] + 1
    sealed = sealer.seal(tx, workspace_id, zlib.compress(content, 6), _bound(session, n))
    size = {"turns": len(material.turns), "characters": len(material.text)}
    if not store.add(tx, workspace_id, session, n, digest=digest, sealed=sealed, **size, actor=actor, now=now):
        raise Conflict("another transcript of this conversation came first", code="concurrent_write")
    audit.append(
        tx, workspace_id, actor=actor, action="material.added", object=session, detail={"n": n, **size}, now=now
    )
    heard_of = store.entities_of(tx, workspace_id, session)
    if heard_of:
        pending_store.request(tx, workspace_id, heard_of)
    return Kept(session, n, **size, new=True)


def of_session(tx: Tx, sealer: Sealer, workspace_id: str, session: str) -> Material | None:
    """What was said in a conversation, as it was last handed in; None where nothing was."""
    return of_sessions(tx, sealer, workspace_id, [session]).get(session)


def of_sessions(tx: Tx, sealer: Sealer, workspace_id: str, sessions: Sequence[str]) -> dict[str, Material]:
    """The same of several conversations, without those of which nothing was handed in."""
    found = store.of_sessions(tx, workspace_id, sessions) if sessions else []
    return {row["session"]: _opened(tx, sealer, workspace_id, row) for row in found}


def numbered(tx: Tx, sealer: Sealer, workspace_id: str, session: str, n: int) -> Material | None:
    """What was handed in of a conversation as number ``n``, however often it was since; None where nothing was."""
    row = store.numbered(tx, workspace_id, session, n)
    return None if row is None else _opened(tx, sealer, workspace_id, row)


def _opened(tx: Tx, sealer: Sealer, workspace_id: str, row: Row) -> Material:
    session = row["session"]
    content = zlib.decompress(sealer.open(tx, workspace_id, row["sealed"], _bound(session, row["n"])))
    document = orjson.loads(content)
    return Material(session, document["text"], tuple(Turn(*turn) for turn in document["turns"]))


def _written(material: Material) -> bytes:
    turns = [(turn.speaker, turn.start, turn.end) for turn in material.turns]
    text = material.text.encode("utf-8", "replace").decode()
    return orjson.dumps({"text": text, "turns": turns})


def _bound(session: str, n: int) -> str:
    return f"material|{session}|{n}"
