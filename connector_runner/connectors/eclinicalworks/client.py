"""Requests to one practice of eClinicalWorks: whoever exceeds the minute waits for its end."""

from __future__ import annotations

from collections.abc import Mapping

from connector_runner.auth.settings import Direction
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.rate_headers import http_date, retry_after_s
from connector_runner.infra.http import Answer
from connector_runner.kernel.clock import utc_now


class EclinicalworksClient(FHIRClient):
    """A FHIR client that knows when the minute of eClinicalWorks is over."""

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
        """As FHIRClient. A 429, which says not how long, says so by the end of the server's minute."""
        answer = super().request(
            method, path_or_url, headers=headers, params=params, body=body, kind=kind, max_bytes=max_bytes
        )
        now = utc_now()
        if answer.status != 429 or retry_after_s(answer.headers, now) is not None:
            return answer
        told = http_date(answer.headers.get("Date")) or now
        return Answer(429, {**answer.headers, "Retry-After": str(60 - told.second)}, answer.body, answer.url)
