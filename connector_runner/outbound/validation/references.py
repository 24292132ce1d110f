"""References (R4 references.html 2.3.0.1): well-formed, and to a type that the element may point to."""

from __future__ import annotations

import re
from typing import Any

_ID = r"[A-Za-z0-9\-.]{1,64}"
_RELATIVE = re.compile(rf"([A-Z][A-Za-z]+)/{_ID}(/_history/{_ID})?")
_ABSOLUTE = re.compile(rf"https?://[^\s?#]+/([A-Z][A-Za-z]+)/{_ID}(/_history/{_ID})?")
_URL = re.compile(r"https?://[^\s]+")
_URN = re.compile(r"urn:(uuid:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|oid:[0-2](\.(0|[1-9][0-9]*))+)")

Fault = tuple[str, str]
"""Code and message."""


def reference_fault(value: dict[str, Any], targets: frozenset[str] | None, contained: frozenset[str]) -> Fault | None:
    """What is wrong with a Reference, or None. ``targets``: the types it may point to, None for any."""
    literal = value.get("reference")
    kind = value.get("type")
    if type(literal) is str:
        if literal.startswith("#"):
            if len(literal) > 1 and literal[1:] not in contained:
                return "reference_not_contained", "no contained resource has this id (ref-1)"
        else:
            found = _RELATIVE.fullmatch(literal) or _ABSOLUTE.fullmatch(literal)
            if found is not None:
                if type(kind) is str and "/" not in kind and kind != found[1]:
                    return "reference_type_differs", "the reference and its type name different types"
                kind = found[1]
            elif not (_URL.fullmatch(literal) or _URN.fullmatch(literal)):
                return "bad_reference", "not a reference in any form of R4"
    elif not value.keys() & {"identifier", "display", "extension"}:
        return "empty_reference", "a reference that names nothing"
    if targets is not None and type(kind) is str and "/" not in kind and kind not in targets:
        return "reference_type", "a reference to a type that this element may not point to"
    return None
