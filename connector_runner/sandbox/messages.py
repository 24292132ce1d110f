"""What comes in over HTTP and what goes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .fhir_json import dumps
from .outcomes import FhirError

FHIR_JSON = "application/fhir+json; charset=utf-8"
Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` is relative to the FHIR base and without slashes at its ends; header names are lower case.

    ``route`` is the prefix of an API of the vendor's own that it is for, empty for the usual one: ``path`` is then
    relative to it. ``stale_s`` asks for an answer of that many seconds ago, 0 for the version before the current one.
    """

    method: str
    path: str
    pairs: Pairs
    headers: Mapping[str, str]
    body: bytes
    base_url: str
    stale_s: float | None = None
    route: str = ""

    def stale(self, seconds: float) -> Request:
        """The same request to a replica that lags behind."""
        return replace(self, stale_s=seconds)


@dataclass(slots=True)
class Answer:
    """``committed`` names each ``Type/id`` that was written; ``resource`` the one that the request is about.

    With ``endless`` the body never comes to an end.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    committed: tuple[str, ...] = ()
    resource: str | None = None
    content_type: str = FHIR_JSON
    endless: bool = False


def json_answer(status: int, body: Any, headers: dict[str, str] | None = None) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, dumps(body), headers or {})


def error_answer(error: FhirError) -> Answer:
    """An answer with an OperationOutcome."""
    return json_answer(error.status, error.outcome())
