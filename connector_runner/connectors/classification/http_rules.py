"""What statuses mean by HTTP itself, for whatever no vendor and no standard above it says more about."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.classification.evidence import NO_ROUTE
from connector_runner.connectors.classification.rules import CREATING, READING, WRITING, Rule, rule
from connector_runner.connectors.sinks import Outcome

_9110: Final = "RFC 9110"

HTTP_RULES: Final[tuple[Rule, ...]] = (
    rule(Outcome.AUTH, "credential_expired", "RFC 6750, section 3.1", 401, "oauth:invalid_token"),
    rule(Outcome.AUTH, "scope_missing", "RFC 6750, section 3.1", 403, "oauth:insufficient_scope"),
    rule(Outcome.AUTH, "credential", f"{_9110}, section 15.5.2", 401),
    rule(Outcome.AUTH, "forbidden", f"{_9110}, section 15.5.4", 403),
    rule(Outcome.AUTH, "credential", f"{_9110}, section 15.5.8", 407),
    rule(Outcome.FORBIDDEN, "legal_reasons", "RFC 7725, section 3", 451),
    rule(Outcome.REFUSED, "too_many_requests", "RFC 6585, section 4", 429),
    rule(Outcome.REFUSED, "too_early", "RFC 8470, section 5.2", 425),
    rule(Outcome.REFUSED, "unavailable", f"{_9110}, section 15.6.4", 503, retry_after=True),
    rule(Outcome.REFUSED, "unavailable", f"{_9110}, section 15.6.4", 503, to=READING),
    rule(Outcome.NOT_SENT, "captive_portal", "RFC 6585, section 6", 511),
    rule(
        Outcome.AUTH, "search_not_offered", f"{_9110}, section 15.5.5: the list itself is not there", 404, to="search"
    ),
    # A page is no API's answer: something stands in its place, and nothing is said of the record.
    rule(Outcome.AUTH, "no_such_place", f"{_9110}, section 15.5.5", 404, shape="markup"),
    rule(Outcome.ABSENT, "not_found", f"{_9110}, section 15.5.5", 404, to=(*READING, "update", "transaction")),
    # What is to be created cannot be missing. A router that knows no such place answers without a word of the API; the
    # API's own JSON may mean what the record refers to.
    rule(Outcome.AUTH, "no_such_place", f"{_9110}, section 15.5.5", 404, NO_ROUTE, to=CREATING),
    rule(Outcome.AUTH, "no_such_place", f"{_9110}, section 15.5.5", 404, to=CREATING, shape="empty"),
    rule(Outcome.AUTH, "no_such_place", f"{_9110}, section 15.5.5", 404, to=CREATING, shape="text"),
    rule(Outcome.POISON, "not_found", f"{_9110}, section 15.5.5", 404, to=CREATING),
    rule(Outcome.GONE, "gone", f"{_9110}, section 15.5.11", 410),
    rule(Outcome.CONFLICT, "conflict", f"{_9110}, section 15.5.10", 409),
    rule(Outcome.CONFLICT, "precondition_failed", f"{_9110}, section 15.5.13", 412),
    rule(Outcome.CONFLICT, "precondition_required", "RFC 6585, section 3", 428),
    rule(Outcome.CONFLICT, "locked", "RFC 4918, section 11.3", 423),
    rule(Outcome.AUTH, "method_not_allowed", f"{_9110}, section 15.5.6", 405),
    rule(Outcome.AUTH, "media_type", f"{_9110}, sections 15.5.7 and 15.5.16", (406, 415)),
    rule(Outcome.UNKNOWN, "request_timeout", f"{_9110}, section 15.5.9", 408),
    rule(Outcome.POISON, "too_large", f"{_9110}, sections 15.5.14 and 15.5.15; RFC 6585, section 5", (413, 414, 431)),
    rule(Outcome.POISON, "not_processable", f"{_9110}, section 15.5.21", 422),
    rule(Outcome.UNKNOWN, "gateway", f"{_9110}, sections 15.6.3 and 15.6.5", (502, 504)),
    rule(Outcome.UNKNOWN, "unavailable_after_write", f"{_9110}, section 15.6.4", 503, to=WRITING),
    rule(Outcome.AUTH, "redirect", f"{_9110}, section 15.4", 3),
    rule(Outcome.POISON, "bad_request", f"{_9110}, sections 15 and 15.5", 4),
    rule(Outcome.UNKNOWN, "server_error", f"{_9110}, sections 15 and 15.6", 5),
    rule(Outcome.UNKNOWN, "html", f"{_9110}, section 15.3: a page is not what was asked for", 2, shape="markup"),
    rule(Outcome.UNKNOWN, "no_json", f"{_9110}, section 15.3: not JSON", 2, shape="text"),
    rule(Outcome.UNKNOWN, "empty", f"{_9110}, section 15.3.1", 2, shape="empty", to=READING),
    rule(Outcome.LANDED, "success", f"{_9110}, section 15.3", 2),
)
