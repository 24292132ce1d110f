"""Writing to a FHIR R4 server so that a repeat makes no second resource and no foreign edit is lost.

Create: PUT to an id that we chose (R4, http.html#upsert) where the server allows it, else POST with an identifier
of ours, and If-None-Exist on it (http.html#ccreate) where the server heeds that. Update: PUT, or a JSON Patch
(http.html#patch) of the difference, with If-Match (http.html#concurrency).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Literal, Protocol
from urllib.parse import quote

from connector_runner.connectors import json_patch
from connector_runner.connectors.classification.evidence import Purpose
from connector_runner.connectors.classification.failures import reply_to_failure
from connector_runner.connectors.classification.rules import READING
from connector_runner.connectors.fhir import searching, transactions
from connector_runner.connectors.fhir.answers import about, reply_to, version_of
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
    Step,
)
from connector_runner.infra.http import Answer
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import Misconfigured, RunnerError

IDENTIFIER_SYSTEM: Final = "urn:connector-runner:entity"
"""The system of the identifier that resources carry which we created without choosing their id."""

# R4 resources that a POST sink cannot recognise by an identifier, since they have none.
_WITHOUT_IDENTIFIER: Final = frozenset({"Provenance", "AuditEvent", "Binary", "Bundle", "Parameters"})
_JSON_PATCH: Final = "application/json-patch+json"
_FORM: Final = "application/x-www-form-urlencoded"
_MOST_BYTES: Final = 8 * 1024 * 1024
"""Of an answer: a resource, or the few that a search asks for."""


class Client(Protocol):
    """The part of the FHIR client that a sink needs."""

    def request(
        self,
        method: str,
        path_or_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: list[tuple[str, str]] | None = None,
        body: bytes | None = None,
        kind: Literal["read", "write"] = "read",
        max_bytes: int | None = None,
    ) -> Answer:
        """Send one request; the answer whatever its status."""


class FHIRSink:
    """The outbound side of a FHIR store."""

    def __init__(
        self,
        client: Client,
        capabilities: Capabilities,
        *,
        vendor: str = "",
        search_by: Literal["POST", "GET"] = "POST",
        clock: Clock = utc_now,
    ) -> None:
        """``vendor``: whose server it is, for errors that only that vendor means so.

        Each method sends one request at most, so that a limit on requests is one on calls.
        """
        self._search_by = search_by
        self._client = client
        self._vendor = vendor
        self._capabilities = capabilities
        self._clock = clock

    @property
    def capabilities(self) -> Capabilities:
        """What the settings say that the server can do."""
        return self._capabilities

    def read(self, ref: str) -> Reply:
        """``GET Type/id``."""
        return self._call("GET", ref)

    def find(self, resource_type: str, client_ref: str) -> Reply:
        """The resource of our identity: by the id we chose, else by a search for our identifier.

        ABSENT with cause ``not_searchable`` where neither is offered: a repeat then relies on its condition.
        """
        if self._capabilities.client_id:
            return self._call("GET", f"{resource_type}/{client_ref}")
        return self._by_identifier(resource_type, client_ref)

    def find_created(self, body: Json, client_ref: str) -> Reply:
        """The same of what a create of ``body`` made, as that was sent: the settings may say otherwise by now."""
        kind = str(body["resourceType"])
        if body.get("id") == client_ref:
            return self._call("GET", f"{kind}/{client_ref}")
        return self._by_identifier(kind, client_ref)

    def _by_identifier(self, resource_type: str, client_ref: str) -> Reply:
        if not self._capabilities.search:
            return Reply(Outcome.ABSENT, NOT_SEARCHABLE, cause=NOT_SEARCHABLE)
        wanted = f"{IDENTIFIER_SYSTEM}|{client_ref}"
        answer = self._call("GET", resource_type, params=[("identifier", wanted), ("_count", "3")], purpose="search")
        if answer.outcome is not Outcome.LANDED:
            return answer
        ours = {"resourceType": resource_type, "identifier": [{"system": IDENTIFIER_SYSTEM, "value": client_ref}]}
        listed = searching.resources_of(answer.body)
        found = searching.bearing(ours, listed)
        if not found:
            return _absent(answer, others=bool(listed))
        if len(found) > 1:
            return Reply(Outcome.DUPLICATES, "multiple_matches", answer.status, pace=answer.pace)
        return _shown(answer, found[0])

    def candidates(self, body: Json) -> Found:
        """``POST Type/_search``, so that no name stands in a URL; ``GET`` where the settings say so."""
        asked = searching.question(body) if self._capabilities.search else None
        if asked is None:
            return Found(Reply(Outcome.ABSENT, "nothing_to_search_by", cause="nothing_to_search_by"))
        kind = str(body["resourceType"])
        if self._search_by == "GET":
            answer = self._call("GET", kind, params=asked, purpose="search")
        else:
            form = "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in asked).encode()
            answer = self._call("POST", f"{kind}/_search", data=form, headers={"Content-Type": _FORM}, purpose="search")
        if answer.outcome is not Outcome.LANDED:
            return Found(answer)
        found = searching.bearing(body, searching.resources_of(answer.body))
        if not found:
            return Found(_absent(answer))
        if any(about(item) is None for item in found):
            return Found(_untold(answer, NO_ID))
        return Found(_shown(answer, found[0]), found)

    def check(self, body: Json, ref: str | None) -> Reply:
        """``POST Type/$validate`` (R4, resource-operation-validate.html): for an update, of the resource itself."""
        if not self._capabilities.validate:
            return Reply(Outcome.LANDED, cause="not_offered")
        mode = [{"name": "mode", "valueCode": "update" if ref else "create"}]
        asked: Json = {"resourceType": "Parameters", "parameter": [*mode, {"name": "resource", "resource": body}]}
        return self._call("POST", f"{ref or body['resourceType']}/$validate", body=asked, purpose="check")

    def create(self, body: Json, client_ref: str) -> Reply:
        """PUT to the id we chose, else POST unless our identifier is there already."""
        sent = self.identified(body, client_ref)
        kind = str(sent["resourceType"])
        if self._capabilities.client_id:
            return self._call("PUT", f"{kind}/{client_ref}", body=sent, purpose="create")
        condition = self._condition(client_ref)
        headers = {"If-None-Exist": condition} if condition else {}
        purpose: Purpose = "conditional_create" if condition else "create"
        answer = self._call("POST", kind, body=sent, headers=headers, purpose=purpose)
        reply = _created(answer, purpose, kind, client_ref)
        if reply.outcome is Outcome.LANDED and self._found_by_number(kind) and _dropped(reply.body, sent, client_ref):
            return replace(reply, cause=IDENTITY_DROPPED)
        return reply

    def _found_by_number(self, kind: str) -> bool:
        """Whether our identifier is all by which a record of ours is found."""
        return True

    def update(self, ref: str, body: Json, etag: str | None, *, before: Json | None = None) -> Reply:
        """``PUT Type/id``, or ``PATCH`` of what differs from ``before``, with If-Match."""
        headers = {"If-Match": etag} if etag and self._capabilities.if_match is not None else {}
        if before is None or not self._capabilities.patch:
            return self._call("PUT", ref, body=body, headers=headers, purpose="update")
        patch = exact_json.dumps(json_patch.difference(before, body, tested=not headers)).encode()
        headers |= {"Content-Type": _JSON_PATCH}
        return self._call("PATCH", ref, data=patch, headers=headers, purpose="update")

    def transact(self, steps: Sequence[Step]) -> list[Reply]:
        """``POST`` of one transaction bundle."""
        if not self._capabilities.transaction:
            raise Misconfigured("this sink has no transactions", code="no_transactions")
        asked = transactions.bundle(steps, self.identified, self._condition, self._capabilities.client_id)
        whole = self._call("POST", "", body=asked, purpose="transaction")
        return transactions.replies(steps, whole, self._entry)

    def identified(self, body: Json, client_ref: str) -> Json:
        """With our id, or with our identifier beside those of others.

        Raises Misconfigured when a type without identifiers is to be created on a server that chooses ids.
        """
        kind = str(body["resourceType"])
        if self._capabilities.client_id:
            return {**body, "id": client_ref}
        if kind in _WITHOUT_IDENTIFIER:
            raise Misconfigured(
                "this type has no identifier: it cannot be created safely where the server chooses ids",
                code="at_least_once",
                where=kind,
            )
        ours = {"system": IDENTIFIER_SYSTEM, "value": client_ref}
        others = body.get("identifier")
        listed = others if isinstance(others, list) else [others] if isinstance(others, dict) else []
        return {**body, "identifier": [*(item for item in listed if item != ours), ours]}

    def _condition(self, client_ref: str) -> str | None:
        """The query that makes a create conditional, None where the server does not heed one."""
        if self._capabilities.client_id or not self._capabilities.conditional_create:
            return None
        return "identifier=" + quote(f"{IDENTIFIER_SYSTEM}|{client_ref}", safe=":|-")

    def _entry(self, step: Step, status: int, entry: Json) -> Reply:
        """The reply to one step, from its entry in the answer to a transaction."""
        response = entry["response"]
        shown = entry.get("resource") or response.get("outcome")
        headers = {
            name: value
            for name, value in (("Location", response.get("location")), ("ETag", response.get("etag")))
            if isinstance(value, str)
        }
        answer = Answer(status, headers, exact_json.dumps(shown).encode() if shown else b"", "")
        kind = str(step.body["resourceType"])
        chosen = step.ref or (f"{kind}/{step.client_ref}" if self._own_ids else None)
        purpose: Purpose = step.operation
        if step.ref is None and self._condition(step.client_ref):
            purpose = "conditional_create"
        reply = reply_to(answer, chosen, now=self._clock(), purpose=purpose, vendor=self._vendor)
        return reply if step.ref or self._own_ids else _created(reply, purpose, kind, step.client_ref)

    @property
    def _own_ids(self) -> bool:
        return self._capabilities.client_id

    def _call(
        self,
        method: Literal["GET", "PUT", "POST", "PATCH"],
        path: str,
        *,
        body: Json | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: list[tuple[str, str]] | None = None,
        purpose: Purpose = "read",
    ) -> Reply:
        if body is not None:
            data = exact_json.dumps(body).encode()
        writes = purpose not in READING
        sent = {**(headers or {}), **({"Prefer": "return=representation"} if writes else {})}
        try:
            answer = self._client.request(
                method,
                path,
                headers=sent,
                params=params,
                body=data,
                kind="read" if purpose in ("read", "search") else "write",
                max_bytes=_MOST_BYTES,
            )
        except RunnerError as error:
            return reply_to_failure(error)
        ref = path if method != "POST" else None
        return reply_to(answer, ref, now=self._clock(), purpose=purpose, vendor=self._vendor)


def _created(answer: Reply, purpose: Purpose, kind: str, client_ref: str) -> Reply:
    """The reply to a create where the server chooses the id."""
    if answer.outcome is not Outcome.LANDED:
        return answer
    if answer.ref is None:
        return _untold(answer, NO_ID)
    if answer.ref.partition("/")[0] != kind or not _may_be(answer.body, client_ref):
        return _untold(answer, OTHER_RECORD)
    if purpose == "conditional_create" and answer.status == 200:
        return replace(answer, outcome=Outcome.EXISTED, code="existed", cause="existed")
    return answer


def _dropped(shown: Json | None, sent: Json, client_ref: str) -> bool:
    """Whether a server shows what it was sent, and our identifier is not in it."""
    said = sent.keys() - {"resourceType", "id", "meta", "identifier"}
    return (
        shown is not None
        and not said.isdisjoint(shown)
        and client_ref not in searching.numbers(shown, IDENTIFIER_SYSTEM)
    )


def _may_be(body: Json | None, client_ref: str) -> bool:
    """Whether a resource can be the one of our identity: it shows no identifier of ours, or the right one."""
    ours = searching.numbers(body or {}, IDENTIFIER_SYSTEM)
    return not ours or client_ref in ours


def _absent(answer: Reply, *, others: bool = False) -> Reply:
    """The reply to a search that found nothing of what was asked for: proved only where it was the last page.

    ``others``: it listed what was not asked for; then ours may be among the rest, unless it says that there is none.
    """
    if searching.has_more(answer.body):
        return _untold(answer, "more_pages")
    if others and type((answer.body or {}).get("total")) is not int:
        return _untold(answer, "search_parameter_ignored")
    return Reply(Outcome.ABSENT, "no_match", answer.status, pace=answer.pace, cause="no_match")


def _untold(answer: Reply, cause: str) -> Reply:
    """The reply to a request whose answer leaves open what was asked."""
    return replace(answer, outcome=Outcome.UNKNOWN, code=cause, cause=cause, ref=None, etag=None, body=None)


def _shown(answer: Reply, resource: Json) -> Reply:
    """The reply to a search as one to a read of what it found."""
    ref = about(resource)
    if ref is None:
        return _untold(answer, NO_ID)
    return Reply(
        Outcome.LANDED, "", answer.status, ref, version_of({}, resource), resource, pace=answer.pace, cause=answer.cause
    )
