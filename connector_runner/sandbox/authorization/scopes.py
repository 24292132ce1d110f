"""Scopes of SMART's two versions, as a server takes them."""

from __future__ import annotations

import re

_SCOPE = re.compile(r"(system|user|patient)/(\*|[A-Z][A-Za-z]+)\.(?:(read|write|\*)|(c?r?u?d?s?))(\?\S+)?")
_V1 = {"read": "rs", "write": "cud", "*": "cruds"}


def access(scope: str) -> tuple[str, str] | None:
    """Type and letters of a scope; None for one that means nothing here."""
    found = _SCOPE.fullmatch(scope)
    if found is None or (found[3] and found[5]):
        return None
    letters = _V1[found[3]] if found[3] else found[4]
    return (found[2], letters) if letters else None


def version(scope: str) -> str:
    """``v1`` or ``v2``."""
    found = _SCOPE.fullmatch(scope)
    return "v1" if found is not None and found[3] else "v2"


def within(scope: str, registered: str) -> bool:
    """Whether a scope asks no more than one that is registered."""
    asked, held = access(scope), access(registered)
    if asked is None or held is None:
        return scope == registered
    return held[0] in ("*", asked[0]) and set(asked[1]) <= set(held[1])


def covers(scopes: str, resource_type: str, letter: str) -> bool:
    """Whether scopes let a request reach records of a type in one way of ``cruds``."""
    found = [each for each in map(access, scopes.split()) if each is not None]
    return any(kind in ("*", resource_type) and letter in letters for kind, letters in found)
