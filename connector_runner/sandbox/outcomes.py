"""OperationOutcome, the body of every error."""

from __future__ import annotations

from .fhir_json import Json

CODE_OF_STATUS = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    409: "conflict",
    410: "deleted",
    412: "conflict",
    413: "too-long",
    415: "not-supported",
    422: "processing",
    429: "throttled",
    501: "not-supported",
    502: "transient",
    503: "transient",
    504: "timeout",
}


class FhirError(Exception):
    """A request that is answered with ``status`` and an OperationOutcome."""

    def __init__(self, status: int, text: str, *, code: str | None = None, where: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.code = code or CODE_OF_STATUS.get(status, "exception")
        self.where = where

    def outcome(self) -> Json:
        """The body."""
        return outcome(self.code, self.text, where=self.where)


def outcome(code: str, text: str, *, severity: str = "error", where: str | None = None) -> Json:
    """One issue; ``where`` is a FHIRPath such as ``Patient.birthDate``."""
    issue: Json = {"severity": severity, "code": code, "details": {"text": text}, "diagnostics": text}
    if where:
        issue["expression"] = [where]
    return {"resourceType": "OperationOutcome", "issue": [issue]}
