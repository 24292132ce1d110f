"""eClinicalWorks' FHIR facade.

Sources (api-evangelist/eclinicalworks): CapabilityStatement of 2026-08-14 (search parameters, ``page``, one create);
conventions (practice code in the path, no idempotency); healow FHIR Rate Limiting (250 a minute of the clock for a
practice, 429 without Retry-After); Error Code Reference Guide 1.0 (``status`` of write-back). The words of a refused
parameter are HAPI's, as recorded in fastenhealth/fasten-sources.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from ..bundle_pages import Behaviour
from ..fhir_json import Json, dumps, loads
from ..messages import Answer, Request, error_answer, json_answer
from ..outcomes import FhirError
from ..paging import Cursor
from ..store import Store, wall_clock_ms
from . import Plain, Quirks

if TYPE_CHECKING:
    from ..journal import Entry

PRACTICE = "FEIGCD"
PER_MINUTE = 250
_MINUTE_MS = 60_000
_PAGE = 20
_EVERYWHERE = frozenset({"_count", "_format", "_include", "_revinclude", "page"})
PARAMETERS = {
    "AllergyIntolerance": "_id clinical-status encounter patient",
    "Condition": "_id category encounter onset-date patient",
    "Coverage": "_id patient",
    "DiagnosticReport": "_id category code date encounter patient status",
    "Encounter": "_id date location patient practitioner",
    "Immunization": "_id date encounter patient status",
    "Location": "_id address name",
    "MedicationRequest": "_id authoredon encounter intended-dispenser intent patient status",
    "Observation": "_id _since category code date encounter identifier patient status",
    "Organization": "_id address address-postalcode name type",
    "Patient": "_id birthdate family gender given identifier name phone",
    "Practitioner": "_id identifier name",
    "Procedure": "_id code date encounter patient status",
    "QuestionnaireResponse": "_id authored patient status",
}
CREATED = frozenset({"QuestionnaireResponse"})
KEYS = {1: "SUCCESS", 100: "INVALID_PATIENT", 202: "INVALID_PATIENT_ALREADY_EXIST", 204: "INVALID_DATE_FORMAT"}


class EClinicalWorks(Plain):
    """One practice. ``per_minute`` requests are let through in a minute of the clock; ``writeback`` is the number that
    answers a create instead of FHIR, 0 for none."""

    def __init__(self, store: Store, behaviour: Behaviour) -> None:
        super().__init__()
        self.behaviour = {
            "client_ids": False, "conditional_create": False, "transactions": False, "paging": "offset",
        }  # fmt: skip
        self._store = store
        self._minute, self._used = 0, 0
        self.routes = {"/oauth/oauth2/token": self._token}
        self.offer(per_minute=PER_MINUTE, writeback=0)

    def reset(self) -> None:
        """A new minute."""
        super().reset()
        self._minute, self._used = 0, 0

    def before(self, request: Request, entry: Entry) -> Answer | Request | None:
        """Count, take the practice out of the path, and refuse what is not offered."""
        if self._exceeded():
            entry.fault = "limit"
            return error_answer(FhirError(429, "the limit of this minute is reached"))
        if request.route:
            return None
        practice, _, path = request.path.partition("/")
        if practice != PRACTICE:
            return error_answer(FhirError(404, "no such practice"))
        inner = replace(request, path=path, base_url=f"{request.base_url}/{PRACTICE}")
        kind, _, rest = path.partition("/")
        if request.method not in ("GET", "HEAD"):
            return self._write(inner, kind, rest)
        if "_history" in path:
            return error_answer(FhirError(404, "there is no history", code="not-supported"))
        return self._search(inner, kind) if kind[:1].isupper() and not rest else inner

    def _exceeded(self) -> bool:
        minute = wall_clock_ms() // _MINUTE_MS
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += 1
        return self._used > int(self.settings["per_minute"])

    def _write(self, request: Request, kind: str, rest: str) -> Answer | Request:
        if request.method != "POST" or kind not in CREATED or rest:
            return error_answer(FhirError(405, "this is not offered"))
        number = int(self.settings["writeback"])
        return json_answer(200, {"status": str(number), "error": KEYS.get(number, "")}) if number else request

    def _search(self, request: Request, kind: str) -> Answer | Request:
        known = PARAMETERS.get(kind)
        names = [name.partition(":")[0] for name, _ in request.pairs]
        unknown = [
            name for name in names if known is not None and name not in known.split() and name not in _EVERYWHERE
        ]
        if unknown or known is None:
            text = f"Does not know how to handle GET operation[{kind}] with parameters [[{', '.join(names)}]]"
            return error_answer(FhirError(400, text, code="processing"))
        asked = [(name, value) for name, value in request.pairs if name != "page"]
        page = dict(request.pairs).get("page")
        headers = {**request.headers, "x-asked": urlencode(asked), "x-page": page or "1"}
        if page is None:
            return replace(request, headers=headers)
        count = int(dict(asked).get("_count", str(_PAGE)))
        token = Cursor(kind, asked, None, (int(page) - 1) * count).token(self._store.epoch)
        return replace(request, pairs=[("_cursor", token)], headers=headers)

    def after(self, request: Request, answer: Answer) -> Answer:
        """Numbered pages, and nothing that tells one version from another."""
        answer.headers.pop("ETag", None)
        if request.route or not answer.body or answer.status >= 300:
            return answer
        document = loads(answer.body)
        if not isinstance(document, dict):
            return answer
        if document.get("resourceType") == "Bundle":
            entries = [{**e, "resource": _unversioned(e["resource"])} for e in document.get("entry", [])]
            links = [_link(request, link) for link in document.get("link", [])]
            document = {**document, "link": links, **({"entry": entries} if entries else {})}
        else:
            document = _unversioned(document)
        answer.body = dumps(document)
        return answer

    def _token(self, request: Request) -> Answer:
        """A token for whoever asks: what counts is that asking is counted."""
        return json_answer(200, {"access_token": "of this minute", "token_type": "bearer", "expires_in": 300})

    def capability(self, statement: Json) -> Json:
        """As its public statement has it."""
        resources = [
            {
                "type": kind,
                "interaction": [
                    {"code": c} for c in ("search-type", "read", *(("create",) if kind in CREATED else ()))
                ],
                "searchParam": [{"name": name, "type": "token"} for name in (*names.split(), "page")],
            }
            for kind, names in PARAMETERS.items()
        ]
        shown = {name: value for name, value in statement.items() if name != "patchFormat"}
        rest = [{"mode": "server", "resource": resources}]
        return {**shown, "software": {"name": "eCW FHIR Facade", "version": "1.6"}, "rest": rest}


def _unversioned(resource: Json) -> Json:
    if "meta" not in resource:
        return resource
    return {**resource, "meta": {name: value for name, value in resource["meta"].items() if name != "versionId"}}


def _link(request: Request, link: Json) -> Json:
    head, mark, _ = link["url"].partition("?_cursor=")
    if not mark:
        return link
    asked = request.headers.get("x-asked", "")
    return {**link, "url": f"{head}?{asked}{'&' if asked else ''}page={int(request.headers['x-page']) + 1}"}


def make(store: Store, behaviour: Behaviour) -> Quirks:
    """The quirks of one system."""
    return EClinicalWorks(store, behaviour)
