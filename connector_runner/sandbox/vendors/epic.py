"""Epic, as its CapabilityStatement (May 2026), its list of error codes and recorded answers of its sandbox show it.

Where these leave something open (the status beside a code, above all) one way was chosen, and a setting turns others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..bundle_pages import Behaviour
from ..fhir_json import Json, dumps, loads
from ..journal import Entry
from ..messages import Answer, Request, json_answer
from ..paging import Cursor
from ..store import Store
from . import Plain, Quirks

CODES = "urn:oid:1.2.840.114350.1.13.0.1.7.2.657369"
CREATES = frozenset(
    """AllergyIntolerance BodyStructure Communication ConceptMap Condition DocumentReference Observation Patient
    Procedure QuestionnaireResponse ServiceRequest""".split()  # noqa: SIM905 - a list of words
)
UPDATES = frozenset(
    "BodyStructure DiagnosticReport DocumentReference Observation Procedure ServiceRequest Task".split()  # noqa: SIM905
)
CARE_PLANS = frozenset(
    """38717003 734163000 736271009 736353004 738906000 736378000 719091000000102 959871000000107 inpatient-pathway
    409073007 care-path""".split()  # noqa: SIM905 - a list of words
)
_ANYWHERE = frozenset({"_id", "_count", "_format", "_cursor"})
# Search parameters by type; what is not named is passed over with a warning.
_PARAMETERS = {
    "Patient": "address address-city address-postalcode address-state birthdate family gender given identifier name "
    "telecom active email phone",
    "Practitioner": "address address-city address-state family given identifier name active",
    "Observation": "based-on category code date focus issued patient subject identifier encounter status",
    "Condition": "category clinical-status code encounter onset-date patient recorded-date subject identifier",
    "AllergyIntolerance": "clinical-status patient category code identifier",
    "Appointment": "date identifier patient service-category status actor location practitioner",
    "Encounter": "class date identifier patient subject location status type",
    "Immunization": "date patient status identifier",
    "MedicationRequest": "category date intent patient status subject identifier",
    "Procedure": "category code date identifier patient subject status",
    "DiagnosticReport": "category code date identifier patient subject status",
    "Coverage": "beneficiary patient identifier status type",
    "CarePlan": "category patient status subject identifier",
    "DocumentReference": "category date patient period status subject type identifier _lastUpdated",
}
_OF_NOBODY = frozenset({"Practitioner", "PractitionerRole", "Location", "Organization", "Medication", "Group"})
_DEMOGRAPHICS = ({"family", "birthdate"}, {"family", "given"}, {"name", "birthdate"}, {"telecom"}, {"phone"}, {"email"})
_CAP = 100


def issue(code: str, *, severity: str = "fatal", kind: str = "processing") -> Json:
    """One issue as Epic writes it."""
    return {
        "severity": severity,
        "code": kind,
        "details": {"coding": [{"system": CODES, "code": code}], "text": f"error {code}"},
    }


def refusal(status: int, code: str, *, kind: str = "processing", headers: dict[str, str] | None = None) -> Answer:
    """An answer with one fatal issue."""
    return json_answer(status, {"resourceType": "OperationOutcome", "issue": [issue(code, kind=kind)]}, headers)


class Epic(Plain):
    """``settings``:

    - ``versions``: whether resources show their version and ETag; in recorded answers of the sandbox none did
    - ``portal``: every search warns that there may be more (4119); ``sub_type``: one kind of Condition is not shown
    - ``cap_as_entry``: more than 100 patients are answered with the first 100 and a warning, not with an error
    - ``restricted``: patients behind break-the-glass; ``merged``: old id to surviving id
    - ``documents_left``: of the day's allowance, -1 for any number; ``expire_pages``: so many links are out of date,
      and are answered with ``expired_status``
    - ``care_plans``: categories that this client may search by
    """

    def __init__(self, store: Store, behaviour: Behaviour) -> None:
        super().__init__()
        self._store = store
        self.behaviour = {"client_ids": False, "conditional_create": False, "transactions": False}
        self.offer(
            versions=False,
            portal=False,
            sub_type=False,
            cap_as_entry=False,
            restricted=[],
            merged={},
            documents_left=-1,
            expire_pages=0,
            expired_status=400,
            care_plans=sorted(CARE_PLANS),
        )

    def before(self, request: Request, entry: Entry) -> Answer | Request | None:
        """Refuse what Epic refuses; put its own forms of asking into those of the plain system."""
        if request.method not in ("GET", "HEAD") and not request.path.endswith("/_search"):
            return self._write(request)
        if request.path == "metadata":
            return None
        kind, _, rest = request.path.partition("/")
        if rest == "_history" or rest.endswith("/_history"):
            return refusal(404, "59100", kind="not-supported")
        if rest and rest != "_search":
            return self._read(kind, rest)
        return self._search(request, kind)

    def _write(self, request: Request) -> Answer | None:
        kind, _, rest = request.path.partition("/")
        offered = {"POST": CREATES, "PUT": UPDATES}.get(request.method, frozenset[str]())
        if kind not in offered or (request.method == "POST") == bool(rest):
            return refusal(405, "59100", kind="not-supported")
        if request.method == "POST" and kind == "AllergyIntolerance" and self._known_allergy(request):
            return refusal(400, "59141")
        return None

    def _known_allergy(self, request: Request) -> bool:
        sent = loads(request.body)
        return any(
            (known.get("code"), known.get("patient")) == (sent.get("code"), sent.get("patient"))
            for known in (version.resource() for version in self._store.live("AllergyIntolerance"))
        )

    def _read(self, kind: str, record_id: str) -> Answer | None:
        if kind == "Patient" and record_id in self.settings["merged"]:
            survivor = self.settings["merged"][record_id]
            return refusal(302, "4107", headers={"Location": f"Patient/{survivor}"})
        if self._is_restricted(kind, record_id):
            return refusal(403, "4131", kind="forbidden")
        return self._document_limit(kind)

    def _is_restricted(self, kind: str, record_id: str) -> bool:
        version = self._store.current(kind, record_id)
        held = {record_id} if kind == "Patient" else set()
        if version is not None:
            held |= {reference.removeprefix("Patient/") for reference in version.index.get("patient", ())}
        return bool(held & set(self.settings["restricted"]))

    def _document_limit(self, kind: str) -> Answer | None:
        if kind not in ("DocumentReference", "Binary") or self.settings["documents_left"] < 0:
            return None
        if self.settings["documents_left"] == 0:
            return refusal(403, "4135")
        self.settings["documents_left"] -= 1
        return None

    def _search(self, request: Request, kind: str) -> Answer | Request:
        session = dict(request.pairs).get("sessionID")
        if session is not None:
            if self.settings["expire_pages"]:
                self.settings["expire_pages"] -= 1
                return refusal(self.settings["expired_status"], "4113")
            return replace(request, pairs=[("_cursor", session.removeprefix("12-"))])
        # Since the version of February 2026 what stands in the query of a _search is not looked at.
        posted = request.path.endswith("/_search")
        pairs = parse_qsl(request.body.decode(), keep_blank_values=True) if posted else request.pairs
        known = _ANYWHERE | set(_PARAMETERS.get(kind, "").split())
        unknown = [name for name, _ in pairs if name.partition(":")[0] not in known]
        used = [(name, value) for name, value in pairs if name not in unknown]
        refused = self._lacking(kind, dict(used)) or self._document_limit(kind)
        if refused is not None:
            return refused
        headers = {**request.headers, "x-unknown": ",".join(unknown)}
        return replace(request, method="GET", path=kind, pairs=used, headers=headers, body=b"")

    def _lacking(self, kind: str, asked: dict[str, str]) -> Answer | None:
        """The refusal of a search that does not say enough."""
        if not asked.keys() - {"_count", "_format"}:
            return refusal(400, "4110")
        if "_id" in asked:
            return None
        if kind == "Patient":
            enough = "identifier" in asked or any(wanted <= asked.keys() for wanted in _DEMOGRAPHICS)
            return None if enough else refusal(400, "59133")
        if kind in _OF_NOBODY:
            return None
        patient = asked.get("patient") or asked.get("subject")
        if patient is None:
            return refusal(400, "59159", kind="business-rule")
        patient = patient.removeprefix("Patient/")
        if patient in self.settings["restricted"]:
            return refusal(403, "4131", kind="forbidden")
        if self._store.current("Patient", patient) is None:
            return refusal(400, "59102", kind="invalid")
        if kind == "Observation" and not asked.keys() & {"category", "code"}:
            return refusal(400, "59108", kind="required")
        if kind == "CarePlan" and asked.get("category") not in CARE_PLANS:
            return refusal(400, "59159", kind="business-rule")
        if kind == "CarePlan" and asked["category"] not in self.settings["care_plans"]:
            return refusal(400, "59022", kind="invalid")
        return None

    def after(self, request: Request, answer: Answer) -> Answer:
        """Epic's own codes and links, and resources without a version."""
        reading = request.method in ("GET", "HEAD") and request.path != "metadata"
        if reading and answer.status in (404, 410):
            return refusal(404, "4103" if answer.status == 410 else "4102", kind="not-found")
        if request.method == "POST" and answer.status == 201:
            answer.body = b""
        if not answer.body or answer.status >= 300 or request.path == "metadata":
            return answer
        content = loads(answer.body)
        if content.get("type") == "searchset":
            return self._searchset(request, content, answer)
        if not self.settings["versions"]:
            answer.headers.pop("ETag", None)
            answer.headers.pop("Last-Modified", None)
        answer.body = dumps(self._unversioned(content))
        return answer

    def _searchset(self, request: Request, bundle: Json, answer: Answer) -> Answer:
        entries = bundle.get("entry", [])
        capped = request.path == "Patient" and bundle["total"] > _CAP
        if capped and not self.settings["cap_as_entry"]:
            return refusal(400, "4127")
        if capped:
            entries = self._first_rows(request, bundle, entries)
        for entry in entries:
            entry["resource"] = self._unversioned(entry["resource"])
        told = [issue("4122", severity="warning")] if request.headers.get("x-unknown") else []
        told += [issue("59204", severity="warning", kind="suppressed")] if self._leaves_out(request) else []
        told += [] if bundle["total"] else [issue("4101", severity="warning")]
        told += [issue("4119", severity="warning")] if self.settings["portal"] else []
        told += [issue("4127")] if capped else []
        if told:
            outcome = {"resourceType": "OperationOutcome", "issue": told}
            entries.append({"resource": outcome, "search": {"mode": "outcome"}})
        bundle["entry"] = entries
        bundle["link"] = [self._link(request, link) for link in bundle["link"]]
        answer.body = dumps(bundle)
        return answer

    def _first_rows(self, request: Request, bundle: Json, entries: list[Json]) -> list[Json]:
        """Those of a page that are among the first that are shown at all; behind these there is no further page."""
        token = dict(request.pairs).get("_cursor")
        offset = Cursor.parse(token, self._store.epoch).offset if token else 0
        bundle["total"] = _CAP
        if offset + len(entries) >= _CAP:
            bundle["link"] = [link for link in bundle["link"] if link["relation"] != "next"]
        return entries[: _CAP - offset]

    def _leaves_out(self, request: Request) -> bool:
        return bool(self.settings["sub_type"]) and request.path == "Condition"

    def _link(self, request: Request, link: Json) -> Json:
        if link["relation"] != "next":
            return link
        token = dict(parse_qsl(urlsplit(link["url"]).query))["_cursor"]
        return {"relation": "next", "url": f"{request.base_url}/{request.path}?sessionID=12-{token}"}

    def _unversioned(self, resource: Json) -> Json:
        if self.settings["versions"] or "meta" not in resource:
            return resource
        meta = {key: value for key, value in resource["meta"].items() if key not in ("versionId", "lastUpdated")}
        rest = {key: value for key, value in resource.items() if key != "meta"}
        return {**rest, "meta": meta} if meta else rest

    def capability(self, statement: Json) -> Json:
        """No history, no conditional writes, and only what each type has."""
        for resource in statement["rest"][0]["resource"]:
            kind = resource["type"]
            offered = ["read", "search-type"]
            offered += ["create"] * (kind in CREATES) + ["update"] * (kind in UPDATES)
            names = sorted(set(_PARAMETERS.get(kind, "").split()) | {"_id", "_count"})
            kept: dict[str, Any] = {
                "type": kind,
                "interaction": [{"code": code} for code in offered],
                "conditionalCreate": False,
                "updateCreate": False,
                "searchParam": [{"name": name.lower(), "type": "token"} for name in names],
            }
            resource.clear()
            resource.update(kept)
        statement["rest"][0].pop("interaction")
        statement.pop("patchFormat")
        statement["software"] = {"name": "Epic (simulated)", "version": "May 2026"}
        return statement


def make(store: Store, behaviour: Behaviour) -> Quirks:
    """The quirks of one system."""
    return Epic(store, behaviour)
