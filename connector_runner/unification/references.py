"""References between records, in every form that servers and files write them.

``Type/id`` · the same under an absolute URL · either with ``/_history/n`` · ``urn:uuid:`` and ``urn:oid:`` ·
``#contained`` · conditional ``Type?identifier=system|value`` · by identifier only · by display only.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import parse_qsl

from connector_runner.kernel.ids import canonical_id

URI_SYSTEM = "urn:ietf:rfc:3986"
_RELATIVE = re.compile(r"([A-Z][A-Za-z]+)/([^/?#\s|]+)(?:/_history/[^/?#\s]+)?")
_ABSOLUTE = re.compile(r"https?://[^?#\s]+?/([A-Z][A-Za-z]+/[^/?#\s|]+(?:/_history/[^/?#\s]+)?)")
_CONDITIONAL = re.compile(r"(?:https?://[^?#\s]+/)?([A-Z][A-Za-z]+)\?(\S+)")


@lru_cache(maxsize=8192)
def relative_id(source: str, text: str) -> str | None:
    """The canonical id of a ``Type/id`` reference, None for any other form."""
    match = _RELATIVE.fullmatch(text)
    return None if match is None else canonical_id(source, match[1], match[2])


@lru_cache(maxsize=4096)
def absolute_id(source: str, base_url: str | None, text: str) -> str | None:
    """The canonical id of an absolute reference under ``base_url`` (under any base when there is none)."""
    match = _ABSOLUTE.fullmatch(text)
    if match is None:
        return None
    if base_url is not None and _without_scheme(text[: match.start(1)]) != _without_scheme(base_url):
        return None
    return relative_id(source, match[1])


def _without_scheme(url: str) -> str:
    return url.partition("://")[2].rstrip("/").lower()


def logical_value(text: str) -> dict[str, object] | None:
    """A reference that leads out of the source, as an identifier; None when it is no reference at all."""
    match = _CONDITIONAL.fullmatch(text)
    if match is not None:
        for name, wanted in parse_qsl(match[2]):
            system, _, value = wanted.rpartition("|")
            if name == "identifier" and value:
                identifier = {"system": system, "value": value} if system else {"value": value}
                return {"identifier": identifier, "type": match[1]}
        return {"identifier": {"system": URI_SYSTEM, "value": text}, "type": match[1]}
    if text.startswith(("urn:", "http://", "https://")):
        logical: dict[str, object] = {"identifier": {"system": URI_SYSTEM, "value": text}}
        foreign = _ABSOLUTE.fullmatch(text)
        if foreign is not None:
            logical["type"] = foreign[1].partition("/")[0]
        return logical
    return None
