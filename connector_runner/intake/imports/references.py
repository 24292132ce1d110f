"""References by ``fullUrl`` inside one file: ``urn:uuid:…`` to the ``Type/id`` of the entry that has it.

A reference may point forwards, so the names are gathered in a first pass. Those of a small file are kept in
memory, those of a large one in Postgres and looked up a chunk at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from connector_runner.intake.imports.items import Entry, Fault
from connector_runner.intake.imports.records import identity

_FULL_URL = re.compile(rb'"fullUrl"\s*:\s*"((?:[^"\\]|\\.)*)"')
_BY_PATH = re.compile(r"(?:https?://\S+/)?[A-Z][A-Za-z]{1,63}/[A-Za-z0-9.\-]{1,64}")
_REFERENCE = re.compile(rb'"reference"\s*:\s*"((?:urn|https?):[^"\\]{1,500})"')
_CLEAN = re.compile(r"[\x21-\x7e]{1,500}")
_OVERLAP = 1024
_SCAN_BYTES = 1 << 20


def needs_names(read: Callable[[int], bytes]) -> bool:
    """Whether a file has a ``fullUrl`` that does not itself say which record it names."""
    rest = b""
    while data := read(_SCAN_BYTES):
        text = rest + data
        if b'"fullUrl"' in text and any(
            _BY_PATH.fullmatch(url.decode("utf-8", "replace")) is None for url in _FULL_URL.findall(text)
        ):
            return True
        rest = text[-_OVERLAP:]
    return False


def name_of(entry: Entry) -> tuple[str, str] | None:
    """``fullUrl`` and ``Type/id`` of an entry, None when the first says the second or there is none."""
    url = entry.full_url
    if url is None or not isinstance(entry.resource, dict) or not _CLEAN.fullmatch(url):
        return None
    if _BY_PATH.fullmatch(url):
        return None
    named = identity(entry)
    return None if isinstance(named, Fault) else (key_of(url), f"{named[0]}/{named[1]}")


def key_of(url: str) -> str:
    """The form under which a full URL is known: UUIDs are the same in either case."""
    return url.lower() if url[:9].lower() == "urn:uuid:" else url


def used_in(bodies: Iterable[bytes]) -> set[str]:
    """The keys that the references in ``bodies`` ask for."""
    return {key_of(found.decode()) for body in bodies for found in _REFERENCE.findall(body) if found.isascii()}


def resolver(names: dict[str, str]) -> Callable[[str], str | None]:
    """The resolver for the mappings; what is no name of this file stays as it is, to be judged there."""

    def resolve(text: str) -> str | None:
        found = names.get(key_of(text))
        return text if found is None else found

    return resolve
