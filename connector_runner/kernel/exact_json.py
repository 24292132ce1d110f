"""JSON that keeps number tokens, refuses what Postgres cannot hold, and has one canonical text.

``1.0`` and ``1.00`` are different doses to a reader of a chart, so a number with a fraction is a
Decimal and is written back with the digits it came with.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any

from connector_runner.kernel.errors import BadRecord

MAX_DEPTH = 200
_NUMBER_LENGTH = 4000  # digits; Python reads integers, and Postgres numbers, of not much more
_SHORT = 40  # characters; of such a number without an exponent nothing can be out of range
_MARK = "\x00#"
_MARKED = re.compile(r'"\\u0000#([^"]+)"')
# As json.dumps writes them: NUL escaped behind an even number of backslashes, half a surrogate pair as it is.
_SUSPECT = re.compile(r"(?<!\\)(?:\\\\)*\\u0000|[\ud800-\udfff]")


def _refuse_constant(token: str) -> Any:
    raise ValueError(f"{token} is not JSON")


def _exact_default(value: Any) -> str:
    if isinstance(value, Decimal):
        return _MARK + str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def fraction(token: str) -> Decimal:
    """A number with a fraction or an exponent, with its digits. Raises ValueError when it is out of range."""
    if len(token) < _SHORT and "e" not in token and "E" not in token:
        return Decimal(token)
    try:
        number = Decimal(token)
    except InvalidOperation:  # an exponent that Decimal itself does not hold
        raise ValueError("a number is out of range") from None
    if len(token) > _NUMBER_LENGTH or not -_NUMBER_LENGTH < number.adjusted() < _NUMBER_LENGTH:
        raise ValueError("a number is out of range")
    return number


_decoder = json.JSONDecoder(parse_float=fraction, parse_constant=_refuse_constant)
# No check for cycles: what was parsed has none, and to look for them costs a tenth of the work.
_encoder = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), default=_exact_default, allow_nan=False, check_circular=False
)
_unsorted = json.JSONEncoder(separators=(",", ":"), default=_exact_default, allow_nan=False, check_circular=False)


def loads(data: str | bytes | memoryview) -> Any:
    """Parse one JSON document; fractions become Decimal.

    A byte order mark is accepted. Raises BadRecord (codes ``not_utf8``, ``not_json``, ``too_deep``,
    ``bad_text``) with the position, never with the text.
    """
    if not isinstance(data, str):
        try:
            data = str(data, "utf-8")
        except UnicodeDecodeError as exc:
            raise BadRecord(f"not UTF-8 at byte {exc.start}", code="not_utf8") from None
    if data.startswith("\ufeff"):
        data = data[1:]
    try:
        value = _whole(data)
    except json.JSONDecodeError as exc:
        raise BadRecord(f"not JSON at line {exc.lineno} column {exc.colno}: {exc.msg}", code="not_json") from None
    except RecursionError:
        raise BadRecord(f"nested deeper than {MAX_DEPTH} levels", code="too_deep") from None
    except ValueError:
        raise BadRecord("a number is not JSON (NaN, Infinity), or out of range", code="not_json") from None
    check(data, value)
    return value


def _whole(text: str) -> Any:
    """As ``JSONDecoder.decode``, which looks for white space on both sides though there mostly is none."""
    if text[:1] == "{":
        value, end = _decoder.raw_decode(text)
        if end == len(text):
            return value
    return _decoder.decode(text)


def scan(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that begins at ``start`` of a longer text, and the index after it; ``check`` comes after.

    Raises json.JSONDecodeError with its place in ``text``, RecursionError, or ValueError for a number.
    """
    return _decoder.raw_decode(text, start)


def check(text: str, value: Any) -> None:
    """Raise BadRecord (``bad_text``, ``too_deep``) when ``value``, parsed from ``text``, cannot be kept."""
    if text.count("{") + text.count("[") > MAX_DEPTH:
        check_depth(value)
    # One character is found many times as quickly as two.
    if "\\" in text and "\\u" in text and _SUSPECT.search(json.dumps(value, ensure_ascii=False, default=str)):
        raise BadRecord("text holds NUL or half a surrogate pair", code="bad_text")


def check_depth(value: Any) -> None:
    """Raise BadRecord when ``value`` nests deeper than MAX_DEPTH."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise BadRecord(f"nested deeper than {MAX_DEPTH} levels", code="too_deep")
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(v for v in item.values() if isinstance(v, dict | list))
            elif isinstance(item, list):
                below.extend(v for v in item if isinstance(v, dict | list))
        level = below


def dumps(value: Any) -> str:
    """The canonical text: sorted keys, no spaces, ASCII, number tokens as they came."""
    text = _encoder.encode(value)
    return _MARKED.sub(r"\1", text) if "\\u0000#" in text else text


def compact(value: Any) -> str:
    """As ``dumps``, keys in the order they come in: for what Postgres puts in an order of its own (jsonb)."""
    text = _unsorted.encode(value)
    return _MARKED.sub(r"\1", text) if "\\u0000#" in text else text


def digest(value: Any) -> bytes:
    """16 bytes that stand for the canonical text."""
    return blake2b(dumps(value).encode(), digest_size=16).digest()
