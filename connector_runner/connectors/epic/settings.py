"""Typed settings of a connection to one customer's Epic."""

from __future__ import annotations

from typing import Literal

from connector_runner.connectors.fhir.ehr import EHRSettings
from connector_runner.connectors.fhir.settings import Vendor
from connector_runner.connectors.sinks import Capabilities


class EpicSettings(EHRSettings):
    """``base_url`` is that of the customer: every health system has a host of its own."""

    adapter: Literal["epic"]
    vendor: Vendor | None = "epic"

    @property
    def usual(self) -> Capabilities:
        """No conditional create on any type, ids are Epic's own, a stale ETag is answered 412."""
        return Capabilities(client_id=False, conditional_create=False, if_match=412)
