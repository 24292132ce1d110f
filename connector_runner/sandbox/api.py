"""The faces that a simulated system can show: FHIR R4, or a CRM's JSON."""

from __future__ import annotations

from typing import Protocol

from .bulk_export import Exports
from .bundles import Bundles
from .contacts import Contacts, refused
from .interactions import Interactions
from .limits import RateLimit
from .messages import Answer, Request, error_answer
from .outcomes import FhirError


class Api(Protocol):
    """Answers the requests below ``base``. What it writes stays uncommitted: the caller commits or rolls back."""

    base: str

    def perform(self, request: Request) -> Answer:
        """The answer; ``FhirError`` when it is refused."""

    def refusal(self, error: FhirError) -> Answer:
        """A refusal, in the form that this API gives to errors."""

    def subject(self, path: str) -> str | None:
        """What a path is about: ``Type/id``, ``Type``, or nothing in particular."""

    def finish(self, answer: Answer, limit: RateLimit) -> None:
        """Add what every answer of this API carries."""


class FhirApi:
    """FHIR R4 under ``/fhir``."""

    base = "/fhir"

    def __init__(self, interactions: Interactions) -> None:
        self._interactions = interactions
        self._bundles = Bundles(interactions)
        self._exports = Exports(interactions.store, interactions.behaviour)

    def perform(self, request: Request) -> Answer:
        """An interaction, a bundle of them, or an export."""
        exported = self._exports.perform(request) if "$export" in request.path else None
        if exported is not None:
            return exported
        if request.path == "" and request.method == "POST":
            return self._bundles.perform(request)
        return self._interactions.perform(request)

    def refusal(self, error: FhirError) -> Answer:
        """An OperationOutcome."""
        return error_answer(error)

    def subject(self, path: str) -> str | None:
        """As the path says."""
        parts = path.split("/")
        if len(parts) > 1 and parts[1][:1] not in ("_", "$"):
            return f"{parts[0]}/{parts[1]}"
        return parts[0] if parts[0][:1].isupper() else None

    def finish(self, answer: Answer, limit: RateLimit) -> None:
        """FHIR has no such thing."""


class CrmApi:
    """Contacts and activities under ``/api``, with the allowance in the headers."""

    base = "/api"

    def __init__(self, contacts: Contacts) -> None:
        self._contacts = contacts

    def perform(self, request: Request) -> Answer:
        """A request about contacts or activities."""
        answer = self._contacts.perform(request)
        answer.content_type = "application/json"
        return answer

    def refusal(self, error: FhirError) -> Answer:
        """``{"error": {"code", "message"}}``."""
        return refused(error)

    def subject(self, path: str) -> str | None:
        """The record, once it is known which; else its type."""
        return self._contacts.record_type(path)

    def finish(self, answer: Answer, limit: RateLimit) -> None:
        """X-RateLimit-*, where there is a limit."""
        if limit.rate:
            answer.headers["X-RateLimit-Limit"] = str(int(limit.burst))
            answer.headers["X-RateLimit-Remaining"] = str(int(limit.left()))
            answer.headers["X-RateLimit-Reset"] = str(limit.full_in())
