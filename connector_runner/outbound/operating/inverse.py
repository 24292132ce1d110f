"""The inverse of writes to one resource: what the sink held before them, less what others edited since. Pure.

A resource is taken in *pieces*, the smallest parts that are restored whole: a top-level element, or one element
of a list that has a business key (a phone by system and use, an identifier by system and value, an extension by
its URL). Writes are undone one by one, the newest first; a piece is restored only while it still is what that
write left, so another's edit, whenever it was made, stops the way back for its piece and for no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connector_runner.connectors.sinks import Json

EDITED_SINCE: Final = "edited_since"
"""Somebody else changed the piece after we wrote it: it is theirs."""

_UNTOUCHED: Final = frozenset({"resourceType", "id", "meta", "text"})
_ABSENT: Final = object()

Pieces = dict[str, Any]
KeyOf = Callable[[dict[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Write:
    """One write that landed. ``before`` is the resource as it was, ``sent`` what was asked, ``left`` what the sink
    made of it (the same where it did not say)."""

    before: Json
    sent: Json
    left: Json


@dataclass(frozen=True, slots=True)
class Piece:
    """What becomes of one piece. ``value`` is what it is restored to, None: it goes."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class InversePlan:
    """``body`` is the resource to be sent. ``skipped``: piece -> why it is left; ``already`` are as they were."""

    body: Json
    restored: tuple[Piece, ...]
    skipped: Mapping[str, str]
    already: frozenset[str] = frozenset()


def inverse(writes: Sequence[Write], current: Json) -> InversePlan:
    """Undo ``writes`` (oldest first, all of one resource) on ``current``; nothing is changed in the arguments."""
    documents = [part for write in writes for part in (write.before, write.sent, write.left)]
    keyed = _keyed_in_all([*documents, current])
    held = _pieces(current, keyed)
    now = dict(held)
    skipped: dict[str, str] = {}
    already: set[str] = set()
    for write in reversed(writes):
        before, sent, left = (_pieces(part, keyed) for part in (write.before, write.sent, write.left))
        for name in sorted(before.keys() | sent.keys()):
            was = before.get(name, _ABSENT)
            if name in skipped or name in already or _same(was, sent.get(name, _ABSENT)):
                continue
            if not _same(now.get(name, _ABSENT), left.get(name, _ABSENT)):
                if _same(now.get(name, _ABSENT), was):
                    already.add(name)
                else:
                    skipped[name] = EDITED_SINCE
            elif was is _ABSENT:
                now.pop(name, None)
            else:
                now[name] = was
    changed = sorted(n for n in held.keys() | now.keys() if not _same(held.get(n, _ABSENT), now.get(n, _ABSENT)))
    restored = tuple(Piece(name, now.get(name)) for name in changed)
    return InversePlan(_put_together(current, now, keyed), restored, skipped, frozenset(already))


def _same(one: Any, other: Any) -> bool:
    if one is _ABSENT or other is _ABSENT:
        return one is other
    return bool(one == other)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _identifier(element: dict[str, Any]) -> str:
    return f"{_text(element.get('system'))}|{_text(element.get('value'))}"


def _actor(element: dict[str, Any]) -> str:
    actor = element.get("actor")
    return _text(actor.get("reference") or actor.get("display")) if isinstance(actor, dict) else ""


_KEYS: Final[dict[str, KeyOf]] = {
    "telecom": lambda e: f"{_text(e.get('system'))}|{_text(e.get('use'))}",
    "address": lambda e: _text(e.get("use")),
    "name": lambda e: _text(e.get("use")),
    "identifier": _identifier,
    "extension": lambda e: _text(e.get("url")),
    "modifierExtension": lambda e: _text(e.get("url")),
    "participant": _actor,
}


def _keyed_in_all(documents: Sequence[Json]) -> frozenset[str]:
    """The fields whose elements can be told apart by their key in every document; others are taken whole."""
    return frozenset(field for field, key in _KEYS.items() if all(_told_apart(d.get(field), key) for d in documents))


def _told_apart(value: Any, key: KeyOf) -> bool:
    if value is None:
        return True
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return False
    return len({key(item) for item in value}) == len(value)


def _pieces(resource: Json, keyed: frozenset[str]) -> Pieces:
    pieces: Pieces = {}
    for field, value in resource.items():
        if field in _UNTOUCHED:
            continue
        if field in keyed:
            pieces.update((f"{field}[{_KEYS[field](element)}]", element) for element in value or ())
        else:
            pieces[field] = value
    return pieces


def _put_together(current: Json, pieces: Pieces, keyed: frozenset[str]) -> Json:
    """``current`` with its pieces as they shall be: those that stay keep their places, others come last."""
    result: Json = {}
    for field, value in current.items():
        if field in _UNTOUCHED:
            result[field] = value
        elif field in keyed:
            names = [f"{field}[{_KEYS[field](element)}]" for element in value or ()]
            kept = [pieces[name] for name in names if name in pieces]
            kept += [pieces[n] for n in sorted(pieces) if n.startswith(f"{field}[") and n not in names]
            if kept:
                result[field] = kept
        elif field in pieces:
            result[field] = pieces[field]
    for name in sorted(pieces):
        field, bracket, _ = name.partition("[")
        if bracket and field in keyed:
            if field not in current:
                result.setdefault(field, []).append(pieces[name])
        elif name not in result:
            result[name] = pieces[name]
    return result


def public_piece(name: str) -> str:
    """A piece's name without whatever of its key is a value: ``telecom[phone|home]``, ``identifier[system]``."""
    field, bracket, key = name.partition("[")
    if not bracket:
        return name
    kept = key.removesuffix("]")
    if field == "identifier":
        kept = kept.partition("|")[0]
    return field if field == "participant" else f"{field}[{kept}]"
