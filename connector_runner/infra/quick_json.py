"""``kernel.exact_json``, several times as quick, for what landing reads and writes of every record.

Values to be written must come from ``loads``, here or there: their fractions are Decimals, written with the digits they
came with. A float would be written as another program writes it, and NaN as null.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec
import orjson

from connector_runner.kernel import exact_json

_ESCAPED = re.compile(r"[^\x00-\x7e]")
# Measurements repeat.
_decoder = msgspec.json.Decoder(float_hook=lru_cache(maxsize=4096)(exact_json.fraction))


def loads(data: bytes) -> Any:
    """The value of ``exact_json.loads``, and its errors."""
    # One character is found ten times as quickly as two.
    if b"\\" in data and b"\\u" in data:  # seldom, and what an escape stands for may be something that cannot be kept
        return exact_json.loads(data)
    try:
        value = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return exact_json.loads(
            data
        )  # says what is wrong, and where; takes a byte order mark, or an integer of any size
    if _occurrences(data, b"{") + _occurrences(data, b"[") > exact_json.MAX_DEPTH:
        exact_json.check_depth(value)
    return value


def _occurrences(data: bytes, character: bytes) -> int:
    """``data.count(character)``, which looks at one byte after the other: three times as quickly."""
    return len(data) - len(data.replace(character, b""))


def _exactly(value: Any) -> orjson.Fragment:
    if type(value) is Decimal:
        return orjson.Fragment(str(value))
    raise TypeError(f"{type(value).__name__} is not JSON")


def compact(value: Any) -> str:
    """JSON text of ``value``, keys in the order they come in. It may hold letters beyond ASCII."""
    try:
        return orjson.dumps(value, default=_exactly).decode()
    except TypeError:  # an integer of more than 64 bits
        return exact_json.compact(value)


def digest(value: Any) -> bytes:
    """The digest of ``exact_json``."""
    try:
        text = orjson.dumps(value, default=_exactly, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return exact_json.digest(value)
    # Both write ASCII alike but for DEL; the canonical text escapes everything else.
    if not text.isascii() or b"\x7f" in text:
        text = _ESCAPED.sub(lambda found: _escape(found[0]), text.decode()).encode()
    return blake2b(text, digest_size=16).digest()


@lru_cache(maxsize=1024)
def _escape(character: str) -> str:
    """A character as JSON escapes it: beyond the first plane as two halves (RFC 8259, section 7)."""
    halves = character.encode("utf-16-be").hex()
    return "".join([f"\\u{halves[at : at + 4]}" for at in range(0, len(halves), 4)])
