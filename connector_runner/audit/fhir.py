"""The log as FHIR R4: AuditEvent (http://hl7.org/fhir/R4/auditevent.html) for reads, configuration, operations and
writes that failed, Provenance (http://hl7.org/fhir/R4/provenance.html) for what records and verdicts rest on. Pure.

Our ids are given as ``urn:uuid:`` (RFC 9562); what is no UUID as an identifier of a system of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from connector_runner.audit.acting import NAME
from connector_runner.audit.actions import PROVENANCE, Action, action_of
from connector_runner.audit.reading import Logged
from connector_runner.kernel import exact_json
from connector_runner.kernel.ids import is_uuid

SYSTEM: Final = "urn:connector-runner:"
_DICOM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_TYPES: Final[Mapping[str, tuple[str, str]]] = {
    "read": ("110112", "Query"),
    "configuration": ("110100", "Application Activity"),
    "credential": ("110137", "User Security Attributes Changed"),
    "operation": ("110100", "Application Activity"),
    "log": ("110101", "Audit Log Used"),
    "record": ("110106", "Export"),
}
"""DICOM PS3.16, context group 400 (Audit Event ID), which audit-event-type takes in."""
_WRITE: Final = "outbound.write"
_DONE: Final = frozenset({"landed", "existed"})
_REFUSALS: Final = frozenset({"policy.refused", "review.refused"})
_OPERATIONS: Final = {"C": "CREATE", "R": "READ", "U": "UPDATE", "D": "DELETE", "E": "EXECUTE"}
_ABOUT: Final = ("entity_id", "other", "event_id", "lane_id", "intent_id")
_LISTS: Final = ("ids", "entities", "events", "causes", "made")


def resource(workspace_id: str, logged: Logged) -> dict[str, Any]:
    """The AuditEvent or Provenance of an entry or note."""
    action = action_of(logged.action)
    failed = _failed(logged)
    if action.kind in PROVENANCE and failed is None:
        made = _provenance(logged, action)
    else:
        made = _audit_event(workspace_id, logged, action, failed)
    return {"resourceType": made.pop("resourceType"), "id": logged.key, **made}


def _failed(logged: Logged) -> str | None:
    """The code for which what was tried was not done; None where it was. Of a write that failed nothing stems."""
    detail = logged.detail
    if logged.action in _REFUSALS:
        return str(detail.get("reason") or detail.get("code") or "refused")
    if logged.action == _WRITE and detail.get("outcome") not in (None, *_DONE):
        return str(detail.get("code") or detail["outcome"])
    return None


def _audit_event(workspace_id: str, logged: Logged, action: Action, failed: str | None) -> dict[str, Any]:
    code, display = _TYPES[action.kind]
    return {
        "resourceType": "AuditEvent",
        "type": {"system": _DICOM, "code": code, "display": display},
        "subtype": [{"system": f"{SYSTEM}action", "code": logged.action}],
        "action": action.code,
        "recorded": instant(logged.at),
        "outcome": "0" if failed is None else "4",
        **({"outcomeDesc": failed} if failed else {}),
        "agent": [{"who": _who(logged.actor), "requestor": True, **_authority(logged)}],
        "source": {"observer": {"display": "connector_runner"}, "site": workspace_id},
        "entity": [
            {"what": about(logged.object), "detail": _details(logged)},
            *({"what": about(name)} for name in _named(logged.detail)),
        ],
    }


def _provenance(logged: Logged, action: Action) -> dict[str, Any]:
    by = _by(logged)
    through = [about(by["through"], "through")] if by.get("through") else []
    named = [about(name) for name in _named(logged.detail)]
    return {
        "resourceType": "Provenance",
        "target": [about(logged.object)],
        "occurredDateTime": instant(logged.at),
        "recorded": instant(logged.at),
        "activity": {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/v3-DataOperation",
                    "code": _OPERATIONS[action.code],
                },
                {"system": f"{SYSTEM}action", "code": logged.action},
            ]
        },
        "agent": [
            {"who": _who(logged.actor), **({"onBehalfOf": _who(by["who"])} if by.get("who") else {})},
            *({"type": {"text": "software"}, "who": one} for one in through),
        ],
        "entity": [
            *({"role": "source", "what": one} for one in named),
            {"role": "derivation", "what": {"display": exact_json.dumps(_said(logged))}},
        ],
    }


def instant(moment: datetime) -> str:
    """A FHIR instant, in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def about(name: str, kind: str = "object") -> dict[str, Any]:
    """A reference to what an entry names."""
    bare = name.rpartition("/")[2]
    if is_uuid(bare):
        return {"reference": f"urn:uuid:{bare}", **({"display": name} if bare != name else {})}
    return {"identifier": {"system": SYSTEM + kind, "value": name or "-"}}


def _who(name: str) -> dict[str, Any]:
    return {"identifier": {"system": f"{SYSTEM}actor", "value": name or "-"}}


def _by(logged: Logged) -> dict[str, str]:
    said = logged.detail.get(NAME)
    return {str(key): str(value) for key, value in said.items()} if isinstance(said, Mapping) else {}


def _authority(logged: Logged) -> dict[str, Any]:
    by = _by(logged)
    return {"altId": by["who"], "name": by.get("through", "")} if by.get("who") and by.get("through") else {}


def _named(detail: Mapping[str, Any]) -> list[str]:
    """Ids that the detail names beside the object."""
    one = [detail[key] for key in _ABOUT if isinstance(detail.get(key), str)]
    some = [name for key in _LISTS if isinstance(detail.get(key), list) for name in detail[key]]
    return [name for name in dict.fromkeys([*one, *some]) if isinstance(name, str) and is_uuid(name)]


def _said(logged: Logged) -> dict[str, Any]:
    return {"entry": logged.n, **logged.detail}


def _details(logged: Logged) -> list[dict[str, str]]:
    return [
        {"type": key, "valueString": value if isinstance(value, str) else exact_json.dumps(value)}
        for key, value in _said(logged).items()
        if value not in (None, "")
    ]
