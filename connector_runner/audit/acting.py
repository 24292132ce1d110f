"""On whose authority the present code acts: set once where a command, a task or a request begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

NAME = "by"
"""Under which an entry's detail says it."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Who is behind an entry, whatever name they gave: ``os:alice``, ``api_key:0190…``, ``system``.

    ``through`` is the command, task or route; ``correlation_id`` is one for all that it did.
    """

    who: str
    through: str
    correlation_id: str


_present: ContextVar[Authority | None] = ContextVar("audit_authority", default=None)


@contextmanager
def acting(authority: Authority) -> Iterator[None]:
    """While this block runs."""
    before = _present.set(authority)
    try:
        yield
    finally:
        _present.reset(before)


def with_authority(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """``detail`` with the present authority, where there is one and the detail names none."""
    present = _present.get()
    if present is None or NAME in detail:
        return detail
    said = {"who": present.who, "through": present.through, "correlation_id": present.correlation_id}
    return {**detail, NAME: said}
