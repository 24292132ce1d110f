"""What a record is searched for by in a FHIR server, and which of the answers bear it. Pure.

Servers pass over search parameters that they do not know (R4, search.html#errors) and answer with everything,
so whatever comes back is held against what was asked for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

from connector_runner.connectors.sinks import Json

Pairs = list[tuple[str, str]]
MOST: Final = 10
"""So many candidates are asked for; a person who looks at them needs no more."""

_SPECIAL = re.compile(r"([\\,$|])")


def question(body: Json) -> Pairs | None:
    """The search for records that could be that of ``body``; None when it says nothing to search by.

    Identifiers first (R4, search.html#token); people without one by birth date and name.
    """
    known = _identifiers(body)
    if known:
        return [("identifier", ",".join(f"{_token(s)}|{_token(v)}" for s, v in known)), ("_count", str(MOST))]
    if body.get("resourceType") != "Patient":
        return None
    family, given, born = _demographics(body)
    if not family or not born:
        return None
    asked = [("family", _token(family)), ("birthdate", born), ("_count", str(MOST))]
    return [*asked, ("given", _token(given))] if given else asked


def bearing(body: Json, found: Iterable[Any]) -> tuple[Json, ...]:
    """Those of ``found`` that share an identifier with ``body``, or, when it has none, family name and birth date."""
    resources = [item for item in found if isinstance(item, dict) and item.get("resourceType") == body["resourceType"]]
    known = set(_identifiers(body))
    if known:
        return tuple(item for item in resources if known & set(_identifiers(item)))
    family, _, born = _demographics(body)
    return tuple(
        item for item in resources if item.get("birthDate") == born and _plain(family) in map(_plain, _families(item))
    )


def resources_of(bundle: Json | None) -> list[Any]:
    """The matches of a searchset; warnings and included resources are none."""
    entries = (bundle or {}).get("entry")
    return [
        entry["resource"]
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and "resource" in entry and _mode(entry) == "match"
    ]


def has_more(bundle: Json | None) -> bool:
    """Whether a searchset goes on: what is not on this page may be on the next."""
    links, total = (bundle or {}).get("link"), (bundle or {}).get("total")
    followed = any(
        isinstance(link, dict) and link.get("relation") == "next" for link in (links if isinstance(links, list) else ())
    )
    return followed or (type(total) is int and total > len(resources_of(bundle)))


def numbers(body: Json, system: str) -> set[str]:
    """The identifiers of one system in a resource."""
    return {value for owner, value in _identifiers(body) if owner == system}


def _mode(entry: Json) -> str:
    search = entry.get("search")
    return str(search.get("mode", "match")) if isinstance(search, dict) else "match"


def _identifiers(body: Json) -> list[tuple[str, str]]:
    held = body.get("identifier")
    listed = held if isinstance(held, list) else [held]
    return [
        (item["system"], item["value"])
        for item in listed
        if isinstance(item, dict) and isinstance(item.get("system"), str) and isinstance(item.get("value"), str)
    ]


def _demographics(body: Json) -> tuple[str, str, str]:
    """Family name, first given name and birth date; only a whole date tells people apart."""
    names = _names(body)
    name = next((item for item in names if item.get("use") == "official"), names[0] if names else {})
    family = name.get("family")
    given = name.get("given")
    first = next((item for item in given if isinstance(item, str)), "") if isinstance(given, list) else ""
    born = body.get("birthDate")
    whole = isinstance(born, str) and len(born) == len("2000-01-01")
    return family if isinstance(family, str) else "", first, str(born) if whole else ""


def _names(body: Json) -> list[Json]:
    names = body.get("name")
    return [name for name in names if isinstance(name, dict)] if isinstance(names, list) else []


def _families(body: Json) -> list[str]:
    return [name["family"] for name in _names(body) if isinstance(name.get("family"), str)]


def _plain(text: str) -> str:
    """Without case and accents, as servers compare strings (R4, search.html#string)."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c)).strip()


def _token(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
