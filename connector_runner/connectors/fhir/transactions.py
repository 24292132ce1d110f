"""A transaction bundle from steps, and the steps' replies from its answer. Pure (R4, http.html#transaction)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from connector_runner.connectors.sinks import Json, Outcome, Reply, Step

_ENTRY = re.compile(r"Bundle\.entry\[(\d{1,4})\]")
_STATUS = re.compile(r"\s*(\d{3})\b")
_URN: Final = "urn:uuid:"

ROLLED_BACK: Final = "rolled_back"
BAD_RESPONSE: Final = "bad_transaction_response"


def bundle(
    steps: Sequence[Step],
    identified: Callable[[Json, str], Json],
    condition: Callable[[str], str | None],
    own_ids: bool,
) -> Json:
    """The bundle of ``steps``. ``condition``: what makes a create of a client reference conditional, if anything.

    ``own_ids``: creates go to ids that we choose, so references between the steps are known before.
    """
    known = {
        f"{_URN}{step.client_ref}": f"{step.body['resourceType']}/{step.client_ref}"
        if own_ids and step.ref is None
        else step.ref
        for step in steps
    }
    references = {urn: ref for urn, ref in known.items() if ref is not None}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [_entry(step, identified, condition, references, own_ids) for step in steps],
    }


def _entry(
    step: Step,
    identified: Callable[[Json, str], Json],
    condition: Callable[[str], str | None],
    references: dict[str, str],
    own_ids: bool,
) -> Json:
    body = _referring(step.body if step.ref else identified(step.body, step.client_ref), references)
    if step.ref is not None:
        precondition = {"ifMatch": step.etag} if step.etag else {}
        return {"resource": body, "request": {"method": "PUT", "url": step.ref, **precondition}}
    kind = str(body["resourceType"])
    if own_ids:
        return {"resource": body, "request": {"method": "PUT", "url": f"{kind}/{step.client_ref}"}}
    unless = condition(step.client_ref)
    request = {"method": "POST", "url": kind, **({"ifNoneExist": unless} if unless else {})}
    return {"fullUrl": f"{_URN}{step.client_ref}", "resource": body, "request": request}


def _referring(value: Any, references: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_referring(item, references) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _referring(item, references) for key, item in value.items()}
    text = value.get("reference")
    if isinstance(text, str) and text in references:
        changed["reference"] = references[text]
    return changed


def replies(steps: Sequence[Step], whole: Reply, entry_reply: Callable[[Step, int, Json], Reply]) -> list[Reply]:
    """One reply for each step. ``entry_reply`` classifies an entry of the answer with its status.

    An answer that says 200 and does not account for every step leaves all of them UNKNOWN.
    """
    if whole.outcome is not Outcome.LANDED:
        return _failed(steps, whole)
    entries = (whole.body or {}).get("entry")
    if (
        (whole.body or {}).get("resourceType") != "Bundle"
        or not isinstance(entries, list)
        or len(entries) != len(steps)
    ):
        return [replace(_bare(whole), outcome=Outcome.UNKNOWN, code=BAD_RESPONSE, cause=BAD_RESPONSE) for _ in steps]
    return [_of_entry(step, entry, whole, entry_reply) for step, entry in zip(steps, entries, strict=True)]


def _of_entry(step: Step, entry: Any, whole: Reply, entry_reply: Callable[[Step, int, Json], Reply]) -> Reply:
    response = entry.get("response") if isinstance(entry, dict) else None
    status = _STATUS.match(str(response.get("status"))) if isinstance(response, dict) else None
    if status is None:
        return replace(_bare(whole), outcome=Outcome.UNKNOWN, code=BAD_RESPONSE, cause=BAD_RESPONSE)
    return entry_reply(step, int(status[1]), entry)


def _failed(steps: Sequence[Step], whole: Reply) -> list[Reply]:
    failed = entry_index(whole.where)
    if failed is None or failed >= len(steps) or whole.outcome is Outcome.UNKNOWN:
        return [_bare(whole) for _ in steps]
    undone = replace(_bare(whole), outcome=Outcome.UNDONE, cause=ROLLED_BACK, entry=failed, raw=b"")
    return [replace(whole, body=None, entry=failed) if place == failed else undone for place in range(len(steps))]


def _bare(whole: Reply) -> Reply:
    return replace(whole, body=None, ref=None, etag=None)


def entry_index(where: str) -> int | None:
    """The entry that a path in a bundle is about, counted from 0."""
    found = _ENTRY.match(where)
    return int(found[1]) if found else None
