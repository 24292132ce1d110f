"""Requests to one practice of athenahealth: FHIR and v1 are on one host, under one credential and one rate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from connector_runner.auth.settings import Direction
from connector_runner.connectors.athenahealth.settings import AthenahealthSettings
from connector_runner.connectors.base import Opening
from connector_runner.connectors.fhir.client import FHIRClient, read_failure
from connector_runner.infra.http import Answer
from connector_runner.kernel import exact_json
from connector_runner.kernel.clock import Clock
from connector_runner.kernel.errors import BadRecord, Forbidden, Unavailable

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
_COMBINATION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,40}(?:,[A-Za-z_][A-Za-z0-9_-]{0,40}){0,7}")
_NEEDS_SUBSCRIPTION: Final = "require setup (subscription)"
_REFUSED: Final = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"required"}]}'


class AthenahealthClient(FHIRClient):
    """A FHIR client that also speaks v1, and reads a 403 that means something else than a missing right."""

    def __init__(self, opening: Opening, settings: AthenahealthSettings) -> None:
        super().__init__(opening, settings)
        self.practice = settings
        self.combinations: tuple[str, ...] = ()
        """The parameter combinations that the server last said a search needs one of."""

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
        """As FHIRClient. A 403 for a missing combination of parameters comes as the 400 that other servers answer."""
        answer = super().request(
            method, path_or_url, headers=headers, params=params, body=body, kind=kind, max_bytes=max_bytes
        )
        needed = missing_combinations(answer)
        if not needed:
            return answer
        self.combinations = needed
        return Answer(400, answer.headers, _REFUSED, answer.url)

    def v1(
        self,
        method: str,
        path: str,
        *,
        params: list[tuple[str, str]] | None = None,
        form: bytes | None = None,
        kind: Direction = "read",
    ) -> Answer:
        """A request to v1. ``path`` is below the practice's, or one that v1 gave as ``next``."""
        own = path if is_address(path) else f"{self.practice.v1}/{path}"
        headers = {"Accept": JSON} if form is None else {"Accept": JSON, "Content-Type": FORM}
        return self.request(method, own, headers=headers, params=params, body=form, kind=kind)

    def v1_json(self, path: str, params: list[tuple[str, str]] | None, clock: Clock) -> Any:
        """What v1 answers to a GET. Raises NotSubscribed, and as a read does."""
        answer = self.v1("GET", path, params=params)
        if needs_subscription(answer):
            raise NotSubscribed("this changed feed needs a subscription first", where=path)
        if answer.status != 200:
            raise read_failure(answer, path.partition("?")[0], clock())
        try:
            return exact_json.loads(answer.body)
        except BadRecord:
            raise Unavailable("the answer cannot be read as JSON", code="not_json", where=path) from None


def is_address(path: str) -> bool:
    """Whether it is one that v1 gave as ``next``, and not a path below the practice's."""
    return path.startswith(("/v1/", "http://", "https://"))


class NotSubscribed(Forbidden):
    """A changed feed answers nothing before it was subscribed to."""

    default_code = "not_subscribed"


def missing_combinations(answer: Answer) -> tuple[str, ...]:
    """The combinations of parameters of which a refused search needs one; empty when it was refused for another reason.

    Recorded from the vendor's sandbox (fastenhealth/fasten-sources): 403, one fatal issue ``forbidden``, whose
    ``expression`` lists each combination as ``patient,intent``; a missing scope has a type there instead.
    """
    if answer.status != 403:
        return ()
    try:
        document = exact_json.loads(answer.body)
    except BadRecord:
        return ()
    issues = document.get("issue") if isinstance(document, dict) else None
    for issue in issues if isinstance(issues, list) else ():
        named = issue.get("expression") if isinstance(issue, dict) else None
        listed = [text for text in named if isinstance(text, str)] if isinstance(named, list) else []
        if listed and all(_COMBINATION.fullmatch(text) and not text[:1].isupper() for text in listed):
            return tuple(listed)
    return ()


def needs_subscription(answer: Answer) -> bool:
    """Whether a changed feed refuses for want of a subscription: 403, as metriport/metriport met it."""
    return answer.status in (400, 403) and _NEEDS_SUBSCRIPTION in answer.body.decode("utf-8", "replace").casefold()
