"""athenahealth: one FHIR base for all practices, and the v1 API beside it.

Sources: CapabilityStatement of 2022-06-06 and the answers of the vendor's public sandbox that are recorded in
fastenhealth/fasten-sources (ids, ``cursor``, headers, the 403 that names combinations, no version of a resource);
metriport/metriport (``ah-practice``). What is known of v1 is in ``athenahealth_v1``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ..bundle_pages import Behaviour
from ..fhir_json import Json, dumps, loads
from ..messages import Answer, Request, error_answer, json_answer
from ..outcomes import FhirError
from ..store import Store
from . import Plain, Quirks
from .athenahealth_v1 import PRACTICE, V1

if TYPE_CHECKING:
    from ..journal import Entry

ANOTHER = "80000"
"""A practice whose patients the same base shows to whoever does not say which practice is meant."""
LETTERS = {
    "Patient": "E",
    "Practitioner": "Provider",
    "Location": "Department",
    "Organization": "CP",
    "Condition": "Problem",
    "AllergyIntolerance": "pa",
    "Encounter": "encounter",
    "DiagnosticReport": "clinicalresult",
    "Immunization": "clinical",
    "Observation": "vitalamb",
}
COMBINATIONS = {"MedicationRequest": (("patient", "intent"), ("_id",))}
"""Of the parameters of a search, all of one of these must be there."""
UNSTAMPED = frozenset({"Appointment", "Practitioner", "Location", "Organization"})
"""Types for which ``_lastUpdated`` is not declared."""
CREATED = frozenset({"QuestionnaireResponse"})
_ASKED = "x-asked"
_FOR = "x-practice"


class Athenahealth(Plain):
    """FHIR as athenahealth has it. ``allowance`` is what its headers say."""

    def __init__(self, store: Store, behaviour: Behaviour) -> None:
        super().__init__()
        self.behaviour = {"client_ids": False, "conditional_create": False, "transactions": False}
        self.v1 = V1(store)
        self.routes = {"/v1": self._v1}
        self.offer(allowance=500, rows=1000, refuse_writes=False)

    def reset(self) -> None:
        """Nobody has subscribed to anything."""
        super().reset()
        self.v1.reset()

    def native(self, resources: list[Json]) -> list[Json]:
        """``a-{practice}.{letters}-{number}``, and one patient of another practice."""
        numbers: Counter[str] = Counter()
        names: dict[str, str] = {}
        for resource in resources:
            kind = resource["resourceType"]
            numbers[kind] += 1
            names[f"{kind}/{resource['id']}"] = f"a-{PRACTICE}.{LETTERS.get(kind, kind)}-{numbers[kind]}"
        renamed = [_renamed(resource, names) for resource in resources]
        others = [{**one, "id": f"a-{ANOTHER}.E-1"} for one in renamed if one["resourceType"] == "Patient"][:1]
        return [*renamed, *others]

    def before(self, request: Request, entry: Entry) -> Answer | Request | None:
        """Refuse what is not offered, and take the vendor's own parameters out of a search."""
        if request.route:
            return None
        kind, _, rest = request.path.partition("/")
        if request.method not in ("GET", "HEAD") and rest != "_search":
            offered = request.method == "POST" and kind in CREATED and not rest
            return None if offered else error_answer(FhirError(405, "this is not offered"))
        if "_history" in request.path:
            return error_answer(FhirError(404, "there is no history", code="not-supported"))
        if request.method == "GET" and kind[:1].isupper() and not rest:
            return self._search(request, kind)
        return None

    def _search(self, request: Request, kind: str) -> Answer | Request:
        asked = dict(request.pairs)
        combinations = COMBINATIONS.get(kind, ())
        if combinations and not any(all(name in asked for name in each) for each in combinations):
            return _needs(combinations)
        cursor = asked.pop("cursor", None)
        headers = {**request.headers, _ASKED: urlencode(asked), _FOR: asked.get("ah-practice", "")}
        if cursor is not None:
            pairs = [("_cursor", cursor)]
        else:
            own = ("ah-practice", "ah-brand", "ah-department", *(("intent",) if kind == "MedicationRequest" else ()))
            pairs = [(name, value) for name, value in request.pairs if name not in own]
        return replace(request, pairs=pairs, headers=headers)

    def after(self, request: Request, answer: Answer) -> Answer:
        """Its links, its headers, and nothing that tells one version from another."""
        left = max(int(self.settings["allowance"]) - 1, 0)
        allowance = {"Limit": str(self.settings["allowance"]), "Remaining": str(left)}
        for prefix in ("Ratelimit", "X-Ratelimit"):
            answer.headers |= {f"{prefix}-{name}": value for name, value in allowance.items()}
        answer.headers["Ratelimit-Reset"] = "1"
        answer.headers.pop("ETag", None)
        if request.route or not answer.body or answer.status >= 300:
            return answer
        document = loads(answer.body)
        if isinstance(document, dict):
            answer.body = dumps(self._shown(request, document))
        return answer

    def _shown(self, request: Request, document: Json) -> Json:
        if document.get("resourceType") != "Bundle":
            return _unversioned(document)
        practice = request.headers.get(_FOR, "").rpartition("-")[2]
        entries = [
            {**entry, "resource": _unversioned(entry["resource"])}
            for entry in document.get("entry", [])
            if not practice or _is_of(entry["resource"], practice)
        ]
        links = [_link(request, link) for link in document.get("link", [])]
        shown = {name: value for name, value in document.items() if name not in ("total", "entry")}
        return {**shown, "link": links, **({"entry": entries} if entries else {})}

    def _v1(self, request: Request) -> Answer:
        return self.v1.perform(request, self.settings)

    def capability(self, statement: Json) -> Json:
        """Read and search; one type is created."""
        rest = statement["rest"][0]
        resources = []
        for resource in [*rest["resource"], {"type": "QuestionnaireResponse", "searchParam": []}]:
            kind = resource["type"]
            codes = ["read", "search-type", *(["create"] if kind in CREATED else [])]
            listed = [p for p in resource["searchParam"] if not (kind in UNSTAMPED and p["name"] == "_lastUpdated")]
            params = [*listed, {"name": "ah-practice", "type": "reference"}, {"name": "cursor", "type": "string"}]
            interaction = [{"code": code} for code in codes]
            resources.append({"type": kind, "interaction": interaction, "searchParam": params})
        server = {name: value for name, value in rest.items() if name != "interaction"}
        shown = {name: value for name, value in statement.items() if name != "patchFormat"}
        return {**shown, "software": {"name": "athenahealth FHIR Server"}, "rest": [{**server, "resource": resources}]}


def _needs(combinations: tuple[tuple[str, ...], ...]) -> Answer:
    """As recorded: 403, and each combination in ``expression``."""
    ways = [",".join(each) for each in combinations]
    text = f"one of the required parameter combinations [{','.join(f'[{way}]' for way in ways)}] was not provided"
    issue = {"severity": "fatal", "code": "forbidden", "details": {"text": text}, "expression": ways}
    return json_answer(403, {"resourceType": "OperationOutcome", "issue": [issue]})


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _renamed(item, names) for name, item in value.items()}
    own = names.get(f"{value.get('resourceType')}/{value.get('id')}")
    if own is not None:
        changed["id"] = own
    reference = value.get("reference")
    if isinstance(reference, str) and reference in names:
        changed["reference"] = f"{reference.partition('/')[0]}/{names[reference]}"
    return changed


def _unversioned(resource: Json) -> Json:
    if "meta" not in resource:
        return resource
    return {**resource, "meta": {name: value for name, value in resource["meta"].items() if name != "versionId"}}


def _is_of(resource: Json, practice: str) -> bool:
    """Whose a record is says its id; what has none of the vendor's ids is everybody's."""
    record_id = str(resource.get("id", ""))
    return not record_id.startswith("a-") or record_id.startswith(f"a-{practice}.")


def _link(request: Request, link: Json) -> Json:
    """A next link repeats what was asked, and ends in a cursor."""
    head, mark, token = link["url"].partition("?_cursor=")
    if not mark:
        return link
    asked = request.headers.get(_ASKED, "")
    return {**link, "url": f"{head}?{asked}{'&' if asked else ''}cursor={token}"}


def make(store: Store, behaviour: Behaviour) -> Quirks:
    """The quirks of one system."""
    return Athenahealth(store, behaviour)
