"""The log as lines for elsewhere: our own documents, or FHIR resources."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any, Final

from connector_runner.audit import fhir
from connector_runner.audit.reading import Logged
from connector_runner.kernel import exact_json

Format = Callable[[str, Logged], dict[str, Any]]


def document(workspace_id: str, logged: Logged) -> dict[str, Any]:
    """An entry or note as JSON has it. ``hash`` is what the chain holds of an entry, in hex."""
    return {
        "workspace_id": workspace_id,
        "key": logged.key,
        "n": logged.n,
        "noted": logged.noted,
        "at": logged.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": logged.actor,
        "action": logged.action,
        "object": logged.object,
        "detail": dict(logged.detail),
        **({"hash": logged.hash.hex()} if logged.hash is not None else {}),
    }


FORMATS: Final[dict[str, Format]] = {"ndjson": document, "fhir": fhir.resource}


def line(workspace_id: str, logged: Logged, form: str) -> str:
    """One line of an export, without its end."""
    return exact_json.dumps(FORMATS[form](workspace_id, logged))
