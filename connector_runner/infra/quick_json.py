"""The texts of ``kernel.exact_json``, several times as quick, for what landing writes of every record.

Values must come from ``exact_json.loads``: their fractions are Decimals, written with the digits they came with.
A float would be written as another program writes it, and NaN as null.
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b
from typing import Any

import orjson

from connector_runner.kernel import exact_json


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
        return exact_json.digest(value)
    return blake2b(text, digest_size=16).digest()
