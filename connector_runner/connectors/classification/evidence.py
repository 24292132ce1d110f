"""What an answer shows of its meaning. Only statuses, codes and paths are taken: texts quote the record.

A code is taken when its place in the body says whose it is: ``<vendor>:<code>``, or a bare issue type of FHIR. Bodies
are read leniently, for servers leave out required parts of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from connector_runner.connectors.rate_headers import retry_after_s
from connector_runner.connectors.sinks import Json
from connector_runner.infra.http import Answer
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord

Purpose = Literal["read", "search", "check", "create", "conditional_create", "update", "transaction"]
"""What a request is for; from ``create`` on it may have been done when the answer is lost."""

Shape = Literal["empty", "markup", "text", "object", "list"]

EPIC_SYSTEM: Final = "urn:oid:1.2.840.114350"
ERROR_SEVERITY: Final = "severity:error"
ECW_STATUS: Final = "eclinicalworks:status"
"""There is a number, whichever."""
NO_ROUTE: Final = "router:no_route"
"""What stands before the API says that it knows no such place, in the words of frameworks and gateways."""

_NO_ROUTE_TEXTS: Final = frozenset({"not found", "no route matched with those values"})
# http://hl7.org/fhir/R4/valueset-issue-type.html; another word could be anything, a name included.
ISSUE_TYPES: Final = frozenset(
    """invalid structure required value invariant security login unknown expired forbidden suppressed
    processing not-supported duplicate multiple-matches not-found deleted too-long code-invalid extension
    too-costly business-rule conflict transient lock-error no-store exception timeout incomplete throttled
    informational""".split()  # noqa: SIM905 - a list of words
)
_ANY_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"\d{3,6}")
_WORD = re.compile(r"[A-Z][A-Z0-9_]{2,60}")
_PATH = re.compile(r"[A-Za-z]\w{0,63}(?:\[\d{1,4}\])?(?:\.[A-Za-z]\w{0,63}(?:\[\d{1,4}\])?){0,12}")
_XPATH = re.compile(r"(?:/f:[A-Za-z]\w{0,63}){1,12}")
_OAUTH_ERROR = re.compile(r'\berror="([a-z_]{1,40})"')


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the rules look at. ``document`` is the body as JSON, None when it is none."""

    status: int
    vendor: str
    purpose: Purpose
    shape: Shape
    codes: tuple[str, ...] = ()
    where: str = ""
    retry_after: bool = False
    document: Json | list[Any] | None = None


def evidence_of(answer: Answer, purpose: Purpose, vendor: str) -> Evidence:
    """What ``answer`` shows; ``vendor`` is who makes the system, as far as the settings say."""
    shape, document = _shape(answer.body)
    codes: list[str] = []
    where = ""
    if isinstance(document, dict):
        issues = list(_issues(document))
        codes += (code for issue in issues for code in _issue_codes(issue, vendor))
        where = next((place for issue in issues for place in _places(issue)), "")
        codes += _own_codes(document, vendor)
    elif isinstance(document, list):
        codes += _salesforce(document)
    codes += (f"oauth:{word}" for word in _OAUTH_ERROR.findall(answer.headers.get("WWW-Authenticate") or ""))
    return Evidence(
        answer.status,
        vendor,
        purpose,
        shape,
        tuple(dict.fromkeys(codes)),
        where,
        retry_after_s(answer.headers, _ANY_TIME) is not None,
        document,
    )


def _shape(body: bytes) -> tuple[Shape, Json | list[Any] | None]:
    start = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if not start and not body.strip():
        return "empty", None
    if start == b"<":
        return "markup", None
    try:
        value = exact_json.loads(body)
    except BadRecord:
        return "text", None
    if isinstance(value, dict):
        return "object", value
    return ("list", value) if isinstance(value, list) else ("text", None)


def _issues(document: Json) -> Iterator[Json]:
    """The issues of an OperationOutcome, or of those that a searchset or an entry of it carries."""
    if document.get("resourceType") == "Bundle":
        entries = document.get("entry")
        for entry in entries if isinstance(entries, list) else ():
            resource = entry.get("resource") if isinstance(entry, dict) else None
            if isinstance(resource, dict) and resource.get("resourceType") == "OperationOutcome":
                yield from _dicts(resource.get("issue"))
    elif document.get("resourceType") in (None, "OperationOutcome"):
        yield from _dicts(document.get("issue"))


def _issue_codes(issue: Json, vendor: str) -> Iterator[str]:
    details = issue.get("details")
    for coding in _dicts(details.get("coding") if isinstance(details, dict) else None):
        code, system = coding.get("code"), coding.get("system")
        if not isinstance(code, str) or not _NUMBER.fullmatch(code):
            continue
        epic = isinstance(system, str) and system.startswith(EPIC_SYSTEM)
        owner = "epic" if epic else vendor
        yield f"{owner}:{code}" if owner else code
    kind = issue.get("code")
    if isinstance(kind, str) and kind in ISSUE_TYPES:
        yield kind
    if issue.get("severity") in ("error", "fatal"):
        yield ERROR_SEVERITY


def _places(issue: Json) -> Iterator[str]:
    for key in ("expression", "location"):
        listed = issue.get(key)
        for text in listed if isinstance(listed, list) else ():
            if not isinstance(text, str):
                continue
            # A function in the path (a filter) could quote a value: the path ends before it.
            path = text.partition("(")[0].rpartition(".")[0] if "(" in text else text
            if _PATH.fullmatch(path) or _XPATH.fullmatch(path):
                yield path.replace("/f:", ".").lstrip(".")


def _own_codes(document: Json, vendor: str) -> Iterator[str]:
    """Codes in envelopes that are not FHIR: HubSpot's, Google's, routers', eClinicalWorks' number in ``status``."""
    if document.get("status") == "error" and "correlationId" in document:
        for key in ("category", "errorType", "policyName"):
            yield from _words("hubspot", document.get(key))
        for error in _dicts(document.get("errors")):
            yield from _words("hubspot", error.get("code"))
    failure = document.get("error")
    if isinstance(failure, dict):
        yield from _words("google", failure.get("status"))
    elif isinstance(failure, str) and re.fullmatch(r"[a-z_]{3,40}", failure):
        yield f"oauth:{failure}"
    if any(str(document.get(key)).casefold() in _NO_ROUTE_TEXTS for key in ("detail", "message", "error")):
        yield NO_ROUTE
    status = document.get("status")
    if vendor == "eclinicalworks" and "resourceType" not in document and re.fullmatch(r"\d{1,4}", str(status)):
        yield from (f"eclinicalworks:{int(str(status))}", ECW_STATUS)


def _salesforce(document: Iterable[Any]) -> Iterator[str]:
    for item in _dicts(document):
        yield from _words("salesforce", item.get("errorCode"))


def _words(owner: str, value: object) -> Iterator[str]:
    if isinstance(value, str) and _WORD.fullmatch(value):
        yield f"{owner}:{value}"


def _dicts(value: object) -> Iterator[Json]:
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        yield from (item for item in value if isinstance(item, dict))
