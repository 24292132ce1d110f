"""Whatever JSON and whatever headers come back, a sink's answer is classified and no exception leaves the adapter."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from connector_runner.connectors.base import Opening
from connector_runner.connectors.classification.classify import classify
from connector_runner.connectors.fhir.sink import FHIRSink
from connector_runner.connectors.rest.settings import RestSettings
from connector_runner.connectors.rest.sink import RestSink
from connector_runner.connectors.sinks import Capabilities, Reply, Step
from connector_runner.infra.http import Answer

NOW = datetime(2026, 3, 4, tzinfo=UTC)
WORDS = [
    "resourceType", "id", "issue", "code", "severity", "details", "coding", "system", "expression", "location",
    "entry", "resource", "search", "mode", "response", "status", "etag", "outcome", "meta", "versionId", "link",
    "relation", "identifier", "value", "name", "family", "given", "birthDate", "error", "field", "errors", "category",
    "correlationId", "errorCode", "results", "externalId", "Bundle", "OperationOutcome", "Patient", "conflict", "409",
    "4130", "next", "match", "fatal", "urn:connector-runner:entity", "ours", "updatedAt",
]  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES | st.sampled_from(WORDS) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=25,
)
TYPED = st.fixed_dictionaries(
    {"resourceType": st.sampled_from(["OperationOutcome", "Bundle", "Patient"])},
    optional={
        "id": st.just("ours") | VALUES,
        "meta": VALUES,
        "link": VALUES,
        "issue": VALUES | st.lists(st.fixed_dictionaries({"code": VALUES, "severity": VALUES, "details": VALUES})),
        "entry": VALUES
        | st.lists(
            st.fixed_dictionaries({"resource": VALUES, "response": VALUES | st.fixed_dictionaries({"status": VALUES})}),
            max_size=2,
        ),
    },
)
DATES = [
    "Mon, 01 Jan 2020 00:00:00 +9999999999999999999",
    "Fri, 31 Dec 9999 23:59:59 -2300",
    "01 Jan 99999999999999999999 00:00:00 GMT",
    "1e999",
]
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "x-ms-retry-after-ms", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Reset",
                     "ETag", "Location", "WWW-Authenticate", "Sforce-Limit-Info"]),
    st.sampled_from(DATES) | st.text(st.characters(max_codepoint=255), max_size=40) | st.integers().map(str),
    max_size=4,
)  # fmt: skip
STATUSES = st.sampled_from([200, 201, 204, 302, 400, 401, 403, 404, 409, 412, 422, 429, 500, 503, 103, 999])
BODY = {"resourceType": "Patient", "name": [{"family": "Okafor"}], "birthDate": "1982-03-04", "externalId": "ours"}
REST = RestSettings.model_validate(
    {
        "base_url": "https://crm.example/api",
        "mapping": "crm",
        "records": {
            "Patient": {
                "path": "contacts",
                "create": "idempotent_post",
                "external_id_field": "externalId",
                "search_param": "externalId",
                "list_field": "results",
                "version": "field",
                "version_field": "meta.versionId",
                "updated_field": "updatedAt",
                "known_by": {"born": "birthDate"},
            }
        },
        "errors": {"code": "error.code", "field": "error.field", "outcomes": {"conflict": "conflict"}},
        "sink": {"entity_types": ["patient"]},
    }
)


class Says:
    """In the place of both the FHIR client and HTTP: one answer to everything."""

    def __init__(self, answer: Answer) -> None:
        self.request = lambda *args, **kwargs: answer


def an_answer(status: int, headers: dict[str, str], document: Any) -> Answer:
    return Answer(status, CaseInsensitiveDict(headers), json.dumps(document).encode(), "https://sink.example/")


@given(STATUSES, HEADERS, TYPED | VALUES, st.booleans(), st.sampled_from(["", "epic", "eclinicalworks", "azure"]))
def test_a_fhir_sink_makes_a_reply_of_any_answer(
    status: int, headers: dict[str, str], document: Any, own_ids: bool, vendor: str
) -> None:
    able = Capabilities(client_id=own_ids, validate=True, transaction=True)
    sink = FHIRSink(Says(an_answer(status, headers, document)), able, vendor=vendor, clock=lambda: NOW)
    steps = [Step("create", None, BODY, None, "ours"), Step("update", "Patient/7", BODY, None, "other")]
    replies = [
        sink.read("Patient/ours"),
        sink.find("Patient", "ours"),
        sink.candidates(BODY).reply,
        sink.check(BODY, None),
        sink.create(BODY, "ours"),
        sink.update("Patient/ours", BODY, 'W/"1"'),
        *sink.transact(steps),
    ]
    assert all(isinstance(reply, Reply) for reply in replies)


@given(STATUSES, HEADERS, TYPED | VALUES)
def test_a_rest_sink_makes_a_reply_of_any_answer(status: int, headers: dict[str, str], document: Any) -> None:
    http: Any = Says(an_answer(status, headers, document))
    sink = RestSink(Opening(http, str), REST, clock=lambda: NOW)
    replies = [
        sink.read("Patient/ours"),
        sink.find("Patient", "ours"),
        sink.candidates(BODY).reply,
        sink.create(BODY, "ours"),
        sink.update("Patient/ours", BODY, "1"),
    ]
    assert all(isinstance(reply, Reply) for reply in replies)


@pytest.mark.parametrize("text", DATES)
def test_a_date_that_no_calendar_holds_asks_for_no_wait(text: str) -> None:
    reply = classify(an_answer(429, {"Retry-After": text}, {}), "update", "", NOW).reply
    assert (reply.cause, reply.retry_after_s) == ("too_many_requests", None)


@pytest.mark.parametrize("issue", [{"code": ["conflict"]}, {"code": {"a": 1}}, {"severity": ["fatal"], "code": {}}])
def test_an_issue_whose_code_is_no_text_has_none(issue: dict[str, Any]) -> None:
    found = classify(an_answer(409, {}, {"resourceType": "OperationOutcome", "issue": [issue]}), "update", "", NOW)
    assert (found.evidence.codes, found.reply.cause) == ((), "conflict")
