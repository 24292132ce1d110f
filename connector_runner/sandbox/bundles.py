"""Transaction and batch bundles."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .fhir_json import Json, dumps, loads, written
from .interactions import Interactions
from .messages import Answer, Request, json_answer
from .outcomes import FhirError
from .resource_types import RESOURCE_TYPES

_ORDER = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "GET": 3, "HEAD": 3}
_CONDITIONAL = re.compile(r"([A-Z][A-Za-z]+)\?(.+)")


class Bundles:
    """Answers a POST to the FHIR base. Like :class:`Interactions` it leaves the commit to the caller."""

    def __init__(self, interactions: Interactions) -> None:
        self._interactions = interactions

    def perform(self, request: Request) -> Answer:
        """Do all entries; ``FhirError`` when the bundle as a whole is refused."""
        try:
            bundle = loads(request.body)
        except ValueError:
            raise FhirError(400, "the body is not JSON", code="structure") from None
        if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
            raise FhirError(400, "a POST to the base takes a Bundle", code="structure")
        entries = bundle.get("entry", [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise FhirError(400, "Bundle.entry is a list of objects", code="structure")
        if bundle.get("type") == "transaction" and not self._interactions.behaviour.transactions:
            raise FhirError(400, "only batch bundles are taken", code="not-supported")
        if bundle.get("type") == "transaction":
            results = self._transaction(request, entries)
        elif bundle.get("type") == "batch":
            results = [self._alone(request, entry) for entry in entries]
        else:
            raise FhirError(400, "only transaction and batch bundles are taken", code="not-supported")
        body: Json = {"resourceType": "Bundle", "type": f"{bundle['type']}-response"}
        if results:
            body["entry"] = [_entry(result) for result in results]
        return json_answer(200, body)

    def _alone(self, request: Request, entry: Json) -> Answer | FhirError:
        # Nothing of an entry is written when it is refused, so there is nothing to take back.
        try:
            return self._interactions.perform(_request_of(request, entry, entry.get("resource")))
        except FhirError as error:
            return error

    def _transaction(self, request: Request, entries: list[Json]) -> list[Answer | FhirError]:
        _no_identity_twice(entries)
        identities = self._identities(entries)
        results: dict[int, Answer | FhirError] = {}
        places = sorted(range(len(entries)), key=lambda place: _ORDER.get(_request_line(entries[place])[0], 3))
        for place in places:
            entry = entries[place]
            content = self._resolved(entry.get("resource"), identities)
            try:
                results[place] = self._one(request, entry, content, identities)
            except FhirError as error:
                where = f"Bundle.entry[{place}]"
                raise FhirError(error.status, f"{where}: {error.text}", code=error.code, where=where) from None
        return [results[place] for place in range(len(entries))]

    def _one(self, request: Request, entry: Json, content: Any, identities: dict[str, str]) -> Answer:
        method, url = _request_line(entry)
        full_url = entry.get("fullUrl")
        if method == "POST" and isinstance(full_url, str) and full_url in identities:
            known = identities[full_url]
            resource_type, _, resource_id = known.partition("/")
            if url == resource_type and self._interactions.store.current(resource_type, resource_id) is None:
                return self._interactions.create_as(_request_of(request, entry, content), resource_type, resource_id)
        return self._interactions.perform(_request_of(request, entry, content))

    def _identities(self, entries: list[Json]) -> dict[str, str]:
        """What each temporary identity will be: an id to come, or the resource that a condition finds."""
        identities: dict[str, str] = {}
        for entry in entries:
            full_url = entry.get("fullUrl")
            method, url = _request_line(entry)
            path, _, query = url.partition("?")
            if not isinstance(full_url, str) or path.partition("/")[0] not in RESOURCE_TYPES:
                continue
            condition = entry["request"].get("ifNoneExist") if method == "POST" else query if method == "PUT" else None
            if method == "PUT" and "/" in path:
                identities[full_url] = path
            elif method in ("POST", "PUT"):
                found = self._found(path, str(condition)) if condition else None
                content = entry.get("resource")
                own = content.get("id") if method == "PUT" and isinstance(content, dict) else None
                identities[full_url] = found or f"{path}/{own or uuid.uuid4()}"
        return identities

    def _found(self, resource_type: str, condition: str) -> str | None:
        pairs = parse_qsl(condition.lstrip("?"), keep_blank_values=True)
        found = self._interactions.readings.find(resource_type, pairs)
        if len(found) > 1:
            raise FhirError(412, "the condition finds more than one resource", code="multiple-matches")
        return found[0].reference if found else None

    def _resolved(self, value: Any, identities: dict[str, str]) -> Any:
        if isinstance(value, list):
            return [self._resolved(item, identities) for item in value]
        if not isinstance(value, dict):
            return value
        changed = {key: self._resolved(item, identities) for key, item in value.items()}
        for key in ("reference", "url", "valueUri", "valueUrl"):
            text = value.get(key)
            if isinstance(text, str) and text in identities:
                changed[key] = identities[text]
        text = value.get("reference")
        if isinstance(text, str) and (conditional := _CONDITIONAL.fullmatch(text)):
            changed["reference"] = self._target(conditional[1], conditional[2])
        elif isinstance(text, str) and text.startswith("urn:uuid:") and text not in identities:
            raise FhirError(400, "a reference to an entry that is not in the bundle", code="not-found")
        return changed

    def _target(self, resource_type: str, condition: str) -> str:
        found = self._found(resource_type, condition)
        if found is None:
            raise FhirError(412, f"a conditional reference to {resource_type} finds nothing", code="not-found")
        return found


def _request_line(entry: Json) -> tuple[str, str]:
    request = entry.get("request")
    if not isinstance(request, dict) or request.get("method") not in _ORDER:
        raise FhirError(400, "Bundle.entry.request has a method", code="required")
    url = request.get("url")
    if not isinstance(url, str):
        raise FhirError(400, "Bundle.entry.request has a url", code="required")
    return request["method"], url.lstrip("/")


def _request_of(request: Request, entry: Json, content: Any) -> Request:
    method, url = _request_line(entry)
    line = entry["request"]
    parts = urlsplit(url)
    headers = {"prefer": request.headers.get("prefer", ""), "content-type": "application/fhir+json"}
    for element, header in (
        ("ifMatch", "if-match"),
        ("ifNoneMatch", "if-none-match"),
        ("ifNoneExist", "if-none-exist"),
    ):
        if element in line:
            headers[header] = str(line[element])
    body = b"" if content is None else dumps(content)
    if method == "PATCH" and isinstance(content, dict) and content.get("resourceType") == "Binary":
        headers["content-type"] = str(content.get("contentType", ""))
        body = _decoded(content.get("data"))
    path = unquote(parts.path).strip("/")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    return Request(method, path, pairs, headers, body, request.base_url)


def _decoded(data: Any) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (TypeError, ValueError):
        raise FhirError(400, "Binary.data is not base64", code="value") from None


def _touched(entries: list[Json]) -> Iterator[str]:
    for entry in entries:
        method, url = _request_line(entry)
        if method in ("PUT", "PATCH", "DELETE") and "?" not in url:
            yield url


def _no_identity_twice(entries: list[Json]) -> None:
    touched = list(_touched(entries))
    posted = [entry["fullUrl"] for entry in entries if entry.get("fullUrl") and _request_line(entry)[0] == "POST"]
    if len(set(touched)) < len(touched) or len(set(posted)) < len(posted):
        raise FhirError(400, "one identity is touched twice in a transaction", code="duplicate")


def _entry(result: Answer | FhirError) -> Json:
    if isinstance(result, FhirError):
        return {"response": {"status": str(result.status), "outcome": result.outcome()}}
    names = {200: "200 OK", 201: "201 Created", 204: "204 No Content", 304: "304 Not Modified"}
    response: Json = {"status": names.get(result.status, str(result.status))}
    for header, element in (("Location", "location"), ("ETag", "etag")):
        if header in result.headers:
            response[element] = result.headers[header]
    entry: Json = {"response": response}
    if result.body:
        entry["resource"] = written(result.body)
        modified = loads(result.body).get("meta", {}).get("lastUpdated")
        if modified:
            response["lastModified"] = modified
    return entry
