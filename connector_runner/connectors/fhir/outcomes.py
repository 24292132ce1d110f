"""The codes of OperationOutcomes. Their diagnostics and texts quote the record, so they are never read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from connector_runner.connectors.classification.evidence import ISSUE_TYPES

PASSING = frozenset({"transient", "timeout", "throttled", "incomplete", "lock-error", "no-store", "exception"})
"""Issue types of what may be had when it is asked for again (R4, valueset-issue-type.html)."""
_GRAVE = ("error", "fatal")
_VENDOR_CODE = re.compile(r"\d{3,6}")


def issue_codes(document: Any) -> tuple[str, ...]:
    """The codes of one OperationOutcome, read leniently: servers leave out required parts of it."""
    issues = document.get("issue") if isinstance(document, dict) else None
    codes: list[str] = []
    for issue in issues if isinstance(issues, list) else ():
        if not isinstance(issue, dict):
            continue
        if isinstance(issue.get("code"), str) and issue["code"] in ISSUE_TYPES:
            codes.append(issue["code"])
        details = issue.get("details")
        codings = details.get("coding") if isinstance(details, dict) else None
        for coding in codings if isinstance(codings, list) else ():
            code = coding.get("code") if isinstance(coding, dict) else None
            if isinstance(code, str) and _VENDOR_CODE.fullmatch(code):
                codes.append(code)
    return tuple(dict.fromkeys(codes))


def warnings(entries: Iterable[Any]) -> tuple[str, ...]:
    """The codes by which a server qualifies a page: OperationOutcomes among its entries, whatever their mode."""
    codes: dict[str, None] = {}
    for entry in entries:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict) and resource.get("resourceType") == "OperationOutcome":
            codes |= dict.fromkeys(issue_codes(resource))
    return tuple(codes)


def failures(entries: Iterable[Any]) -> frozenset[str]:
    """The issue types by which a page tells of an error; "" stands for one that has none.

    A search that succeeds tells of hints and warnings only (R4, search.html); one that does not shows not all.
    """
    found: set[str] = set()
    for entry in entries:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or resource.get("resourceType") != "OperationOutcome":
            continue
        issues = resource.get("issue")
        for issue in issues if isinstance(issues, list) else ():
            if isinstance(issue, dict) and issue.get("severity") in _GRAVE:
                code = issue.get("code")
                found.add(code if isinstance(code, str) and code in ISSUE_TYPES else "")
    return frozenset(found)
