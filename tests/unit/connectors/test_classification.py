"""What each known answer means: one case for every rule of the tables, and whose word it is taken from."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from connector_runner.connectors.classification.classify import RULES, classify, rule_for
from connector_runner.connectors.classification.evidence import Purpose, evidence_of
from connector_runner.connectors.classification.rules import Rule
from connector_runner.connectors.sinks import Outcome
from connector_runner.infra.http import Answer

NOW = datetime(2026, 11, 21, 9, 30, 48, tzinfo=UTC)
EPIC = "urn:oid:1.2.840.114350.1.13.0.1.7.2.657369"


def outcome(
    *codes: str, severity: str = "error", vendor_code: int | None = None, system: str = EPIC, at: str = ""
) -> dict[str, Any]:
    """An OperationOutcome."""
    issues: list[dict[str, Any]] = [{"severity": severity, "code": code, "diagnostics": "Ada"} for code in codes]
    issues = issues or [{"severity": severity}]
    if vendor_code is not None:
        issues[0]["details"] = {"coding": [{"system": system, "code": str(vendor_code)}], "text": "Ada Okafor"}
    if at:
        issues[0]["expression"] = [at]
    return {"resourceType": "OperationOutcome", "issue": issues}


def epic(number: int, severity: str = "fatal") -> dict[str, Any]:
    return outcome("processing", severity=severity, vendor_code=number)


def sfdc(code: str) -> list[dict[str, Any]]:
    return [{"message": "Ada", "errorCode": code, "fields": []}]


def hubspot(**more: str) -> dict[str, Any]:
    return {"status": "error", "message": "Ada", "correlationId": "x", **more}


def found(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": item} for item in resources]}


HTML = b"<html><body>Ada</body></html>"
# (source, vendor, purpose, status, body, headers, outcome, cause); the source is that of the rule that must hold
CASES: list[tuple[str, str, Purpose, int, Any, dict[str, str], str, str]] = [
    # Epic: the codes of its specification pages, whatever the status and whoever it is said to be
    ("fhir.epic.com", "", "update", 403, epic(4130), {}, "forbidden", "break_the_glass"),
    ("fhir.epic.com", "", "read", 403, epic(4131), {}, "forbidden", "break_the_glass"),
    ("fhir.epic.com", "epic", "read", 200, epic(4134, "information"), {}, "forbidden", "break_the_glass"),
    ("fhir.epic.com", "epic", "read", 403, epic(4118), {}, "forbidden", "not_authorized_for_record"),
    ("fastenhealth/fasten-sources", "epic", "search", 400, epic(59022), {}, "forbidden", "sub_type_not_authorized"),
    ("fastenhealth/fasten-sources", "epic", "read", 403, epic(59203), {}, "forbidden", "sub_type_not_authorized"),
    ("fhir.epic.com", "epic", "create", 403, epic(4135), {}, "quota", "daily_documents"),
    ("fhir.epic.com", "epic", "read", 301, epic(4107), {"Location": "/Patient/2"}, "gone", "merged"),
    ("fhir.epic.com", "epic", "read", 404, epic(4103), {}, "gone", "deleted"),
    ("fhir.epic.com", "epic", "read", 400, epic(4102), {}, "absent", "invalid_id"),
    ("fhir.epic.com", "epic", "search", 200, found(epic(4127)), {}, "poison", "too_many_matches"),
    ("fhir.epic.com", "epic", "search", 400, epic(59133), {}, "poison", "too_many_matches"),
    ("fhir.epic.com", "epic", "search", 200, found(epic(4122, "warning")), {}, "unknown", "search_parameter_ignored"),
    ("fhir.epic.com", "epic", "search", 200, found(epic(59109, "information")), {}, "unknown",
     "search_parameter_ignored"),
    ("fhir.epic.com", "epic", "search", 404, epic(4113), {}, "unknown", "search_expired"),
    ("fhir.epic.com", "epic", "search", 400, epic(4111), {}, "poison", "search_refused"),
    ("fhir.epic.com", "epic", "create", 400, epic(59141), {}, "poison", "exists"),
    ("fhir.epic.com", "epic", "create", 400, epic(59133), {}, "poison", "too_few_elements"),
    ("fhir.epic.com", "epic", "create", 400, epic(59108), {}, "poison", "required_missing"),
    ("fhir.epic.com", "epic", "create", 400, epic(59109), {}, "poison", "value_invalid"),
    ("fhir.epic.com", "epic", "update", 400, epic(59111), {}, "poison", "value_invalid"),
    ("fhir.epic.com", "epic", "create", 400, epic(59105), {}, "poison", "syntax"),
    ("fhir.epic.com", "epic", "create", 422, epic(59102), {}, "poison", "content_invalid"),
    ("fhir.epic.com", "epic", "create", 404, epic(59144), {}, "poison", "reference_not_found"),
    ("fhir.epic.com", "epic", "create", 400, epic(59159), {}, "poison", "business_rule"),
    ("fhir.epic.com", "epic", "create", 500, epic(40000), {}, "poison", "not_mapped"),
    ("fhir.epic.com", "epic", "create", 400, epic(59188), {}, "poison", "no_flowsheet"),
    ("fhir.epic.com", "epic", "create", 400, epic(59189), {}, "poison", "not_filed"),
    ("fhir.epic.com", "epic", "create", 500, epic(59177), {}, "unknown", "internal_error"),
    ("section 15.3", "epic", "search", 200, found(epic(4101, "warning")), {}, "landed", "success"),
    ("section 15.3", "epic", "read", 200, {"resourceType": "Patient", "id": "1"}, {}, "landed", "success"),
    # Oracle Health
    ("docs.oracle.com", "oracle", "update", 409, outcome("conflict"), {}, "conflict", "stale_version"),
    ("cerner/fhir.cerner.com", "oracle", "update", 412, b"", {}, "conflict", "if_match_missing"),
    ("docs.oracle.com", "oracle", "create", 422, outcome("extension"), {}, "poison", "modifier_extension"),
    ("docs.oracle.com", "oracle", "create", 422, outcome("not-supported"), {}, "poison", "implicit_rules"),
    ("docs.oracle.com", "oracle", "update", 422, outcome("business-rule"), {}, "poison", "unsupported_fields"),
    ("docs.oracle.com", "oracle", "create", 403, b"", {}, "auth", "wrong_tenant"),
    ("docs.oracle.com", "oracle", "update", 403, outcome("forbidden", at="Patient"), {}, "forbidden",
     "record_forbidden"),
    ("docs.oracle.com", "oracle", "read", 406, b"", {}, "auth", "media_type"),
    ("docs.oracle.com", "oracle", "read", 500, outcome("required", severity="fatal"), {}, "poison",
     "record_incomplete"),
    ("docs.oracle.com", "oracle", "search", 400, outcome("required"), {}, "poison", "search_refused"),
    # eClinicalWorks: numbers in ``status``, whatever the HTTP status; a minute of the clock
    ("eClinicalWorks", "eclinicalworks", "create", 200, {"status": 202}, {}, "poison", "exists"),
    ("eClinicalWorks", "eclinicalworks", "create", 400, {"status": "202"}, {}, "poison", "exists"),
    ("eClinicalWorks", "eclinicalworks", "create", 200, {"status": 201}, {}, "duplicates", "multiple_matches"),
    ("eClinicalWorks", "eclinicalworks", "update", 200, {"status": 139}, {}, "forbidden", "record_locked"),
    ("eClinicalWorks", "eclinicalworks", "create", 200, {"status": 308}, {}, "auth", "writeback_user_missing"),
    ("eClinicalWorks", "eclinicalworks", "create", 200, {"status": 207}, {}, "poison", "reference_not_found"),
    ("eClinicalWorks", "eclinicalworks", "create", 200, {"status": 206}, {}, "poison", "references_disagree"),
    ("eClinicalWorks", "eclinicalworks", "update", 200, {"status": 615}, {}, "poison", "operation_not_offered"),
    ("eClinicalWorks", "eclinicalworks", "create", 200, {"status": 703}, {}, "unknown", "processing_failed"),
    ("eClinicalWorks", "eclinicalworks", "create", 200, {"status": 119}, {}, "poison", "content_invalid"),
    ("eClinicalWorks", "eclinicalworks", "create", 200, {"status": 1, "id": "7"}, {}, "landed", "success"),
    ("eClinicalWorks", "eclinicalworks", "create", 200, {"status": 998}, {}, "unknown", "unclassified"),
    ("healow", "eclinicalworks", "create", 429, b"", {}, "refused", "fixed_minute"),
    ("section 15.3", "hapi", "create", 200, {"status": 202, "id": "7"}, {}, "landed", "success"),
    # others that speak FHIR
    ("athenahealth", "athenahealth", "create", 404, b"Service not registered with API gateway.", {}, "auth",
     "gateway_route"),
    ("fasten-sources", "athenahealth", "search", 403, outcome("required"), {}, "poison", "search_refused"),
    ("fasten-sources", "nextgen", "read", 403, outcome(), {}, "forbidden", "record_forbidden"),
    ("hapi-fhir/issues/4597", "hapi", "create", 412, outcome("processing"), {}, "duplicates", "multiple_matches"),
    ("hapi-fhir/issues/6900", "hapi", "transaction", 409, outcome("processing"), {}, "conflict", "id_race"),
    ("fhir-server/pull/5582", "azure", "transaction", 408, outcome("invalid"), {}, "poison", "invalid_in_transaction"),
    ("section 15.5.9", "azure", "transaction", 408, outcome("timeout"), {}, "unknown", "request_timeout"),
    ("fhir-server/pull/5592", "azure", "transaction", 500, outcome("conflict"), {}, "conflict",
     "conflict_in_transaction"),
    ("sections 15 and 15.6", "azure", "transaction", 500, outcome("exception"), {}, "unknown", "server_error"),
    ("fhir-server/pull/1658", "azure", "transaction", 429, b"", {"x-ms-retry-after-ms": "250"}, "refused",
     "throttled_in_bundle"),
    ("fhir-server/pull/5589", "azure", "create", 424, b"", {}, "undone", "rolled_back"),
    ("healthcare-api/docs/reference", "google", "conditional_create", 412, outcome("multiple-matches"), {},
     "duplicates", "multiple_matches"),
    ("healthcare-api/docs/quotas", "google", "create", 429, {"error": {"status": "RESOURCE_EXHAUSTED"}}, {},
     "refused", "project_quota"),
    ("best-practices-latency", "google", "create", 400, outcome("invalid"), {}, "poison", "content_invalid"),
    # FHIR R4
    ("#operations", "", "check", 404, outcome("not-supported"), {}, "landed", "not_offered"),
    ("operation-validate", "", "check", 200, outcome("invariant"), {}, "poison", "not_valid"),
    ("operation-validate", "", "check", 422, outcome("invariant"), {}, "poison", "not_valid"),
    ("section 15.3", "", "check", 200, outcome("informational", severity="information"), {}, "landed", "success"),
    ("#throttled", "", "create", 400, outcome("throttled"), {}, "refused", "throttled"),
    ("#throttled", "", "create", 503, outcome("throttled"), {}, "refused", "throttled"),
    ("#suppressed", "", "update", 403, outcome("suppressed"), {}, "forbidden", "suppressed"),
    ("#forbidden", "", "update", 403, outcome("forbidden", at="Patient"), {}, "forbidden", "record_forbidden"),
    ("section 15.5.4", "", "update", 403, outcome("forbidden"), {}, "auth", "forbidden"),
    ("#expired", "", "update", 400, outcome("expired"), {}, "auth", "credential_expired"),
    ("#login", "", "update", 403, outcome("login"), {}, "auth", "login"),
    ("#ccreate", "", "conditional_create", 412, b"", {}, "duplicates", "multiple_matches"),
    ("#multiple-matches", "", "create", 400, outcome("multiple-matches"), {}, "duplicates", "multiple_matches"),
    ("#duplicate", "", "create", 409, outcome("duplicate"), {}, "poison", "exists"),
    ("#lock-error", "", "update", 500, outcome("lock-error"), {}, "conflict", "locked"),
    ("#conflict", "", "update", 400, outcome("conflict"), {}, "conflict", "edited"),
    ("#business-rule", "", "create", 409, outcome("business-rule"), {}, "poison", "business_rule"),
    ("15.5.10", "", "update", 409, outcome("business-rule"), {}, "conflict", "conflict"),
    ("#deleted", "", "read", 404, outcome("deleted"), {}, "gone", "deleted"),
    ("#patch", "", "update", 422, outcome("processing"), {}, "poison", "patch_failed"),
    ("http.html#create", "", "create", 400, outcome("structure"), {}, "poison", "not_parsable"),
    ("http.html#ops", "", "create", 200, outcome("exception"), {}, "unknown", "error_in_success"),
    ("search.html#errors", "", "search", 200, {"resourceType": "Bundle", "entry": [{"resource": outcome("timeout")}]},
     {}, "unknown", "error_in_success"),
    # HubSpot
    ("usage guidelines", "hubspot", "update", 429, hubspot(errorType="RATE_LIMIT", policyName="DAILY"), {}, "quota",
     "daily"),
    ("usage guidelines", "hubspot", "update", 429, hubspot(policyName="TEN_SECONDLY_ROLLING"), {}, "refused",
     "ten_seconds"),
    ("usage guidelines", "hubspot", "update", 429, hubspot(policyName="SECONDLY"), {}, "refused", "second"),
    ("error-handling", "", "update", 401, hubspot(category="INVALID_AUTHENTICATION"), {}, "auth", "credential"),
    ("error-handling", "hubspot", "update", 403, hubspot(), {}, "auth", "scope_missing"),
    ("error-handling", "", "create", 400, hubspot(category="PROPERTY_DOESNT_EXIST"), {}, "poison",
     "unknown_property"),
    ("error-handling", "", "create", 400, hubspot(category="VALIDATION_ERROR"), {}, "poison", "content_invalid"),
    ("error-handling", "hubspot", "create", 409, hubspot(category="CONFLICT"), {}, "poison", "exists"),
    ("error-handling", "hubspot", "update", 414, hubspot(), {}, "poison", "too_many_identities"),
    ("error-handling", "hubspot", "update", 423, hubspot(), {}, "refused", "account_locked"),
    ("error-handling", "hubspot", "update", 477, hubspot(), {"Retry-After": "7200"}, "refused", "account_migrating"),
    ("error-handling", "hubspot", "update", 524, HTML, {}, "unknown", "processing_limit"),
    ("error-handling", "hubspot", "update", 521, HTML, {}, "unknown", "origin_down"),
    # Salesforce
    ("salesforce.com", "", "update", 403, sfdc("REQUEST_LIMIT_EXCEEDED"), {}, "quota", "daily"),
    ("salesforce.com", "", "update", 401, sfdc("INVALID_SESSION_ID"), {}, "auth", "session_expired"),
    ("salesforce.com", "", "update", 403, sfdc("INSUFFICIENT_ACCESS"), {}, "forbidden", "record_forbidden"),
    ("salesforce.com", "", "update", 404, sfdc("ENTITY_IS_DELETED"), {}, "gone", "deleted"),
    ("salesforce.com", "", "read", 404, sfdc("NOT_FOUND"), {}, "absent", "not_found"),
    ("salesforce.com", "", "update", 400, sfdc("UNABLE_TO_LOCK_ROW"), {}, "conflict", "row_locked"),
    ("salesforce.com", "salesforce", "create", 300, ["/x/1", "/x/2"], {}, "duplicates", "multiple_matches"),
    ("salesforce.com", "", "create", 400, sfdc("DUPLICATES_DETECTED"), {}, "poison", "exists"),
    ("salesforce.com", "", "create", 400, sfdc("REQUIRED_FIELD_MISSING"), {}, "poison", "required_missing"),
    ("salesforce.com", "", "create", 400, sfdc("INVALID_FIELD"), {}, "poison", "unknown_property"),
    ("salesforce.com", "", "create", 400, sfdc("FIELD_CUSTOM_VALIDATION_EXCEPTION"), {}, "poison", "rules_violated"),
    ("salesforce.com", "", "create", 400, sfdc("JSON_PARSER_ERROR"), {}, "poison", "syntax"),
    ("salesforce.com", "", "create", 400, sfdc("UNSUPPORTED_API_VERSION"), {}, "auth", "api_version"),
    ("salesforce.com", "", "create", 405, sfdc("METHOD_NOT_ALLOWED"), {}, "auth", "method_not_allowed"),
    # HTTP itself
    ("RFC 6750", "", "create", 401, b"", {"WWW-Authenticate": 'Bearer error="invalid_token"'}, "auth",
     "credential_expired"),
    ("RFC 6750", "", "create", 403, b"", {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}, "auth",
     "scope_missing"),
    ("section 15.5.2", "", "create", 401, HTML, {}, "auth", "credential"),
    ("section 15.5.8", "", "create", 407, HTML, {}, "auth", "credential"),
    ("RFC 7725", "", "update", 451, b"", {}, "forbidden", "legal_reasons"),
    ("RFC 6585, section 4", "", "create", 429, b"", {}, "refused", "too_many_requests"),
    ("RFC 8470", "", "create", 425, b"", {}, "refused", "too_early"),
    ("section 15.6.4", "", "create", 503, HTML, {"Retry-After": "5"}, "refused", "unavailable"),
    ("section 15.6.4", "", "read", 503, HTML, {}, "refused", "unavailable"),
    ("section 15.6.4", "", "create", 503, HTML, {}, "unknown", "unavailable_after_write"),
    ("RFC 6585, section 6", "", "create", 511, HTML, {}, "not_sent", "captive_portal"),
    ("the list itself", "", "search", 404, b"", {}, "auth", "search_not_offered"),
    ("section 15.5.5", "", "update", 404, b"", {}, "absent", "not_found"),
    ("section 15.5.5", "", "create", 404, b"", {}, "auth", "no_such_place"),
    ("section 15.5.5", "", "create", 404, HTML, {}, "auth", "no_such_place"),
    ("section 15.5.5", "", "update", 404, HTML, {}, "auth", "no_such_place"),
    ("section 15.5.5", "", "read", 404, HTML, {}, "auth", "no_such_place"),
    ("section 15.5.5", "", "create", 404, b"404 page not found", {}, "auth", "no_such_place"),
    ("section 15.5.5", "", "conditional_create", 404, b"", {}, "auth", "no_such_place"),
    ("section 15.5.5", "", "create", 404, b'{"detail":"Not Found"}', {}, "auth", "no_such_place"),
    ("section 15.5.5", "", "create", 404, b'{"message":"no Route matched with those values"}', {}, "auth",
     "no_such_place"),
    ("section 15.5.5", "", "create", 404, b'{"status":404,"error":"Not Found","path":"/x"}', {}, "auth",
     "no_such_place"),
    ("section 15.5.5", "", "create", 404, b'{"error": {"code": "NO_CONTACT"}}', {}, "poison", "not_found"),
    ("section 15.5.11", "", "update", 410, b"", {}, "gone", "gone"),
    ("section 15.5.10", "", "update", 409, b"", {}, "conflict", "conflict"),
    ("section 15.5.13", "", "update", 412, b"", {}, "conflict", "precondition_failed"),
    ("RFC 6585, section 3", "", "update", 428, b"", {}, "conflict", "precondition_required"),
    ("RFC 4918", "", "update", 423, b"", {}, "conflict", "locked"),
    ("section 15.5.6", "", "update", 405, b"", {}, "auth", "method_not_allowed"),
    ("sections 15.5.7", "", "update", 415, b"", {}, "auth", "media_type"),
    ("section 15.5.9", "", "update", 408, b"", {}, "unknown", "request_timeout"),
    ("section 5", "", "update", 413, b"", {}, "poison", "too_large"),
    ("section 15.5.21", "", "update", 422, b"", {}, "poison", "not_processable"),
    ("sections 15.6.3", "", "create", 504, HTML, {}, "unknown", "gateway"),
    ("section 15.4", "", "create", 307, b"", {"Location": "http://10.0.0.1/"}, "auth", "redirect"),
    ("sections 15 and 15.5", "", "create", 418, b"", {}, "poison", "bad_request"),
    ("sections 15 and 15.6", "", "create", 599, b"", {}, "unknown", "server_error"),
    ("a page is not", "", "create", 200, HTML, {}, "unknown", "html"),
    ("not JSON", "", "create", 200, b"OK", {}, "unknown", "no_json"),
    ("section 15.3.1", "", "read", 200, b"", {}, "unknown", "empty"),
    ("no rule holds", "", "create", 199, b"", {}, "unknown", "unclassified"),
]  # fmt: skip


def answer_of(status: int, body: Any, headers: dict[str, str]) -> Answer:
    return Answer(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode(), "http://x/")


def test_the_table_is_as_long_as_it_should_be() -> None:
    assert len(CASES) >= 60
    assert len(RULES) >= 60


@pytest.mark.parametrize(("source", "vendor", "purpose", "status", "body", "headers", "outcome_", "cause"), CASES)
def test_an_answer_is_what_its_source_says(
    source: str,
    vendor: str,
    purpose: Purpose,
    status: int,
    body: Any,
    headers: dict[str, str],
    outcome_: str,
    cause: str,
) -> None:
    classified = classify(answer_of(status, body, headers), purpose, vendor, NOW)
    assert (str(classified.reply.outcome), classified.reply.cause) == (outcome_, cause)
    assert source in classified.rule.source
    assert "Ada" not in classified.reply.code + classified.reply.where


def test_every_rule_has_a_case_and_a_source() -> None:
    used: set[Rule] = set()
    for _, vendor, purpose, status, body, headers, *_ in CASES:
        used.add(rule_for(evidence_of(answer_of(status, body, headers), purpose, vendor)))
    assert [rule.cause for rule in RULES if rule not in used] == []
    assert all(rule.source for rule in RULES)


@pytest.mark.parametrize("status", range(500, 600))
@pytest.mark.parametrize("purpose", ["create", "conditional_create", "update", "transaction"])
def test_a_server_error_after_a_write_says_nothing_about_the_write(status: int, purpose: Purpose) -> None:
    classified = classify(answer_of(status, outcome("exception"), {}), purpose, "", NOW)
    # 511 is not of the server at all: a portal stands between.
    assert classified.reply.outcome is (Outcome.NOT_SENT if status == 511 else Outcome.UNKNOWN)


def test_the_answer_of_one_vendor_is_not_that_of_another() -> None:
    number = outcome("processing", vendor_code=4130, system="urn:local")
    assert classify(answer_of(403, number, {}), "update", "", NOW).reply.outcome is Outcome.AUTH
    assert classify(answer_of(403, number, {}), "update", "epic", NOW).reply.outcome is Outcome.FORBIDDEN


def test_what_is_waited_for() -> None:
    def wait(vendor: str, status: int, body: Any, headers: dict[str, str]) -> float | None:
        return classify(answer_of(status, body, headers), "create", vendor, NOW).reply.retry_after_s

    assert wait("eclinicalworks", 429, b"", {}) == 12.0
    assert wait("eclinicalworks", 429, b"", {"Retry-After": "3"}) == 3.0
    assert wait("hubspot", 423, hubspot(), {}) == 2.0
    assert wait("hubspot", 477, hubspot(), {"Retry-After": "7200"}) == 7200.0
    assert wait("azure", 429, b"", {"x-ms-retry-after-ms": "250"}) == 0.25
    assert wait("", 429, b"", {}) is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (outcome("throttled"), "http_400_throttled"),
        (epic(59141), "http_400_59141"),
        (sfdc("DUPLICATE_VALUE"), "http_400_DUPLICATE_VALUE"),
        (sfdc("OKAFOR"), "http_400"),
        (outcome("Ada Okafor"), "http_400"),
        (outcome(vendor_code=123456, system="urn:mrn"), "http_400"),
        ({"error": {"status": "OKAFOR"}}, "http_400"),
        (b"\xff\xfe", "http_400"),
        (b"[" * 100_000, "http_400"),
        ({"issue": {"code": "throttled"}}, "http_400"),
        ({"resourceType": "OperationOutcome", "issue": [None, 3, {"details": "x"}]}, "http_400"),
    ],
)
def test_only_codes_that_a_rule_knows_are_repeated(body: Any, code: str) -> None:
    assert classify(answer_of(400, body, {}), "create", "", NOW).reply.code == code


@pytest.mark.parametrize(
    ("expression", "where"),
    [
        ("Bundle.entry[2].resource.ofType(Patient).name", "Bundle.entry[2].resource"),
        ("Bundle.entry[2]", "Bundle.entry[2]"),
        ("Patient.name[0].family", "Patient.name[0].family"),
        ("Patient.telecom.where(value='617').use", "Patient.telecom"),
        ("Ada Okafor", ""),
        ("/f:Patient/f:birthDate", "Patient.birthDate"),
    ],
)
def test_a_place_is_a_path_and_quotes_nothing(expression: str, where: str) -> None:
    body = outcome("value", at=expression)
    assert classify(answer_of(422, body, {}), "create", "", NOW).reply.where == where


@pytest.mark.parametrize(("wait", "cause"), [("30", "unavailable"), ("soon", "unavailable_after_write")])
def test_a_wait_that_says_nothing_does_not_say_that_nothing_was_done(wait: str, cause: str) -> None:
    found = classify(answer_of(503, "", {"Retry-After": wait}), "update", "", NOW)
    assert found.reply.cause == cause
