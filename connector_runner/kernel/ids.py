"""Identifiers: event ids ordered by time, entity ids derived from what they stand for.

An entity id is computed from its workspace and canonical id, so a reference to a record
names the right entity before that record has arrived, and two workers that meet the same
record at once agree without asking each other.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha1
from itertools import count
from urllib.parse import quote, unquote

from connector_runner.kernel.errors import BadRecord

UUID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PLAIN = re.compile(r"[A-Za-z0-9._~-]+")
# The hexadecimal digit that says the variant, from the one that chance put there: 10xx.
_VARIANT = {f"{digit:x}": f"{digit & 0x3 | 0x8:x}" for digit in range(16)}


def format_uuid(raw: bytes) -> str:
    """The 36-character text of 16 bytes."""
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def new_id() -> str:
    """A UUID version 7 (RFC 9562, section 5.7): sorts by the millisecond it was made in."""
    milliseconds = time.time_ns() // 1_000_000
    tail = bytearray(os.urandom(10))
    tail[0] = (tail[0] & 0x0F) | 0x70
    tail[2] = (tail[2] & 0x3F) | 0x80
    return format_uuid(milliseconds.to_bytes(6, "big") + bytes(tail))


def new_ids() -> Iterator[str]:
    """UUIDs version 7 of one millisecond without end, in rising order (RFC 9562, section 6.2, method 2).

    Rows that are written in the order of their ids go to the end of an index; one draw of chance serves for all.
    """
    milliseconds = time.time_ns() // 1_000_000
    chance = int.from_bytes(os.urandom(10), "big")
    head = f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-{0x7000 | chance >> 68:04x}-"
    first = 1 << 63 | chance & (1 << 61) - 1  # the variant, and a bit left for counting
    for number in count(first):
        text = f"{number:016x}"
        yield f"{head}{text[:4]}-{text[4:]}"


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a UUID in its lower-case hyphenated form."""
    return UUID_PATTERN.fullmatch(text) is not None


def derived_id(namespace: str, name: str) -> str:
    """A UUID version 5 (RFC 9562, section 5.5) of ``name`` under the UUID ``namespace``."""
    h = sha1(_raw(namespace) + name.encode(), usedforsecurity=False).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


@lru_cache(maxsize=64)
def _raw(uuid: str) -> bytes:
    return bytes.fromhex(uuid.replace("-", ""))


def _part(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quote(text, safe="")


# The names of sources and types are few.
_few = lru_cache(maxsize=1024)(_part)


def canonical_id(source: str, record_type: str, record_id: str) -> str:
    """``source:ResourceType:id``, every other character percent-encoded."""
    return f"{_few(source)}:{_few(record_type)}:{_part(record_id)}"


def parse_canonical_id(text: str) -> tuple[str, str, str]:
    """The three parts of a canonical id.

    Raises BadRecord when ``text`` has not exactly three non-empty parts.
    """
    parts = text.split(":")
    if len(parts) != 3 or not all(parts):
        raise BadRecord("a canonical id is source:ResourceType:id", code="canonical_id", where="canonical_id")
    source, record_type, record_id = (unquote(part) for part in parts)
    return source, record_type, record_id


def entity_id_of(workspace_id: str, canonical: str) -> str:
    """The id of the entity (and of the source record) that ``canonical`` names."""
    return derived_id(workspace_id, canonical)
