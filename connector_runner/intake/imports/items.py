"""What a parser finds in a file: entries, and faults with their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec import Struct

KEPT_OF_A_FAULT = 64 * 1024
"""Bytes kept of something that cannot be used."""


class Entry(Struct):
    """One entry of a Bundle, one line, one element of an array, or a whole document.

    ``raw`` are the resource's bytes as they came; ``place`` names where it stood in its file.
    """

    place: str
    resource: Any
    raw: bytes
    full_url: str | None = None
    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    search_mode: str | None = None
    raw_hash: bytes | None = None
    name: tuple[str, str] | None = None
    """What record its line seemed to be."""
    record_type: str | None = None
    """What the record is taken for where it names no type itself; ``updated``: when its source last changed it."""
    updated: str | None = None


@dataclass(slots=True)
class Fault:
    """Something that is no entry. ``message`` is in our words; ``raw`` are its first bytes, if it has any.

    A ``notice`` is told and leaves nothing to repair, so it is not quarantined.
    """

    place: str
    code: str
    message: str
    raw: bytes = b""
    notice: bool = False


class Line(Struct, frozen=True):
    """A line of NDJSON that was not parsed yet, and what record it seems to be.

    To parse is most of the work on a line that says nothing new, so that is found out first.
    """

    place: str
    raw: bytes
    name: tuple[str, str]
    raw_hash: bytes
    ended: bool
    at_byte: int


Item = Entry | Fault
Unread = Item | Line


def fault_of_text(place: str, code: str, message: str, text: str, *, whole: bool = False) -> Fault:
    """A fault that keeps the bytes of ``text``, also where these are not UTF-8; the first ones unless ``whole``."""
    raw = (text if whole else text[:KEPT_OF_A_FAULT]).encode("utf-8", "surrogateescape")
    return Fault(place, code, message, raw if whole else raw[:KEPT_OF_A_FAULT])
