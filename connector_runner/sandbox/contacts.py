"""A CRM's REST API, unlike FHIR in every detail: flat JSON, its own ids, external ids, lists under ``results``.

    GET  /api/contacts?externalId=&email=&lastName=&birthDate=&updatedSince=&limit=&after=      POST /api/contacts
    GET|PUT|PATCH|DELETE  /api/contacts/{id}          GET|PUT|PATCH  /api/contacts/by-external-id/{externalId}

and the same for ``activities``, each of one contact. PUT replaces, PATCH merges (RFC 7386), both by external id
create what is not there. A POST with an ``Idempotency-Key`` that was used before answers what it made then.
``If-Match`` is heeded where given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from .bundle_pages import Behaviour
from .dates import instant, interval
from .fhir_json import Json, loads
from .messages import Answer, Pairs, Request, json_answer
from .outcomes import FhirError
from .store import Store, Version, wall_clock_ms

_TYPES: Final = {"contacts": "Contact", "activities": "Activity"}
_FIELDS: Final[dict[str, dict[str, type]]] = {
    "Contact": {
        "externalId": str, "firstName": str, "lastName": str, "birthDate": str, "gender": str, "email": str,
        "workEmail": str, "phone": str, "workPhone": str, "mobilePhone": str, "address": dict, "active": bool,
        "ownerNote": str, "tags": list,
    },
    "Activity": {
        "externalId": str, "contactId": str, "kind": str, "status": str, "subject": str, "startsAt": str,
        "endsAt": str, "minutes": int, "type": str,
    },
}  # fmt: skip
_REQUIRED: Final = {"Contact": ("lastName",), "Activity": ("contactId", "kind")}
_OURS: Final = frozenset({"id", "createdAt", "updatedAt", "version"})
_ADDRESS: Final = frozenset({"street", "city", "state", "postalCode", "country"})
_SEARCHED: Final = ("externalId", "email", "lastName", "birthDate", "contactId")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_KEY: Final = "_key"
_CODES: Final = {
    400: "BAD_REQUEST", 401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED",
    409: "CONFLICT", 410: "GONE", 412: "PRECONDITION_FAILED", 413: "TOO_LARGE", 415: "MEDIA_TYPE",
    422: "VALIDATION", 429: "RATE_LIMIT",
}  # fmt: skip


def refused(error: FhirError) -> Answer:
    """An error as this API says it."""
    code = error.code if error.code.isupper() else _CODES.get(error.status, "INTERNAL")
    body: Json = {"error": {"code": code, "message": error.text}}
    if error.where:
        body["error"]["field"] = error.where
    answer = json_answer(error.status, body)
    answer.content_type = "application/json"
    return answer


class Contacts:
    """Answers requests; writes go to the store and stay uncommitted."""

    def __init__(self, store: Store, behaviour: Behaviour) -> None:
        self._store = store
        self._behaviour = behaviour

    def record_type(self, path: str) -> str | None:
        """The type that a path is about."""
        return _TYPES.get(path.partition("/")[0])

    def perform(self, request: Request) -> Answer:
        """The answer to one request; ``FhirError`` when it is refused."""
        kind = self.record_type(request.path)
        if kind is None:
            raise FhirError(404, "there are contacts and activities")
        match request.path.split("/")[1:]:
            case []:
                return self._on_type(request, kind)
            case ["by-external-id", external_id] if external_id:
                return self._by_external_id(request, kind, external_id)
            case [record_id] if record_id:
                return self._on_record(request, kind, record_id)
        raise FhirError(404, "no such path")

    def _on_type(self, request: Request, kind: str) -> Answer:
        if request.method == "GET":
            return self._search(request, kind)
        if request.method != "POST":
            raise FhirError(405, "a list is read, or added to")
        content = self._content(request, kind)
        key = request.headers.get("idempotency-key")
        before = self._having(kind, _KEY, key) if key else None
        if before is not None:
            return self._shown(before, 200)
        self._unique(kind, content, None)
        return self._made(kind, {**content, **({_KEY: key} if key else {})})

    def _by_external_id(self, request: Request, kind: str, external_id: str) -> Answer:
        found = self._having(kind, "externalId", external_id, request)
        if request.method == "GET":
            if found is None:
                raise FhirError(404, "no record has this external id")
            return self._shown(found, 200)
        if request.method not in ("PUT", "PATCH"):
            raise FhirError(405, "by external id, records are read, put and patched")
        sent = self._content(request, kind, whole=request.method == "PUT" or found is None)
        if sent.get("externalId", external_id) != external_id:
            raise FhirError(400, "the external id is that of the address", where="externalId")
        sent = {**sent, "externalId": external_id}
        if found is None:
            return self._made(kind, {name: value for name, value in sent.items() if value is not None})
        return self._changed(request, found, sent)

    def _on_record(self, request: Request, kind: str, record_id: str) -> Answer:
        version = self._seen(request, kind, record_id)
        if version is None:
            raise FhirError(404, "no such record")
        if version.raw is None:
            raise FhirError(410, "the record was deleted")
        if request.method == "GET":
            return self._shown(version, 200)
        if request.method == "DELETE":
            self._check_match(request, version)
            return Answer(204, resource=self._store.delete(kind, record_id).reference)
        if request.method not in ("PUT", "PATCH"):
            raise FhirError(405, "a record is read, put, patched and deleted")
        sent = self._content(request, kind, whole=request.method == "PUT")
        self._unique(kind, sent, record_id)
        return self._changed(request, version, sent)

    def _made(self, kind: str, content: Json) -> Answer:
        record_id = str(sum(1 for _ in self._store.ids(kind)) + 1)
        made = {**content, "createdAt": instant(wall_clock_ms())}
        return self._shown(self._store.put(kind, record_id, made, "POST"), 201)

    def _changed(self, request: Request, version: Version, sent: Json) -> Answer:
        self._check_match(request, version)
        current = version.resource()
        kept: Json = {name: current[name] for name in ("createdAt", _KEY, "externalId") if name in current}
        content: Json = {**kept, **sent} if request.method == "PUT" else _merged(current, sent)
        content = {name: value for name, value in content.items() if value is not None}
        self._complete(version.resource_type, content)
        return self._shown(self._store.put(version.resource_type, version.id, content, request.method), 200)

    def _search(self, request: Request, kind: str) -> Answer:
        asked: dict[str, str] = {name: value for name, value in request.pairs if name in _SEARCHED}
        since, limit, after = _paging(request.pairs, self._behaviour.max_count)
        rows = [row for row in self._live(request, kind) if row.updated_ms >= since and _bears(row.resource(), asked)]
        rows.sort(key=lambda row: int(row.id))
        left = [row for row in rows if int(row.id) > after]
        body: Json = {"results": [_record(row) for row in left[:limit]]}
        if len(left) > limit:
            body["paging"] = {"next": {"after": left[limit - 1].id}}
        return json_answer(200, body)

    def _live(self, request: Request, kind: str) -> Iterable[Version]:
        if request.stale_s is None:
            return self._store.live(kind)
        seq = self._store.seq_at(wall_clock_ms() - int((request.stale_s or 5.0) * 1000))
        return self._store.as_of(kind, self._store.ids(kind), seq)

    def _seen(self, request: Request, kind: str, record_id: str) -> Version | None:
        past = self._store.history(kind, record_id)
        if request.stale_s is None or request.method != "GET" or not past:
            return past[-1] if past else None
        return past[-2] if len(past) > 1 else None

    def _having(self, kind: str, name: str, value: str | None, request: Request | None = None) -> Version | None:
        rows = self._store.live(kind) if request is None or request.method != "GET" else self._live(request, kind)
        return next((row for row in rows if row.resource().get(name) == value), None)

    def _unique(self, kind: str, content: Json, own_id: str | None) -> None:
        external_id = content.get("externalId")
        other = self._having(kind, "externalId", external_id) if external_id else None
        if other is not None and other.id != own_id:
            raise FhirError(409, "another record has this external id", code="EXISTS", where="externalId")

    def _content(self, request: Request, kind: str, *, whole: bool = True) -> Json:
        try:
            content = loads(request.body)
        except ValueError:
            raise FhirError(400, "the body is not JSON", code="SYNTAX") from None
        if not isinstance(content, dict):
            raise FhirError(400, "the body is an object", code="SYNTAX")
        sent = {name: value for name, value in content.items() if name not in _OURS}
        if self._behaviour.strict:
            _check(kind, sent)
        if whole:
            self._complete(kind, sent)
        return sent

    def _complete(self, kind: str, content: Json) -> None:
        for name in _REQUIRED[kind] if self._behaviour.strict else ():
            if not content.get(name):
                raise FhirError(422, "a required field is missing", code="REQUIRED", where=name)
        contact = content.get("contactId")
        if kind == "Activity" and contact is not None and not self._is_live("Contact", str(contact)):
            raise FhirError(422, "there is no such contact", code="NO_SUCH_CONTACT", where="contactId")

    def _is_live(self, kind: str, record_id: str) -> bool:
        current = self._store.current(kind, record_id)
        return current is not None and current.raw is not None

    def _check_match(self, request: Request, version: Version) -> None:
        wanted = request.headers.get("if-match")
        if wanted is not None and self._behaviour.etags and wanted not in (_tag(version), "*"):
            raise FhirError(412, "the record is of another version")

    def _shown(self, version: Version, status: int) -> Answer:
        headers = {"ETag": _tag(version)} if self._behaviour.etags else {}
        answer = json_answer(status, _record(version), headers)
        answer.resource = version.reference
        return answer


def _tag(version: Version) -> str:
    return f'"v{version.number}"'


def _record(version: Version) -> Json:
    """A record as the API shows it."""
    content = version.resource()
    meta = content.pop("meta", {})
    shown = {name: value for name, value in content.items() if name not in ("resourceType", _KEY)}
    return {**shown, "id": version.id, "version": version.number, "updatedAt": meta.get("lastUpdated")}


def _merged(current: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict):
        return change
    result = dict(current) if isinstance(current, dict) else {}
    for name, value in change.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def _bears(record: Json, asked: dict[str, str]) -> bool:
    return all(str(record.get(name, "")).casefold() == wanted.casefold() for name, wanted in asked.items())


def _paging(pairs: Pairs, most: int) -> tuple[int, int, int]:
    """Updated since (milliseconds), how many, after which id."""
    asked: dict[str, str] = dict(pairs)
    try:
        since = interval(asked["updatedSince"])[0] if "updatedSince" in asked else 0
        return since, max(min(int(asked.get("limit", "100")), most), 1), int(asked.get("after", "0"))
    except ValueError:
        raise FhirError(400, "a bad parameter") from None


def _check(kind: str, content: Json) -> None:
    """Refuse what has no such field, or another type."""
    for name, value in content.items():
        wanted = _FIELDS[kind].get(name)
        if wanted is None:
            raise FhirError(400, "no such field", code="UNKNOWN_FIELD", where=name)
        if value is not None and type(value) is not wanted:
            raise FhirError(422, "a value of the wrong type", where=name)
    born = content.get("birthDate")
    if born is not None and not _DATE.fullmatch(born):
        raise FhirError(422, "a date is YYYY-MM-DD", where="birthDate")
    address = content.get("address") or {}
    if not address.keys() <= _ADDRESS or not all(isinstance(part, str | None) for part in address.values()):
        raise FhirError(422, "an address has street, city, state, postalCode and country", where="address")
