"""The REST interactions of FHIR R4 on one store."""

from __future__ import annotations

import re
import uuid
from typing import Any
from urllib.parse import parse_qsl

from .bundle_pages import Behaviour, Readings
from .capability import capability
from .fhir_json import Json, dumps, loads
from .json_patch import patched
from .messages import Answer, Pairs, Request, error_answer, json_answer
from .outcomes import FhirError, outcome
from .resource_types import RESOURCE_TYPES
from .search_index import many
from .store import Store, Version
from .validation import validate

_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")


class Interactions:
    """Answers requests. Writes go to the store and stay uncommitted: the caller commits or rolls back."""

    def __init__(self, store: Store, behaviour: Behaviour, system: str) -> None:
        self.store = store
        self.behaviour = behaviour
        self.readings = Readings(store, behaviour)
        self._system = system

    def perform(self, request: Request) -> Answer:
        """The answer to one request; ``FhirError`` when it is refused."""
        reading = request.method in ("GET", "HEAD")
        if reading and request.path == "metadata":
            return json_answer(200, capability(self._system, request.base_url, self.behaviour.client_ids))
        cursor = dict(request.pairs).get("_cursor")
        if reading and cursor is not None:
            return self.readings.page(request, cursor)
        match request.path.split("/"):
            case ["_history"] if reading:
                return self.readings.history(request, "")
            case [resource_type, *rest] if resource_type in RESOURCE_TYPES:
                return self._of_type(request, resource_type, rest)
        raise FhirError(404, "no such resource type or operation", code="not-supported")

    def _of_type(self, request: Request, resource_type: str, rest: list[str]) -> Answer:
        reading = request.method in ("GET", "HEAD")
        match rest:
            case []:
                return self._on_type(request, resource_type)
            case ["_search"] if request.method == "POST":
                form = parse_qsl(_text(request.body), keep_blank_values=True)
                return self.readings.search(request, resource_type, request.pairs + form)
            case ["_history"] if reading:
                return self.readings.history(request, resource_type)
            case ["$validate"] | [_, "$validate"] if request.method == "POST":
                return self._validate(request, resource_type)
            case [resource_id]:
                return self._on_resource(request, resource_type, resource_id)
            case [resource_id, "_history"] if reading:
                if self.store.current(resource_type, resource_id) is None:
                    raise FhirError(404, f"{resource_type}/{resource_id} is not known")
                return self.readings.history(request, f"{resource_type}/{resource_id}")
            case [resource_id, "_history", number] if reading:
                return self._version(resource_type, resource_id, number)
        raise FhirError(404, "no such operation", code="not-supported")

    def _on_type(self, request: Request, resource_type: str) -> Answer:
        match request.method:
            case "GET" | "HEAD":
                return self.readings.search(request, resource_type, request.pairs)
            case "POST":
                return self._create(request, resource_type)
            case "PUT":
                return self._conditional_update(request, resource_type)
            case "DELETE":
                found = self._only(resource_type, request.pairs)
                return self._delete(request, resource_type, found.id) if found else Answer(204)
        raise FhirError(405, f"{request.method} of a type is not supported")

    def _on_resource(self, request: Request, resource_type: str, resource_id: str) -> Answer:
        match request.method:
            case "GET" | "HEAD":
                return self._read(request, resource_type, resource_id)
            case "PUT":
                return self._update(request, resource_type, resource_id, self._content(request, resource_type))
            case "PATCH":
                return self._patch(request, resource_type, resource_id)
            case "DELETE":
                return self._delete(request, resource_type, resource_id)
        raise FhirError(405, f"{request.method} of a resource is not supported")

    def _read(self, request: Request, resource_type: str, resource_id: str) -> Answer:
        version = self._seen(request, resource_type, resource_id)
        if version is None:
            raise FhirError(404, f"{resource_type}/{resource_id} is not known")
        if version.raw is None:
            raise FhirError(410, f"{resource_type}/{resource_id} was deleted")
        if request.headers.get("if-none-match") in (version.etag, "*"):
            return Answer(304, headers=_version_headers(version), resource=version.reference)
        return _shown(version, 200)

    def _seen(self, request: Request, resource_type: str, resource_id: str) -> Version | None:
        past = self.store.history(resource_type, resource_id)
        if request.stale_s is None or not past:
            return past[-1] if past else None
        if request.stale_s == 0:
            return past[-2] if len(past) > 1 else None
        return self.readings.lagging(past, request.stale_s)

    def _version(self, resource_type: str, resource_id: str, number: str) -> Answer:
        for version in self.store.history(resource_type, resource_id):
            if str(version.number) == number:
                if version.raw is None:
                    raise FhirError(410, "this version is a deletion")
                return _shown(version, 200)
        raise FhirError(404, f"{resource_type}/{resource_id} has no such version")

    def _create(self, request: Request, resource_type: str) -> Answer:
        content = self._content(request, resource_type)
        condition = request.headers.get("if-none-exist")
        if condition and self.behaviour.conditional_create:
            found = self._only(resource_type, parse_qsl(condition.lstrip("?"), keep_blank_values=True))
            if found:
                return self._written(request, found, 200, committed=False)
        version = self.store.put(resource_type, str(uuid.uuid4()), content, "POST")
        return self._written(request, version, 201)

    def create_as(self, request: Request, resource_type: str, resource_id: str) -> Answer:
        """A create under an id that was given out before, for references between entries of a transaction."""
        version = self.store.put(resource_type, resource_id, self._content(request, resource_type), "POST")
        return self._written(request, version, 201)

    def _update(self, request: Request, resource_type: str, resource_id: str, content: Json) -> Answer:
        if not _ID.fullmatch(resource_id):
            raise FhirError(400, "the id is not an id of R4", code="value")
        if content.get("id") != resource_id:
            raise FhirError(400, "the id of the resource is not that of the URL", code="value")
        current = self.store.current(resource_type, resource_id)
        alive = current is not None and current.raw is not None
        self._check_match(request, current)
        if alive and request.headers.get("if-none-match") == "*":
            raise FhirError(412, f"{resource_type}/{resource_id} exists")
        if not alive and not self.behaviour.client_ids:
            raise FhirError(405, "an update does not create here")
        version = self.store.put(resource_type, resource_id, content, "PUT")
        return self._written(request, version, 200 if alive else 201)

    def _conditional_update(self, request: Request, resource_type: str) -> Answer:
        content = self._content(request, resource_type)
        found = self._only(resource_type, request.pairs)
        sent_id = content.get("id")
        if found is None and sent_id is None:
            return self._written(request, self.store.put(resource_type, str(uuid.uuid4()), content, "PUT"), 201)
        if found is None:
            return self._update(request, resource_type, str(sent_id), content)
        if sent_id not in (None, found.id):
            raise FhirError(400, "the condition finds a resource with another id", code="value")
        return self._update(request, resource_type, found.id, {**content, "id": found.id})

    def _patch(self, request: Request, resource_type: str, resource_id: str) -> Answer:
        if not request.headers.get("content-type", "").startswith("application/json-patch+json"):
            raise FhirError(415, "only JSON Patch is supported (application/json-patch+json)")
        current = self.store.current(resource_type, resource_id)
        if current is None or current.raw is None:
            raise FhirError(404, f"{resource_type}/{resource_id} is not known")
        self._check_match(request, current)
        content = patched(current.resource(), _parsed(request.body))
        if not isinstance(content, dict) or content.get("id") != resource_id:
            raise FhirError(422, "a patch does not change the id")
        self._check(content, resource_type)
        return self._written(request, self.store.put(resource_type, resource_id, content, "PATCH"), 200)

    def _delete(self, request: Request, resource_type: str, resource_id: str) -> Answer:
        current = self.store.current(resource_type, resource_id)
        self._check_match(request, current)
        if current is None or current.raw is None:
            return Answer(204, resource=f"{resource_type}/{resource_id}")
        gone = self.store.delete(resource_type, resource_id)
        return Answer(204, headers={"ETag": gone.etag}, resource=gone.reference)

    def _validate(self, request: Request, resource_type: str) -> Answer:
        content = _parsed(request.body)
        if isinstance(content, dict) and content.get("resourceType") == "Parameters":
            given = [part for part in many(content.get("parameter")) if isinstance(part, dict)]
            parts = [part for part in given if part.get("name") == "resource"]
            content = parts[0].get("resource") if parts else None
        try:
            self._check(content, resource_type)
        except FhirError as error:
            return error_answer(FhirError(200, error.text, code=error.code, where=error.where))
        return json_answer(200, outcome("informational", "no problem was found", severity="information"))

    def _content(self, request: Request, resource_type: str) -> Json:
        sent = request.headers.get("content-type", "application/fhir+json").partition(";")[0].strip()
        if sent not in ("application/fhir+json", "application/json", "text/json", "application/json+fhir"):
            raise FhirError(415, "only application/fhir+json is supported")
        content = _parsed(request.body)
        self._check(content, resource_type)
        resource: Json = content
        return resource

    def _check(self, content: Any, resource_type: str) -> None:
        if not isinstance(content, dict):
            raise FhirError(400, "a resource is a JSON object", code="structure")
        if content.get("resourceType") != resource_type:
            raise FhirError(400, f"this is no {resource_type}", code="invalid", where="Resource.resourceType")
        if self.behaviour.strict:
            validate(content)

    def _check_match(self, request: Request, current: Version | None) -> None:
        wanted = request.headers.get("if-match")
        if wanted is None:
            return
        if current is None or current.raw is None:
            raise FhirError(412, "If-Match, but there is no such resource")
        if wanted.removeprefix("W/").strip('"') not in (str(current.number), "*"):
            raise FhirError(self.behaviour.conflict_status, f"the current version is {current.number}")

    def _only(self, resource_type: str, pairs: Pairs) -> Version | None:
        found = self.readings.find(resource_type, pairs)
        if len(found) > 1:
            raise FhirError(412, "the condition finds more than one resource", code="multiple-matches")
        return found[0] if found else None

    def _written(self, request: Request, version: Version, status: int, *, committed: bool = True) -> Answer:
        prefer = request.headers.get("prefer", "").lower()
        headers = _version_headers(version)
        headers["Location"] = f"{request.base_url}/{version.reference}/_history/{version.number}"
        answer = Answer(status, version.raw or b"", headers, resource=version.reference)
        if "return=minimal" in prefer:
            answer.body = b""
        elif "return=operationoutcome" in prefer:
            text = "written" if committed else "it was there already"
            answer.body = dumps(outcome("informational", text, severity="information"))
        return answer


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise FhirError(400, "the body is not UTF-8", code="structure") from None


def _parsed(body: bytes) -> Any:
    try:
        return loads(_text(body))
    except ValueError:
        raise FhirError(400, "the body is not JSON", code="structure") from None


def _version_headers(version: Version) -> dict[str, str]:
    return {"ETag": version.etag, "Last-Modified": version.last_modified}


def _shown(version: Version, status: int) -> Answer:
    return Answer(status, version.raw or b"", _version_headers(version), resource=version.reference)
