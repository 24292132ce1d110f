"""What the answers of CRM vendors mean where they differ from plain HTTP."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.classification.rules import CREATING, WRITING, Rule, rule
from connector_runner.connectors.sinks import Outcome

_HUBSPOT: Final = "developers.hubspot.com/docs/api-reference/error-handling"
_HUBSPOT_RATE: Final = "developers.hubspot.com, usage guidelines; HGData/mk-node-hubspot#89"
_SALESFORCE: Final = "developer.salesforce.com, REST API, status codes and error responses (errorcodes)"


def _hubspot(*words: str) -> str:
    return " ".join(f"hubspot:{word}" for word in words)


def _salesforce(*words: str) -> str:
    return " ".join(f"salesforce:{word}" for word in words)


HUBSPOT: Final[tuple[Rule, ...]] = (
    rule(Outcome.QUOTA, "daily", _HUBSPOT_RATE, 429, _hubspot("DAILY")),
    rule(Outcome.REFUSED, "ten_seconds", _HUBSPOT_RATE, 429, _hubspot("TEN_SECONDLY_ROLLING"), wait=10.0),
    rule(Outcome.REFUSED, "second", _HUBSPOT_RATE, 429, _hubspot("SECONDLY"), wait=1.0),
    rule(Outcome.AUTH, "credential", _HUBSPOT, 401, _hubspot("INVALID_AUTHENTICATION")),
    rule(Outcome.AUTH, "scope_missing", _HUBSPOT, 403, vendor="hubspot"),
    rule(Outcome.POISON, "unknown_property", _HUBSPOT, 400, _hubspot("PROPERTY_DOESNT_EXIST")),
    rule(Outcome.POISON, "content_invalid", _HUBSPOT, 400, _hubspot("VALIDATION_ERROR")),
    rule(Outcome.POISON, "exists", _HUBSPOT, 409, vendor="hubspot", to=CREATING),
    rule(Outcome.POISON, "too_many_identities", _HUBSPOT, 414, vendor="hubspot", to=WRITING),
    rule(Outcome.REFUSED, "account_locked", _HUBSPOT, 423, vendor="hubspot", wait=2.0),
    rule(Outcome.REFUSED, "account_migrating", _HUBSPOT, 477, vendor="hubspot", wait=60.0),
    rule(Outcome.UNKNOWN, "processing_limit", _HUBSPOT, (502, 504, 524), vendor="hubspot", to=WRITING),
    rule(Outcome.UNKNOWN, "origin_down", _HUBSPOT, (521, 522, 523), vendor="hubspot"),
)

SALESFORCE: Final[tuple[Rule, ...]] = (
    rule(Outcome.QUOTA, "daily", _SALESFORCE, 403, _salesforce("REQUEST_LIMIT_EXCEEDED")),
    rule(Outcome.AUTH, "session_expired", _SALESFORCE, 401, _salesforce("INVALID_SESSION_ID")),
    rule(Outcome.FORBIDDEN, "record_forbidden", _SALESFORCE, (400, 403), _salesforce("INSUFFICIENT_ACCESS")),
    rule(Outcome.GONE, "deleted", _SALESFORCE, (400, 404), _salesforce("ENTITY_IS_DELETED")),
    rule(Outcome.ABSENT, "not_found", _SALESFORCE, 404, _salesforce("NOT_FOUND")),
    rule(Outcome.CONFLICT, "row_locked", _SALESFORCE, 400, _salesforce("UNABLE_TO_LOCK_ROW")),
    rule(Outcome.DUPLICATES, "multiple_matches", _SALESFORCE, 300, vendor="salesforce"),
    rule(Outcome.POISON, "exists", _SALESFORCE, 400, _salesforce("DUPLICATE_VALUE", "DUPLICATES_DETECTED"), to=WRITING),
    rule(Outcome.POISON, "required_missing", _SALESFORCE, 400, _salesforce("REQUIRED_FIELD_MISSING")),
    rule(Outcome.POISON, "unknown_property", _SALESFORCE, 400, _salesforce("INVALID_FIELD", "INVALID_TYPE")),
    rule(Outcome.POISON, "rules_violated", _SALESFORCE, 400, _salesforce(
        "FIELD_CUSTOM_VALIDATION_EXCEPTION", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY")),
    rule(Outcome.POISON, "syntax", _SALESFORCE, 400, _salesforce("JSON_PARSER_ERROR", "MALFORMED_QUERY")),
    rule(Outcome.AUTH, "api_version", _SALESFORCE, 400, _salesforce("UNSUPPORTED_API_VERSION")),
    rule(Outcome.AUTH, "method_not_allowed", _SALESFORCE, 405, _salesforce("METHOD_NOT_ALLOWED")),
)  # fmt: skip

CRM_RULES: Final = (*HUBSPOT, *SALESFORCE)
