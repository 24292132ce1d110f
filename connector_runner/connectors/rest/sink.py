"""Writing to a REST API so that a repeat makes no second record, as far as its settings allow."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal
from urllib.parse import quote

from connector_runner.auth.credentials import Credential
from connector_runner.auth.settings import Direction
from connector_runner.connectors.base import Opening
from connector_runner.connectors.classification.classify import Classified, classify
from connector_runner.connectors.classification.evidence import Purpose
from connector_runner.connectors.classification.failures import reply_to_failure
from connector_runner.connectors.rest.records import (
    at,
    id_of,
    merge_patch,
    placed,
    resource_of,
    sendable,
    version_of,
    wrapped,
)
from connector_runner.connectors.rest.settings import RecordSettings, RestSettings
from connector_runner.connectors.settings import SourceSettings
from connector_runner.connectors.sinks import (
    IDENTITY_DROPPED,
    NO_ID,
    NOT_SEARCHABLE,
    OTHER_RECORD,
    Capabilities,
    Found,
    Json,
    Outcome,
    Reply,
    Sink,
    Step,
)
from connector_runner.infra.http import Answer
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import Misconfigured, RunnerError

_MOST_BYTES: Final = 8 * 1024 * 1024
_PLACE: Final = re.compile(r"[A-Za-z_][\w.]{0,80}")
_JSON: Final = "application/json"


def open_sink(settings: SourceSettings, opening: Opening) -> Sink:
    """The outbound side of a REST API."""
    if not isinstance(settings, RestSettings) or settings.sink is None:
        raise Misconfigured("these are not the settings of a REST API that is written to", code="settings")
    return RestSink(opening, settings)


class RestSink:
    """The outbound side of a REST API."""

    def __init__(self, opening: Opening, settings: RestSettings, *, clock: Clock = utc_now) -> None:
        self._opening = opening
        self._settings = settings
        self._clock = clock
        self._credentials: dict[Direction, Credential] = {}
        self._lock = threading.Lock()

    @property
    def capabilities(self) -> Capabilities:
        """What the settings make of the API."""
        return self._settings.sink_capabilities

    def read(self, ref: str) -> Reply:
        """``GET`` of the record."""
        kind, record, record_id = self._named(ref)
        return self._shown(kind, record, *self._call("GET", _place(record, record_id), "read"), wanted=record_id)

    def find(self, resource_type: str, client_ref: str) -> Reply:
        """The record with our external id: by its address, else by a search.

        ABSENT with cause ``not_searchable`` where neither is offered: a repeat then relies on its idempotency key.
        """
        record = self._record(resource_type)
        if record.create == "upsert" and record.upsert_path and record.read_by_external_id:
            path = record.upsert_path.replace("{external_id}", quote(client_ref, safe=""))
            return self._shown(resource_type, record, *self._call("GET", path, "read"), bears=client_ref)
        if record.search_param is None or record.external_id_field is None:
            return Reply(Outcome.ABSENT, NOT_SEARCHABLE, cause=NOT_SEARCHABLE)
        asked = {record.search_param: client_ref}
        found = self._search(resource_type, record, asked, {record.external_id_field: client_ref})
        if len(found.resources) > 1:
            return replace(found.reply, outcome=Outcome.DUPLICATES, code="multiple_matches", ref=None, body=None)
        return found.reply

    def candidates(self, body: Json) -> Found:
        """A search by what makes a record look like this one (``known_by``)."""
        kind = str(body["resourceType"])
        record = self._record(kind)
        wanted = {name: at(body, name) for name in record.known_by.values()}
        if not wanted or not all(isinstance(value, str) and value for value in wanted.values()):
            return Found(Reply(Outcome.ABSENT, "nothing_to_search_by", cause="nothing_to_search_by"))
        asked = {param: str(wanted[name]) for param, name in record.known_by.items()}
        return self._search(kind, record, asked, wanted)

    def check(self, body: Json, ref: str | None) -> Reply:
        """Nothing of the kind is offered."""
        return Reply(Outcome.LANDED, cause="not_offered")

    def create(self, body: Json, client_ref: str) -> Reply:
        """An upsert by our external id, a POST with an idempotency key, or a plain POST."""
        kind = str(body["resourceType"])
        record = self._record(kind)
        fields = sendable(record, self.identified(body, client_ref))
        content = wrapped(record, fields)
        if record.create == "upsert" and record.upsert_path:
            path = record.upsert_path.replace("{external_id}", quote(client_ref, safe=""))
            return self._written(
                kind, record, *self._call(record.upsert_method, path, "create", content), bears=client_ref
            )
        keyed = record.create == "idempotent_post"
        key = {record.idempotency_header: client_ref} if keyed else {}
        answered = self._call("POST", record.path, "create", content, headers=key)
        reply = self._written(kind, record, *answered, bears=client_ref)
        shown = reply.body or {}
        if keyed and reply.outcome is Outcome.LANDED and any(shown.get(name) != fields[name] for name in fields):
            # An API that knows the key answers what it made of it the first time, which may have been another body.
            return replace(reply, outcome=Outcome.EXISTED, code="existed", cause="existed")
        name = record.external_id_field
        alone = record.create == "post" and name is not None and reply.outcome is Outcome.LANDED
        if alone and at(shown, name) is None and any(field in shown for field in fields):
            return replace(reply, cause=IDENTITY_DROPPED)
        return reply

    def update(self, ref: str, body: Json, etag: str | None, *, before: Json | None = None) -> Reply:
        """``PUT`` of the record, or ``PATCH`` of what differs from ``before``, if it is still of that version."""
        kind, record, record_id = self._named(ref)
        fields = sendable(record, body)
        if record.update == "PATCH" and before is not None:
            fields = merge_patch(sendable(record, before), fields)
        headers = {"If-Match": etag} if etag and record.version == "etag" else {}
        if record.update == "PATCH":
            headers["Content-Type"] = record.merge_content_type
        content = wrapped(record, fields, etag)
        answered = self._call(record.update, _place(record, record_id), "update", content, headers=headers)
        return self._written(kind, record, *answered, wanted=record_id)

    def transact(self, steps: Sequence[Step]) -> list[Reply]:
        """There are no transactions."""
        raise Misconfigured("this sink has no transactions", code="no_transactions")

    def identified(self, body: Json, client_ref: str) -> Json:
        """With our external id, where the record has a field for it."""
        name = self._record(str(body["resourceType"])).external_id_field
        return placed(body, name, client_ref) if name else dict(body)

    def _record(self, kind: str) -> RecordSettings:
        record = self._settings.records.get(kind)
        if record is None:
            raise Misconfigured("the settings do not say where such records are", code="unknown_record", where=kind)
        return record

    def _named(self, ref: str) -> tuple[str, RecordSettings, str]:
        kind, _, record_id = ref.partition("/")
        return kind, self._record(kind), record_id

    def _search(self, kind: str, record: RecordSettings, asked: Mapping[str, str], wanted: Mapping[str, Any]) -> Found:
        """What the list holds of records that bear ``wanted``; servers pass over parameters that they do not know."""
        reply, answer, document = self._call("GET", record.path, "search", params=list(asked.items()), lists=True)
        if answer is None or reply.outcome is not Outcome.LANDED:
            return Found(reply)
        listed = at(document, record.list_field)
        if not isinstance(listed, list):
            return Found(_unknown(reply, "no_list"))
        bearing = [item for item in listed if isinstance(item, dict) and _bears(record, item, wanted)]
        resources = [resource_of(kind, record, item) for item in bearing]
        if None in resources:
            return Found(_unknown(reply, NO_ID))
        if not bearing and listed:
            # Others were listed in their place: the parameter was passed over, and ours may be on another page.
            return Found(_unknown(reply, "search_parameter_ignored"))
        if not bearing:
            return Found(replace(reply, outcome=Outcome.ABSENT, code="no_match", cause="no_match"))
        version = None if record.version == "etag" else version_of(record, bearing[0], {})
        body = resources[0]
        ref = f"{kind}/{body['id']}" if body else None
        return Found(replace(reply, ref=ref, etag=version, body=body), tuple(item for item in resources if item))

    def _shown(
        self,
        kind: str,
        record: RecordSettings,
        reply: Reply,
        answer: Answer | None,
        document: Any,
        *,
        wanted: str = "",
        bears: str = "",
    ) -> Reply:
        """The record of the id ``wanted``, or the one that ``bears`` our external id where it shows any."""
        if answer is None or reply.outcome is not Outcome.LANDED:
            return reply
        body = resource_of(kind, record, document) if isinstance(document, dict) else None
        if body is None:
            return _unknown(reply, NO_ID if isinstance(document, dict) else "no_json")
        name = record.external_id_field
        other = bool(bears) and name is not None and at(body, name) is not None
        if (wanted and body["id"] != wanted) or (other and not _bears(record, document, {str(name): bears})):
            return _unknown(reply, OTHER_RECORD)
        etag = version_of(record, document, answer.headers)
        return replace(reply, ref=f"{kind}/{body['id']}", etag=etag, body=body)

    def _written(
        self,
        kind: str,
        record: RecordSettings,
        reply: Reply,
        answer: Answer | None,
        document: Any,
        *,
        wanted: str = "",
        bears: str = "",
    ) -> Reply:
        """204 confirms without a word; any other success has to show what was written."""
        if answer is None or reply.outcome is not Outcome.LANDED:
            return reply
        if document is not None:
            if not isinstance(document, dict):
                return _unknown(reply, "no_json")
            if wanted and id_of(record, document) is None and answer.status == 200:
                return _unknown(reply, NO_ID)
            return self._shown(kind, record, reply, answer, document, wanted=wanted, bears=bears)
        if wanted and answer.status == 204:
            return replace(reply, ref=f"{kind}/{wanted}")
        return _unknown(reply, "unconfirmed")

    def _call(
        self,
        method: Literal["GET", "PUT", "POST", "PATCH"],
        path: str,
        purpose: Purpose,
        body: Json | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        params: list[tuple[str, str]] | None = None,
        lists: bool = False,
    ) -> tuple[Reply, Answer | None, Any]:
        """The classified answer, the answer itself (None without one) and its JSON."""
        sent = {"Accept": _JSON, **({"Content-Type": _JSON} if body is not None else {}), **(headers or {})}
        content = None if body is None else exact_json.dumps(body).encode()
        try:
            credential = self._credential("write" if purpose in ("create", "update") else "read")
            answer = self._send(credential, method, path, dict(sent), list(params or ()), content)
            if answer.status == 401 and credential.renew():
                answer = self._send(credential, method, path, dict(sent), list(params or ()), content)
        except RunnerError as error:
            return reply_to_failure(error), None, None
        classified = classify(answer, purpose, self._settings.vendor or "", self._clock())
        document = classified.evidence.document
        if isinstance(document, list) and not lists and classified.reply.outcome is Outcome.LANDED:
            return _unknown(classified.reply, "no_json"), answer, document
        return self._stated(classified), answer, document

    def _stated(self, classified: Classified) -> Reply:
        """The reply, as the settings say that the API's own error codes are meant. A success with a code is none."""
        reply, errors = classified.reply, self._settings.errors
        code = at(classified.evidence.document, errors.code) if errors.code else None
        if code is None or isinstance(code, dict | list | bool):
            return reply
        known = errors.outcomes.get(str(code))
        if known is None:
            return _unknown(reply, "error_in_success") if reply.outcome is Outcome.LANDED else reply
        where = at(classified.evidence.document, errors.field) if errors.field else None
        place = where if isinstance(where, str) and _PLACE.fullmatch(where) else ""
        return replace(reply, outcome=known, code=f"http_{reply.status}_{code}", cause=f"stated_{code}", where=place)

    def _send(
        self,
        credential: Credential,
        method: str,
        path: str,
        headers: dict[str, str],
        params: list[tuple[str, str]],
        content: bytes | None,
    ) -> Answer:
        credential.apply(headers, params)
        return self._opening.http.request(
            method,
            f"{self._settings.base_url}/{path}",
            headers=headers,
            params=params,
            data=content,
            timeout_s=self._settings.request_timeout_s,
            deadline_s=self._settings.request_timeout_s,
            max_bytes=_MOST_BYTES,
            certificate=credential.certificate,
        )

    def _credential(self, direction: Direction) -> Credential:
        """That of the sink's writes where it has one of its own, else that of the connection."""
        with self._lock:
            found = self._credentials.get(direction)
            if found is None:
                sink = self._settings.sink
                write_auth = sink.write_auth if direction == "write" and sink is not None else None
                found = self._opening.credential(write_auth or self._settings.auth, direction)
                self._credentials[direction] = found
            return found


def _place(record: RecordSettings, record_id: str) -> str:
    path = record.read_path or f"{record.path}/{{id}}"
    return path.replace("{id}", quote(record_id, safe=""))


def _bears(record: RecordSettings, document: Json, wanted: Mapping[str, Any]) -> bool:
    fields = at(document, record.body_field)
    return all(str(at(fields, name)).casefold() == str(value).casefold() for name, value in wanted.items())


def _unknown(reply: Reply, cause: str) -> Reply:
    return replace(reply, outcome=Outcome.UNKNOWN, code=cause, cause=cause, ref=None, etag=None, body=None)
