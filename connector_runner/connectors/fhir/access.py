"""Which access of SMART scopes a request to a FHIR server takes (SMART App Launch 2.2, scopes for requesting data)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_TYPE: Final = re.compile(r"[A-Z][A-Za-z]+")
_ON_ONE: Final = {"GET": "r", "HEAD": "r", "PUT": "u", "PATCH": "u", "DELETE": "d"}
_ON_TYPE: Final = {"GET": "s", "HEAD": "s", "POST": "c", "PUT": "u", "PATCH": "u", "DELETE": "d"}


def access_of(method: str, path: str) -> tuple[str, str] | None:
    """Record type and one letter of ``cruds`` for a path below the base; None where a scope does not tell.

    Transactions, operations and what is no path of a record type (opaque page links) are left to the server.
    """
    steps = [step for step in urlsplit(path).path.split("/") if step]
    if not steps or not _TYPE.fullmatch(steps[0]) or any(step.startswith("$") for step in steps):
        return None
    kind, rest = steps[0], steps[1:]
    if not rest or rest[0] in ("_search", "_history"):
        letter = "s" if rest else _ON_TYPE.get(method)
    else:
        letter = _ON_ONE.get(method)
    return (kind, letter) if letter else None
