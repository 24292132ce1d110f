"""The addresses in settings that will be called, checked when they are saved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from connector_runner.kernel.errors import Misconfigured

CheckURL = Callable[[str], None]
"""Raises Misconfigured for a URL that may not be called (``infra.http.HTTP.check``)."""

_ENDINGS: Final = ("url", "urls", "uri", "endpoint", "endpoints", "origin", "origins", "server")
_REFERENCE: Final = re.compile(r"(?:env|secret):[^\s/]+")


def require_callable(settings: object, check: CheckURL, *, file: str = "", at: str = "settings") -> None:
    """Check each URL of ``settings`` (as JSON) that stands under a key of an address.

    Raises Misconfigured (``address_refused``) naming the file and the dotted key of the first that may not be called.
    """
    for key, url in _addresses(settings, at):
        try:
            check(url)
        except Misconfigured as error:
            where = ": ".join(part for part in (file, key) if part)
            raise Misconfigured(error.message, code="address_refused", where=where) from None


def require_callable_documents(documents: object, check: CheckURL, *, file: str = "") -> None:
    """``require_callable`` for the settings of source documents as they were read: one mapping, or a list of them.

    Names are looked up, which may take seconds: not to be called within a transaction.
    """
    listed = documents if isinstance(documents, list) else [documents]
    for n, document in enumerate(listed):
        if isinstance(document, dict):
            at = f"[{n}].settings" if len(listed) > 1 else "settings"
            require_callable(document.get("settings"), check, file=file, at=at)


def _addresses(value: object, at: str, *, called: bool = False) -> Iterator[tuple[str, str]]:
    """Each text that is an address by the key that it, or the list around it, stands under."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _addresses(inner, f"{at}.{name}", called=_names_address(name))
    elif isinstance(value, list | tuple):
        for n, inner in enumerate(value):
            yield from _addresses(inner, f"{at}.{n}", called=called)
    elif isinstance(value, str) and called and _may_be_called(value):
        yield at, value


def _names_address(name: Any) -> bool:
    return isinstance(name, str) and name.rpartition("_")[2] in _ENDINGS


def _may_be_called(text: str) -> bool:
    """A path below another address is none of itself; nor is the reference of a secret."""
    begin = text.partition("/")[0]
    return (":" in begin or text.startswith(("//", "\\"))) and not _REFERENCE.fullmatch(text)
