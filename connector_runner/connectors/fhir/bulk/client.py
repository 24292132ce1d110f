"""Starts, follows and ends exports on a server, and fetches their files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from connector_runner.auth.credentials import Credential
from connector_runner.connectors.base import Opening
from connector_runner.connectors.fhir.bulk.manifest import Manifest, parse_manifest
from connector_runner.connectors.fhir.bulk.request import Export
from connector_runner.connectors.fhir.client import FHIR_JSON, FHIRClient, outcome_codes, read_failure
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.gate import through
from connector_runner.connectors.rate_headers import expires_at, retry_after_s
from connector_runner.infra.http import Answer, Taker
from connector_runner.infra.urls import PORTS
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import Misconfigured, TryAgain, Unavailable

NDJSON: Final = "application/fhir+ndjson"
_NO_SUCH_VERB: Final = frozenset({400, 404, 405, 415, 501})
_ALREADY: Final = frozenset({409, 429})
_GONE: Final = frozenset({404, 410})
_PASSING: Final = frozenset({"transient", "lock-error", "timeout", "throttled", "incomplete", "no-store"})
_PER_CENT = re.compile(r"(\d{1,3}(?:\.\d{1,3})?)\s*%")
_PLAIN_NUMBER = re.compile(r"\s*(\d{1,3}(?:\.\d{1,3})?)\s*")
_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
FILE_DEADLINE_S: Final = 150.0
"""For one request of a file; what it brought is kept, and the next goes on behind it where ranges are known."""
_MANIFEST_BYTES: Final = 64 * 1024 * 1024


class ExportLost(TryAgain):
    """The server does not know the export or its files any more: start another, since the same time."""

    default_code = "export_lost"


@dataclass(frozen=True, slots=True)
class Started:
    """The server works on it."""

    status_url: str


@dataclass(frozen=True, slots=True)
class Busy:
    """It works on another export of this client, which has to end first. ``status_url`` where it says which."""

    wait_s: float | None
    status_url: str | None


@dataclass(frozen=True, slots=True)
class Running:
    """Not done yet; ``progress`` is per cent, where the server gives a number."""

    wait_s: float | None
    progress: float | None


@dataclass(frozen=True, slots=True)
class Ready:
    """Done; the files are there until ``expires_at``."""

    manifest: Manifest
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Arriving:
    """The head of a file's answer: whether it goes on behind what is there, and what names this state of the file."""

    resumed: bool
    etag: str | None


Begin = Callable[[Arriving], Taker]
"""Told how a file arrives, answers who takes its bytes."""


class BulkClient:
    """Exports of one server, read with the credential that reads."""

    def __init__(self, opening: Opening, settings: FHIRSettings, *, clock: Clock = utc_now) -> None:
        self._opening, self._settings, self._clock = opening, settings, clock
        self._client = FHIRClient(opening, settings)

    def start(self, export: Export) -> Started | Busy:
        """Ask for an export.

        Raises Misconfigured, Forbidden, TokenExpired, RateLimited or Unavailable for what else the server may answer.
        """
        method = self._settings.bulk.method or ("POST" if export.needs_post else "GET")
        answer = self._kick_off(method, export)
        free = self._settings.bulk.method is None and not export.needs_post
        if free and answer.status in _NO_SUCH_VERB:
            posted = self._kick_off("POST", export)
            answer = posted if posted.status not in _NO_SUCH_VERB else answer
        if answer.status == 202:
            return Started(self._place(answer) or _missing_place())
        if answer.status in _ALREADY:
            return Busy(retry_after_s(answer.headers, self._clock()), self._place(answer))
        raise read_failure(answer, export.path, self._clock())

    def _kick_off(self, method: str, export: Export) -> Answer:
        headers = {"Accept": FHIR_JSON, "Prefer": "respond-async"}
        if method == "POST" or export.needs_post:
            return self._client.request("POST", export.path, headers=headers, body=export.parameters())
        return self._client.request("GET", export.path, headers=headers, params=export.query())

    def _place(self, answer: Answer) -> str | None:
        place = answer.headers.get("Content-Location")
        return self._client.address(place) if place else None

    def poll(self, status_url: str) -> Running | Ready:
        """How an export is doing.

        Raises ExportLost when the server knows it no more or says that it failed, and what a read raises.
        """
        answer = self._ask(status_url)
        if answer.status == 200:
            return Ready(parse_manifest(answer.body), expires_at(answer.headers, self._clock()))
        return self._unfinished(answer, "export status")

    def page(self, url: str) -> Manifest | Running:
        """Another manifest of the same export, perhaps not there yet."""
        answer = self._ask(url)
        return parse_manifest(answer.body) if answer.status == 200 else self._unfinished(answer, "export manifest")

    def _ask(self, url: str) -> Answer:
        return self._client.request("GET", url, headers={"Accept": "application/json"}, max_bytes=_MANIFEST_BYTES)

    def _unfinished(self, answer: Answer, what: str) -> Running:
        now = self._clock()
        wait_s = retry_after_s(answer.headers, now)
        if answer.status in (202, 429):
            return Running(wait_s, _per_cent(answer.headers.get("X-Progress")))
        if answer.status in _GONE:
            raise ExportLost("the server does not know the export any more", where=what)
        codes = outcome_codes(answer.body)
        if codes and _PASSING.isdisjoint(codes) and (answer.status >= 500 or answer.status in (400, 422)):
            raise ExportLost(f"the export failed ({', '.join(codes[:5])})", code="export_failed", where=what)
        if codes and not _PASSING.isdisjoint(codes):
            return Running(wait_s, None)
        raise read_failure(answer, what, now)

    def end(self, status_url: str) -> None:
        """Let the server forget an export and its files; also one that it has forgotten, or does not let go of."""
        self._client.request("DELETE", status_url)

    def members(self, group: str) -> tuple[str, ...] | None:
        """The patients of a group as the server lists them; None where it does not."""
        answer = self._client.request("GET", f"Group/{group}", max_bytes=_MANIFEST_BYTES)
        if answer.status != 200:
            return None
        try:
            listed = json.loads(answer.body).get("member")
        except (ValueError, AttributeError, RecursionError):
            return None
        found = [_patient(member) for member in listed] if isinstance(listed, list) else []
        return tuple(dict.fromkeys(one for one in found if one)) or None

    def fetch(self, url: str, *, authorized: bool, position: int, etag: str | None, begin: Begin) -> None:
        """Fetch a file from byte ``position`` on; from its first where the server knows no ranges, or has another now.

        The token goes along only where the manifest asks for it, and only to origins that may have it. Raises
        ExportLost (``file_expired``) when the file is gone, Misconfigured (``foreign_link``, ``bad_url``), and what a
        read raises.
        """
        headers: dict[str, str] = {"Accept": NDJSON}
        if position and etag:
            headers |= {"Accept-Encoding": "identity", "Range": f"bytes={position}-", "If-Range": etag}
        try:
            url = urljoin(self._settings.base_url + "/", url)
            _origin(url)
        except ValueError:
            raise Misconfigured("the manifest names no address", code="bad_url", where="export file") from None
        answer = self._get(url, headers, authorized, _Receiver(position, begin))
        if answer.status in (200, 206):
            return
        if answer.status in _GONE:
            raise ExportLost("a file of the export is gone", code="file_expired", where="export file")
        if answer.status == 416 and position:
            begin(Arriving(True, etag))
            return
        raise read_failure(answer, "export file", self._clock())

    def _get(self, url: str, headers: dict[str, str], authorized: bool, receiver: _Receiver) -> Answer:
        if authorized and _origin(url) != _origin(self._settings.base_url) and not self._trusts(url):
            raise Misconfigured(
                "the files lie at another origin, where the token may not go: name it in bulk.token_origins",
                code="foreign_link",
                where="export file",
            )
        credential = self._opening.credential(self._settings.auth, "read") if authorized else None
        answer = self._send(url, headers, credential, receiver)
        if credential is not None and answer.status == 401 and credential.renew():
            answer = self._send(url, headers, credential, receiver)
        return answer

    def _send(
        self,
        url: str,
        headers: dict[str, str],
        credential: Credential | None,
        receiver: _Receiver,
    ) -> Answer:
        sent, params = dict(headers), list[tuple[str, str]]()
        if credential is not None:
            credential.apply(sent, params)
        return through(
            self._opening.gate,
            lambda: self._opening.http.request(
                "GET",
                url,
                headers=sent,
                params=params,
                timeout_s=self._settings.request_timeout_s,
                deadline_s=FILE_DEADLINE_S,
                max_bytes=self._settings.bulk.most_file_bytes,
                allow_redirects=True,
                certificate=credential.certificate if credential is not None else None,
                into=receiver,
            ),
        )

    def _trusts(self, url: str) -> bool:
        return _origin(url) in {_origin(text) for text in self._settings.bulk.token_origins}


class _Receiver:
    """Looks at the head of a file's answer."""

    def __init__(self, position: int, begin: Begin) -> None:
        self._position, self._begin = position, begin

    def __call__(self, status: int, headers: Any) -> Taker | None:
        etag = headers.get("ETag") or ""
        kept = etag if _STRONG.fullmatch(etag) else None
        if status == 200:
            return self._begin(Arriving(False, None if headers.get("Content-Encoding") else kept))
        if status == 206:
            if not (headers.get("Content-Range") or "").startswith(f"bytes {self._position}-"):
                raise Unavailable("another part of the file came", code="other_range", where="export file")
            return self._begin(Arriving(True, kept))
        return None


def _missing_place() -> str:
    raise Misconfigured("the server starts an export and does not say where", code="no_content_location")


def _per_cent(text: str | None) -> float | None:
    """The number in a text of the server's own, which is not kept."""
    found = _PER_CENT.search(text or "") or _PLAIN_NUMBER.fullmatch(text or "")
    return min(float(found[1]), 100.0) if found else None


def _patient(member: Any) -> str | None:
    entity = member.get("entity") if isinstance(member, dict) else None
    reference = entity.get("reference") if isinstance(entity, dict) else None
    if not isinstance(reference, str) or member.get("inactive") is True:
        return None
    kind, _, record_id = reference.rpartition("/")
    return record_id if kind.rpartition("/")[2] == "Patient" and _ID.fullmatch(record_id) else None


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or PORTS.get(parts.scheme)
