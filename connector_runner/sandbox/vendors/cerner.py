"""Oracle Health Millennium (Cerner), as its CapabilityStatement (August 2026) and its public overview show it.

Where these leave something open one way was chosen, and a setting turns others.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..bundle_pages import Behaviour
from ..fhir_json import Json, dumps, loads
from ..journal import Entry
from ..messages import Answer, Request, json_answer
from ..outcomes import FhirError
from ..store import Store
from . import Plain, Quirks

CREATES = frozenset(
    """AllergyIntolerance Appointment Basic Communication Condition Coverage DiagnosticReport DocumentReference
    Encounter FamilyMemberHistory Immunization MedicationRequest Observation Organization Patient Practitioner
    Procedure Provenance RelatedPerson""".split()  # noqa: SIM905 - a list of words
)
UPDATES = frozenset(
    """AllergyIntolerance Condition DocumentReference FamilyMemberHistory Immunization Observation
    QuestionnaireResponse""".split()  # noqa: SIM905 - a list of words
)
PATCHES = frozenset(
    """Appointment Communication Coverage Encounter MedicationRequest Patient RelatedPerson
    Slot""".split()  # noqa: SIM905 - a list of words
)
DELETES = frozenset({"Coverage"})
TENANT = "ec2458f2-0000-4000-8000-000000000001"
_ANYWHERE = frozenset({"_id", "_count", "_format", "_cursor"})
_PARAMETERS = {
    "Patient": "identifier name given family address-postalcode birthdate phone email gender",
    "Observation": "patient subject category code date _lastUpdated",
    "Condition": "patient encounter subject clinical-status category _lastUpdated",
    "AllergyIntolerance": "patient clinical-status _lastUpdated",
    "Appointment": "date patient practitioner location status",
    "Encounter": "patient subject status date identifier account _lastUpdated",
    "Immunization": "patient _lastUpdated date target-disease",
    "MedicationRequest": "patient intent status _lastUpdated",
    "Procedure": "patient subject date _lastUpdated",
    "DiagnosticReport": "category code encounter patient date _lastUpdated",
    "DocumentReference": "patient encounter period type category date _lastUpdated",
    "Coverage": "patient",
    "Practitioner": "identifier given family name active",
    "Location": "identifier address address-city address-state address-postalcode name organization type",
    "Organization": "identifier type name address",
}
_OF_NOBODY = frozenset({"Practitioner", "Location", "Organization"})
_PEOPLE = frozenset({"patient", "practitioner", "location"})
_MOVES = {
    "proposed": {"booked", "cancelled"},
    "booked": {"arrived", "checked-in", "cancelled"},
    "arrived": {"checked-in", "cancelled"},
    "checked-in": {"fulfilled", "cancelled"},
}


class Cerner(Plain):
    """``settings``:

    - ``tenant``: the one that there is
    - ``unknown_parameters``: ``refuse`` them, or ``ignore`` them without a word
    - ``not_with_patient``: parameters that are refused beside a patient
    - ``spoilt``: records whose data is incomplete, so that neither they nor a search that finds them are answered
    """

    def __init__(self, store: Store, behaviour: Behaviour) -> None:
        super().__init__()
        self._store = store
        # Rows shift while pages are read: the same id can be on two, and another on none.
        self.behaviour = {
            "client_ids": False,
            "conditional_create": False,
            "transactions": False,
            "conflict_status": 409,
            "paging": "offset",
        }
        self.offer(tenant=TENANT, unknown_parameters="refuse", spoilt=[], not_with_patient=[])

    def before(self, request: Request, entry: Entry) -> Answer | Request | None:
        """Take the tenant out of the path, and refuse what Millennium refuses."""
        tenant, _, path = request.path.partition("/")
        if tenant != self.settings["tenant"]:
            return _refused(403, "forbidden")
        if "json" not in request.headers.get("accept", "application/json"):
            return Answer(406)
        request = replace(request, path=path, base_url=f"{request.base_url}/{tenant}")
        kind, _, rest = path.partition("/")
        if path == "metadata":
            return request
        if path == "":
            return request if request.method == "POST" else _refused(404, "not-found")
        if request.method in ("GET", "HEAD"):
            if rest.endswith("_history"):
                return _refused(404, "not-supported")
            return self._spoilt_read(kind, rest) or request if rest else self._search(request, kind)
        return self._write(request, kind, rest) or request

    def _search(self, request: Request, kind: str) -> Answer | Request:
        asked = dict(request.pairs)
        page = asked.get("-pageContext")
        if page is not None:
            token = base64.urlsafe_b64decode(page.encode()).decode()
            return replace(request, pairs=[("_cursor", token)])
        known = _ANYWHERE | set(_PARAMETERS.get(kind, "").split())
        unknown = [name for name in asked if name.partition(":")[0] not in known]
        if unknown and self.settings["unknown_parameters"] == "refuse":
            return _refused(400, "invalid")
        if "patient" in asked and asked.keys() & set(self.settings["not_with_patient"]):
            return _refused(400, "invalid")
        used = [(name, value) for name, value in request.pairs if name not in unknown]
        if not self._enough(kind, dict(used)):
            return _refused(400, "required")
        if "_id" in asked:
            used = [(name, value) for name, value in used if name != "_count"]
        return replace(request, pairs=used)

    def _enough(self, kind: str, asked: dict[str, str]) -> bool:
        """Whether a search says as much as Millennium demands for the type."""
        named = asked.keys() - {"_count", "_format"}
        if "_id" in named:
            return len(asked["_id"]) > 0
        if kind == "Patient":
            return bool(named)
        if kind in _OF_NOBODY:
            return True
        if kind == "Appointment":
            return "date" in named and len(named & _PEOPLE) == 1
        return bool(named & {"patient", "subject"})

    def _spoilt_read(self, kind: str, record_id: str) -> Answer | None:
        return _incomplete(kind) if f"{kind}/{record_id}" in self.settings["spoilt"] else None

    def _write(self, request: Request, kind: str, record_id: str) -> Answer | None:
        """The refusal of a write."""
        taken = {"POST": CREATES, "PUT": UPDATES, "PATCH": PATCHES, "DELETE": DELETES}.get(request.method, frozenset())
        if kind not in taken or bool(record_id) == (request.method == "POST"):
            return _refused(405, "not-supported")
        if request.method in ("PUT", "PATCH") and "if-match" not in request.headers:
            return _refused(412, "required")
        sent = _json(request.body)
        if request.method in ("POST", "PUT") and isinstance(sent, dict):
            if "implicitRules" in sent:
                return _refused(422, "not-supported")
            if _has(sent, "modifierExtension"):
                return _refused(422, "extension")
        if kind == "Appointment" and isinstance(sent, dict) and not _may_be_booked(sent):
            return _refused(422, "business-rule")
        if kind == "Appointment" and request.method == "PATCH" and not self._may_move(record_id, sent):
            return _refused(422, "business-rule")
        return None

    def _may_move(self, record_id: str, patch: Any) -> bool:
        version = self._store.current("Appointment", record_id)
        if version is None or version.raw is None or not isinstance(patch, list):
            return True
        now = version.resource()["status"]
        wanted = [one.get("value") for one in patch if one.get("path") == "/status" and one.get("op") != "test"]
        return all(status == now or status in _MOVES.get(now, ()) for status in wanted)

    def after(self, request: Request, answer: Answer) -> Answer:
        """Opaque links; a search that finds a record with incomplete data fails as a whole."""
        if request.method == "POST" and answer.status == 201:
            answer.body = b""
        if request.method not in ("GET", "HEAD") or answer.status != 200 or request.path == "metadata":
            return answer
        content = loads(answer.body)
        if content.get("type") != "searchset":
            return answer
        found = {f"{one['resource']['resourceType']}/{one['resource'].get('id')}" for one in content.get("entry", [])}
        if found & set(self.settings["spoilt"]):
            return _incomplete(request.path)
        content.pop("timestamp", None)
        content["link"] = [_link(request, link) for link in content["link"]]
        answer.body = dumps(content)
        return answer

    def capability(self, statement: Json) -> Json:
        """Batches only, and what each type has."""
        for resource in statement["rest"][0]["resource"]:
            kind = resource["type"]
            offered = ["read", "search-type"]
            for code, kinds in (("create", CREATES), ("update", UPDATES), ("patch", PATCHES), ("delete", DELETES)):
                offered += [code] * (kind in kinds)
            kept: dict[str, Any] = {"type": kind, "interaction": [{"code": code} for code in offered]}
            if kind in UPDATES:
                kept["updateCreate"] = False
            names = sorted({"_id", *_PARAMETERS.get(kind, "").split()})
            kept["searchParam"] = [{"name": name, "type": "token"} for name in names]
            resource.clear()
            resource.update(kept)
        statement["rest"][0]["interaction"] = [{"code": "batch"}]
        statement["software"] = {"name": "Millennium (simulated)", "version": "R4"}
        return statement


def _refused(status: int, code: str) -> Answer:
    return json_answer(status, FhirError(status, f"refused: {code}", code=code).outcome())


def _incomplete(kind: str) -> Answer:
    said = {"severity": "fatal", "code": "required", "location": [f"/f:{kind}/f:status"]}
    return json_answer(500, {"resourceType": "OperationOutcome", "issue": [said]})


def _json(body: bytes) -> Any:
    try:
        return loads(body)
    except ValueError:
        return None


def _has(value: Any, key: str) -> bool:
    if isinstance(value, list):
        return any(_has(item, key) for item in value)
    return isinstance(value, dict) and (key in value or any(_has(item, key) for item in value.values()))


def _may_be_booked(appointment: Json) -> bool:
    """Proposed or booked; a booked one has one slot and one patient who accepted; no participant has a type."""
    participants = appointment.get("participant", [])
    if any("type" in one for one in participants) or appointment.get("status") not in ("proposed", "booked"):
        return False
    people = [one for one in participants if "Patient/" in str(one.get("actor", {}).get("reference"))]
    accepted = len(people) == 1 and people[0].get("status") == "accepted"
    return appointment["status"] == "proposed" or (len(appointment.get("slot", [])) == 1 and accepted)


def _link(request: Request, link: Json) -> Json:
    if link["relation"] != "next":
        return link
    token = dict(parse_qsl(urlsplit(link["url"]).query))["_cursor"]
    opaque = base64.urlsafe_b64encode(token.encode()).decode()
    return {"relation": "next", "url": f"{request.base_url}/{request.path}?-pageContext={opaque}&-pageDirection=NEXT"}


def make(store: Store, behaviour: Behaviour) -> Quirks:
    """The quirks of one system."""
    return Cerner(store, behaviour)
