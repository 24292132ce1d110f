"""What the answers of EHR vendors and of FHIR servers mean where they differ from the standard."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.classification.evidence import ECW_STATUS, ERROR_SEVERITY
from connector_runner.connectors.classification.rules import (
    CREATING,
    NEXT_MINUTE,
    UNCLASSIFIED,
    WRITING,
    Rule,
    rule,
)
from connector_runner.connectors.sinks import Outcome

_EPIC: Final = (
    "fhir.epic.com/Specifications, error codes (api-evangelist/epic-systems, errors/epic-systems-error-codes)"
)
_ORACLE: Final = "docs.oracle.com, Millennium FHIR R4 overview (api-evangelist/cerner, errors/cerner-problem-types)"
_ORACLE_UPDATE: Final = "github cerner/fhir.cerner.com, millennium/r4: updates need If-Match"
_ECW: Final = "eClinicalWorks Error Code Reference Guide 1.0 (api-evangelist/eclinicalworks, errors)"
_ECW_RATE: Final = "healow FHIR Rate Limiting (api-evangelist/eclinicalworks, rate-limits)"
_ATHENA: Final = "athenahealth gateway (api-evangelist/athenahealth, errors/athenahealth-problem-types)"
_RECORDED: Final = "answers of vendor sandboxes recorded in fastenhealth/fasten-sources"
_HAPI: Final = "github hapifhir/hapi-fhir"
_AZURE: Final = "github microsoft/fhir-server"
_GOOGLE: Final = "cloud.google.com/healthcare-api/docs"


def _epic(*numbers: int) -> str:
    return " ".join(f"epic:{number}" for number in numbers)


def _ecw(*numbers: int) -> str:
    return " ".join(f"eclinicalworks:{number}" for number in numbers)


EPIC: Final[tuple[Rule, ...]] = (
    rule(Outcome.FORBIDDEN, "break_the_glass", _EPIC, codes=_epic(4130, 4131, 4134)),
    rule(Outcome.FORBIDDEN, "not_authorized_for_record", _EPIC, (3, 4, 5), _epic(4118)),
    rule(Outcome.FORBIDDEN, "sub_type_not_authorized", _RECORDED, (400, 403), _epic(59022, 59203)),
    rule(Outcome.QUOTA, "daily_documents", _EPIC, codes=_epic(4135)),
    rule(Outcome.GONE, "merged", _EPIC, (3, 4, 5), _epic(4107), to="read"),
    rule(Outcome.GONE, "deleted", _EPIC, (3, 4, 5), _epic(4103)),
    rule(Outcome.ABSENT, "invalid_id", _EPIC, (4, 5), _epic(4102), to="read"),
    rule(Outcome.POISON, "too_many_matches", _EPIC, codes=_epic(4127, 59133), to="search"),
    rule(Outcome.UNKNOWN, "search_parameter_ignored", _EPIC, codes=_epic(4122, 59100, 59109), to="search"),
    rule(Outcome.UNKNOWN, "search_expired", _EPIC, (4, 5), _epic(4113), to="search"),
    rule(Outcome.POISON, "search_refused", _EPIC, (4, 5), _epic(4100, 4110, 4111, 4112, 4115), to="search"),
    rule(Outcome.POISON, "exists", _EPIC, (4, 5), _epic(59141), to=CREATING),
    rule(Outcome.POISON, "too_few_elements", _EPIC, (4, 5), _epic(59133), to=WRITING),
    rule(Outcome.POISON, "required_missing", _EPIC, (4, 5), _epic(59108)),
    rule(Outcome.POISON, "value_invalid", _EPIC, (4, 5), _epic(59109, 59111)),
    rule(Outcome.POISON, "syntax", _EPIC, (4, 5), _epic(59105)),
    rule(Outcome.POISON, "content_invalid", _EPIC, (4, 5), _epic(59101, 59102)),
    rule(Outcome.POISON, "reference_not_found", _EPIC, (4, 5), _epic(59144)),
    rule(Outcome.POISON, "business_rule", _EPIC, (4, 5), _epic(59159)),
    rule(Outcome.POISON, "not_mapped", _EPIC, (4, 5), _epic(40000)),
    rule(Outcome.POISON, "no_flowsheet", _EPIC, (4, 5), _epic(59187, 59188)),
    rule(Outcome.POISON, "not_filed", _EPIC, (4, 5), _epic(59189)),
    rule(Outcome.UNKNOWN, "internal_error", _EPIC, (4, 5), _epic(59177)),
)

ORACLE: Final[tuple[Rule, ...]] = (
    rule(Outcome.CONFLICT, "stale_version", _ORACLE, 409, vendor="oracle", to="update"),
    rule(Outcome.CONFLICT, "if_match_missing", _ORACLE_UPDATE, 412, vendor="oracle", to="update"),
    rule(Outcome.POISON, "modifier_extension", _ORACLE, 422, "extension", "oracle", WRITING),
    rule(Outcome.POISON, "implicit_rules", _ORACLE, 422, "not-supported", "oracle", WRITING),
    rule(Outcome.POISON, "unsupported_fields", _ORACLE, 422, "business-rule", "oracle", WRITING),
    rule(Outcome.FORBIDDEN, "record_forbidden", _ORACLE, 403, "forbidden suppressed", "oracle", placed=True),
    rule(Outcome.AUTH, "wrong_tenant", _ORACLE, 403, vendor="oracle"),
    rule(Outcome.AUTH, "media_type", _ORACLE, 406, vendor="oracle", shape="empty"),
    rule(Outcome.POISON, "record_incomplete", _ORACLE, 500, "required", "oracle", ("read", "search")),
    rule(Outcome.POISON, "search_refused", _ORACLE, 400, vendor="oracle", to="search"),
)

ECLINICALWORKS: Final[tuple[Rule, ...]] = (
    rule(Outcome.POISON, "exists", _ECW, codes=_ecw(202), to=WRITING),
    rule(Outcome.DUPLICATES, "multiple_matches", _ECW, codes=_ecw(201)),
    rule(Outcome.FORBIDDEN, "record_locked", _ECW, codes=_ecw(139)),
    rule(Outcome.AUTH, "writeback_user_missing", _ECW, codes=_ecw(308)),
    rule(Outcome.POISON, "reference_not_found", _ECW, codes=_ecw(100, 101, 107, 123, 133, 205, 207, 208)),
    rule(Outcome.POISON, "references_disagree", _ECW, codes=_ecw(134, 164, 206, 608, 618)),
    rule(Outcome.POISON, "operation_not_offered", _ECW, codes=_ecw(137, 615)),
    rule(
        Outcome.UNKNOWN, "processing_failed", _ECW,
        codes=_ecw(103, 104, 112, 115, 136, 166, 167, 168, 306, 602, 604, 610, 703, 2025), to=WRITING,
    ),
    rule(
        Outcome.POISON, "content_invalid", _ECW, codes=_ecw(
            2, 102, 105, 106, 108, 109, 110, 111, 113, 114, 116, 117, 118, 119, 120, 121, 122, 124, 132, 135, 138, 141,
            142, 143, 151, 152, 161, 165, 203, 204, 301, 302, 303, 304, 305, 307, 600, 601, 603, 605, 606, 607, 609,
            611, 612, 613, 614, 616, 617, 619, 620, 621, 701, 702, 2024, 2026, 2027,
        ),
    ),
    rule(Outcome.LANDED, "success", _ECW, 2, _ecw(1)),
    rule(Outcome.UNKNOWN, UNCLASSIFIED, _ECW, 2, ECW_STATUS),
    rule(Outcome.REFUSED, "fixed_minute", _ECW_RATE, 429, vendor="eclinicalworks", wait=NEXT_MINUTE),
)  # fmt: skip

OTHERS: Final[tuple[Rule, ...]] = (
    rule(Outcome.AUTH, "gateway_route", _ATHENA, 404, vendor="athenahealth", shape="text"),
    rule(Outcome.POISON, "search_refused", _RECORDED, 403, vendor="athenahealth", to="search"),
    rule(Outcome.FORBIDDEN, "record_forbidden", _RECORDED, 403, vendor="nextgen", to=("read", "search")),
    rule(Outcome.DUPLICATES, "multiple_matches", f"{_HAPI}/issues/4597", 412, vendor="hapi", to=CREATING),
    rule(Outcome.CONFLICT, "id_race", f"{_HAPI}/issues/6900", 409, "processing", "hapi", WRITING),
    rule(
        Outcome.POISON, "invalid_in_transaction", f"{_AZURE}/pull/5582", 408,
        "invalid structure required value invariant code-invalid business-rule", "azure", "transaction",
    ),
    rule(Outcome.CONFLICT, "conflict_in_transaction", f"{_AZURE}/pull/5592", 500, "conflict", "azure", WRITING),
    rule(Outcome.REFUSED, "throttled_in_bundle", f"{_AZURE}/pull/1658", 429, vendor="azure", to="transaction"),
    rule(Outcome.UNDONE, "rolled_back", f"{_AZURE}/pull/5589", 424, vendor="azure", to=WRITING),
    rule(Outcome.DUPLICATES, "multiple_matches", f"{_GOOGLE}/reference/rest/v1/projects.locations.datasets."
         "fhirStores.fhir/conditionalUpdate", 412, vendor="google", to="conditional_create"),
    rule(Outcome.REFUSED, "project_quota", f"{_GOOGLE}/quotas", 429, vendor="google"),
    rule(Outcome.POISON, "content_invalid", f"{_GOOGLE}/best-practices-latency-error-handling", 400, vendor="google",
         to=WRITING),
)  # fmt: skip

EHR_RULES: Final = (*EPIC, *ORACLE, *ECLINICALWORKS, *OTHERS)

_R4: Final = "hl7.org/fhir/R4"
_VALIDATE: Final = f"{_R4}/resource-operation-validate.html"

FHIR_RULES: Final[tuple[Rule, ...]] = (
    rule(Outcome.LANDED, "not_offered", f"{_R4}/http.html#operations", (404, 405, 501), to="check"),
    rule(Outcome.POISON, "not_valid", _VALIDATE, 2, ERROR_SEVERITY, to="check"),
    rule(Outcome.POISON, "not_valid", _VALIDATE, (400, 412, 422), to="check"),
    rule(Outcome.REFUSED, "throttled", f"{_R4}/valueset-issue-type.html#throttled", (4, 5), "throttled"),
    rule(Outcome.FORBIDDEN, "suppressed", f"{_R4}/valueset-issue-type.html#suppressed", (401, 403, 404), "suppressed"),
    rule(Outcome.FORBIDDEN, "record_forbidden", f"{_R4}/valueset-issue-type.html#forbidden", 403, "forbidden",
         placed=True),
    rule(Outcome.AUTH, "credential_expired", f"{_R4}/valueset-issue-type.html#expired", (400, 401, 403), "expired"),
    rule(Outcome.AUTH, "login", f"{_R4}/valueset-issue-type.html#login", (400, 401, 403), "login"),
    rule(Outcome.DUPLICATES, "multiple_matches", f"{_R4}/http.html#ccreate", 412, to="conditional_create"),
    rule(Outcome.DUPLICATES, "multiple_matches", f"{_R4}/valueset-issue-type.html#multiple-matches", 4,
         "multiple-matches", to=WRITING),
    rule(Outcome.POISON, "exists", f"{_R4}/valueset-issue-type.html#duplicate", (400, 409, 422), "duplicate",
         to=CREATING),
    # What is to be created is no one's older version: a slot that is taken stays taken.
    rule(Outcome.POISON, "business_rule", f"{_R4}/valueset-issue-type.html#business-rule", 409, "business-rule",
         to=CREATING),
    rule(Outcome.CONFLICT, "locked", f"{_R4}/valueset-issue-type.html#lock-error", (4, 5), "lock-error", to=WRITING),
    rule(Outcome.CONFLICT, "edited", f"{_R4}/valueset-issue-type.html#conflict", (400, 409, 412), "conflict",
         to=WRITING),
    rule(Outcome.GONE, "deleted", f"{_R4}/valueset-issue-type.html#deleted", (404, 410), "deleted"),
    rule(Outcome.POISON, "patch_failed", f"{_R4}/http.html#patch", 422, "processing", to="update"),
    rule(Outcome.POISON, "not_parsable", f"{_R4}/http.html#create", 400, "structure", to=WRITING),
    rule(Outcome.UNKNOWN, "error_in_success", f"{_R4}/search.html#errors", 2, ERROR_SEVERITY, to="search"),
    rule(Outcome.UNKNOWN, "error_in_success", f"{_R4}/http.html#ops", 2, ERROR_SEVERITY, to=(*WRITING, "read")),
)  # fmt: skip
