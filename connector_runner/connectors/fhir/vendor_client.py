"""Reads a vendor's server, and puts what only this vendor means by an answer into the words of R4.

What an answer means is told by the classification (connectors/classification), the one place with the vendors' rules.
A search about one patient that a policy withholds, or that one faulty record spoils, becomes a page that says so:
the other patients are read on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from connector_runner.auth.settings import Direction
from connector_runner.connectors.base import Opening
from connector_runner.connectors.classification.classify import classify
from connector_runner.connectors.classification.evidence import Purpose
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.ehr import EHRSettings
from connector_runner.infra.http import Answer
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import BadRecord, Misconfigured, RateLimited

WITHHELD: Final = frozenset(
    {"break_the_glass", "not_authorized_for_record", "sub_type_not_authorized", "record_forbidden"}
)
"""Causes by which a policy keeps one patient's records, or one kind of them, from us: never asked for again at once."""
SPOILT: Final = frozenset({"record_incomplete"})
"""Causes by which a record of theirs cannot be shown, however often it is asked for."""
SETTINGS: Final = {
    "wrong_tenant": "the server knows no such tenant, or the client is not registered with it: check both",
    "media_type": "the server does not speak the form that was asked for",
}
_ABOUT_ONE: Final = ("patient", "subject", "_id")
_RECORD = re.compile(r"([A-Z][A-Za-z]+)/([^/?$_][^/?]*)")
_REFERENCE = re.compile(r"([A-Z][A-Za-z]+/[^/?#\s]+)/?(?:\?[^#]*)?$")


class VendorClient(FHIRClient):
    """The client of a vendor's source. A sink tells answers apart by itself and takes the plain client."""

    def __init__(self, opening: Opening, settings: EHRSettings, *, clock: Clock = utc_now) -> None:
        super().__init__(opening, settings)
        self._vendor = settings.vendor or ""
        self._zone = ZoneInfo(settings.rate.zone)
        self._clock = clock

    def request(
        self,
        method: str,
        path_or_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: list[tuple[str, str]] | None = None,
        body: bytes | None = None,
        kind: Direction = "read",
        max_bytes: int | None = None,
    ) -> Answer:
        """As the plain client does, and with reads: RateLimited (``daily_documents``) until the vendor's next day,
        Misconfigured (``wrong_tenant``, ``media_type``), BadRecord for a record that is withheld or cannot be shown."""
        answer = super().request(
            method, path_or_url, headers=headers, params=params, body=body, kind=kind, max_bytes=max_bytes
        )
        if method != "GET" or answer.status < 300 or path_or_url == "metadata" or path_or_url.endswith("_history"):
            return answer
        record = _RECORD.fullmatch(path_or_url)
        purpose: Purpose = "read" if record else "search"
        meant = classify(answer, purpose, self._vendor, self._clock())
        cause = meant.rule.cause
        if cause == "daily_documents":
            raise RateLimited(
                "the allowance of the day is used up",
                code=cause,
                retry_after_s=until_tomorrow(self._clock(), self._zone),
            )
        if cause in SETTINGS:
            raise Misconfigured(SETTINGS[cause], code=cause)
        if record is not None:
            return _of_record(answer, cause, record[1], record[2])
        about_one = params is not None and any(name in _ABOUT_ONE for name, _ in params)
        if cause in WITHHELD and about_one:
            return _page(answer)
        return _page(answer, spoilt=True) if cause in SPOILT else answer


def until_tomorrow(now: datetime, zone: ZoneInfo) -> float:
    """Seconds until the next midnight of a time zone."""
    local = now.astimezone(zone)
    midnight = (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - now).total_seconds()


def _of_record(answer: Answer, cause: str, resource_type: str, record_id: str) -> Answer:
    """What a direct read says of one record. Raises BadRecord where it is withheld or cannot be shown."""
    place = f"{resource_type}/{record_id}"
    if cause == "merged":
        return _survivor(answer, resource_type, record_id)
    if cause == "deleted":
        return replace(answer, status=410)
    if cause == "invalid_id":
        return replace(answer, status=404)
    if cause in WITHHELD:
        raise BadRecord("a policy of the source withholds this record", code=cause, where=place)
    if cause in SPOILT:
        raise BadRecord("the source cannot show this record: its data is incomplete there", code=cause, where=place)
    return answer


def _survivor(answer: Answer, resource_type: str, record_id: str) -> Answer:
    """A record that was merged into another: inactive, replaced by the one that the redirect names.

    R4, patient.html#links (``replaced-by``). Raises BadRecord where the survivor is not told.
    """
    told = _REFERENCE.search(answer.headers.get("Location") or "")
    if told is None or not told[1].startswith(f"{resource_type}/"):
        raise BadRecord("the record was merged and its survivor is not told", code="merged", where=resource_type)
    body = {
        "resourceType": resource_type,
        "id": record_id,
        "active": False,
        "link": [{"other": {"reference": told[1]}, "type": "replaced-by"}],
    }
    return replace(answer, status=200, body=exact_json.dumps(body).encode())


def _page(answer: Answer, *, spoilt: bool = False) -> Answer:
    """A page without records, with what the server said; ``spoilt``: and one that could not be shown."""
    try:
        outcome = exact_json.loads(answer.body)
    except BadRecord:
        outcome = {"resourceType": "OperationOutcome", "issue": []}
    entries: list[object] = [{"resource": outcome, "search": {"mode": "outcome"}}]
    if spoilt:
        entries.append({"response": {"status": str(answer.status), "outcome": outcome}})
    page = {"resourceType": "Bundle", "type": "searchset", "entry": entries}
    return replace(answer, status=200, body=exact_json.dumps(page).encode())
