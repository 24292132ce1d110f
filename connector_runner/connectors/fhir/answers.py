"""What an answer of a FHIR server to a request of the sink means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from connector_runner.connectors.classification.classify import classify
from connector_runner.connectors.classification.evidence import Purpose
from connector_runner.connectors.sinks import NO_ID, OTHER_RECORD, Json, Outcome, Reply
from connector_runner.infra.http import Answer

_LOCATION: Final = re.compile(
    r"(?:^|/)([A-Z][A-Za-z]+/(?!\.{1,2}(?:/|$))[A-Za-z0-9.-]{1,64})(?:/_history/([\x21\x23-\x2e\x30-\x7e]{1,200}))?$"
)
_ENTITY_TAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,200}"')
_TOKEN: Final = re.compile(r"[\x21\x23-\x7e]{1,200}")
_ID: Final = re.compile(r"(?!\.{1,2}$)[^\s/?#%\\\x00-\x1f]{1,200}")
"""Wider than R4 (datatypes.html#id), for servers that are; still no more than one step in a path."""

NO_JSON: Final = "no_json"
NO_BUNDLE: Final = "not_a_bundle"
UNCONFIRMED: Final = "unconfirmed"


def reply_to(answer: Answer, ref: str | None, *, now: datetime, purpose: Purpose, vendor: str = "") -> Reply:
    """What an answer to a request about ``ref`` (None: the server chooses the id) means.

    What the answer to a write leaves open is UNKNOWN; so is a success that shows another resource than it is about.
    """
    classified = classify(answer, purpose, vendor, now)
    reply = classified.reply
    if reply.outcome is not Outcome.LANDED or purpose == "check":
        return reply
    document = classified.evidence.document
    if document is not None and not isinstance(document, dict):
        return _unknown(reply, NO_JSON)
    if purpose in ("read", "search", "transaction"):
        return _shown(reply, answer, ref, document or {}, purpose)
    return _written(reply, answer, ref, document)


def _shown(reply: Reply, answer: Answer, ref: str | None, body: Json, purpose: Purpose) -> Reply:
    if ref is not None and "/" in ref and about(body) != ref:
        return _unknown(reply, NO_ID if about(body) is None else OTHER_RECORD)
    if purpose == "search" and (body.get("resourceType") != "Bundle" or not isinstance(body.get("entry", []), list)):
        return _unknown(reply, NO_BUNDLE)
    return replace(reply, ref=ref, etag=version_of(answer.headers, body), body=body)


def _written(reply: Reply, answer: Answer, ref: str | None, document: Json | None) -> Reply:
    body = None if document is None or document.get("resourceType") == "OperationOutcome" else document
    located = _LOCATION.search(answer.headers.get("Location") or "")
    if body is None and located is None and not answer.headers.get("ETag"):
        return _unknown(reply, UNCONFIRMED)
    shown = about(body) if body is not None else None
    if body is not None and shown is None:
        # Not the record, whatever it says: an error of another form, or a record that nobody could name.
        return _unknown(reply, NO_ID if "resourceType" in body else UNCONFIRMED)
    told = {place for place in (located[1] if located else None, shown) if place is not None}
    if len(told | ({ref} if ref else set())) > 1:
        return _unknown(reply, OTHER_RECORD)
    etag = version_of(answer.headers, body)
    if etag is None and located is not None and located[2]:
        etag = f'W/"{located[2]}"'
    # Of two versions one is wrong: with none known, the next change reads first.
    etag = None if _disagrees(etag, body) else etag
    return replace(reply, ref=ref or next(iter(told), None), etag=etag, body=body)


def _disagrees(etag: str | None, body: Json | None) -> bool:
    version = _version(body)
    return etag is not None and version is not None and etag.removeprefix("W/").strip('"') != version


def about(body: Json) -> str | None:
    """``Type/id`` of a resource; None when it has no id that an address could be made of."""
    kind, record_id = body.get("resourceType"), body.get("id")
    named = isinstance(kind, str) and isinstance(record_id, str) and _ID.fullmatch(record_id)
    return f"{kind}/{record_id}" if named else None


def _unknown(reply: Reply, cause: str) -> Reply:
    return replace(reply, outcome=Outcome.UNKNOWN, code=cause, cause=cause)


def _version(body: Mapping[str, Any] | None) -> str | None:
    meta = (body or {}).get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    return version if isinstance(version, str) and _TOKEN.fullmatch(version) else None


def version_of(headers: Mapping[str, str], body: Mapping[str, Any] | None) -> str | None:
    """The version to state in If-Match: the header's, else that of ``meta`` (R4, http.html#versioning)."""
    etag = (headers.get("ETag") or "").strip()
    if _ENTITY_TAG.fullmatch(etag):
        return etag
    version = _version(body)
    if version is not None:
        return f'W/"{version}"'
    # Not a tag by the standard, but what the server calls the version.
    return etag if _TOKEN.fullmatch(etag) else None
