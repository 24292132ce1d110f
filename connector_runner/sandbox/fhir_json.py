"""JSON of FHIR resources: decimals keep the digits they were written with, as FHIR demands."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NoReturn

import orjson

Json = dict[str, Any]


def _number(text: str) -> int | Decimal:
    return int(text) if len(text) < 19 else Decimal(text)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def loads(data: bytes | str) -> Any:
    """Parse; ``ValueError`` for what is not JSON."""
    try:
        return json.loads(data, parse_float=Decimal, parse_int=_number, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _fragment(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value).encode())
    raise TypeError(f"{type(value).__name__} is not JSON")


def dumps(value: Any) -> bytes:
    """Compact UTF-8; ``orjson.Fragment`` values are put in as they are. ``TypeError`` for what has no JSON."""
    return orjson.dumps(value, default=_fragment)


def written(raw: bytes) -> orjson.Fragment:
    """Text that is JSON already, to be put into a larger document."""
    return orjson.Fragment(raw)
