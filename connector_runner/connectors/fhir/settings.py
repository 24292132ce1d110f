"""Typed settings of a FHIR store connection."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from connector_runner.auth.settings import Auth, NoAuth
from connector_runner.connectors.fhir import notifications
from connector_runner.connectors.fhir.bulk.feed import ExportFeed
from connector_runner.connectors.fhir.bulk.settings import BulkSettings
from connector_runner.connectors.fhir.profile import ChangedFeed
from connector_runner.connectors.push import PushParser
from connector_runner.connectors.settings import SourceSettings
from connector_runner.connectors.sinks import Capabilities

Vendor = Literal["epic", "oracle", "athenahealth", "eclinicalworks", "nextgen", "hapi", "azure", "google"]


class FHIRSettings(SourceSettings):
    """Where the server is and how it is read. ``*_s`` are seconds.

    ``overlap_s`` is read again before the cursor on every poll: it must exceed the time between a change and
    its being found by a search. ``history`` false never asks ``_history`` for deletes, though it be offered.
    ``search_by`` is how duplicates are searched for: GET puts names into URLs, for servers that have no other way.
    ``vendor`` is whose server it is: some errors mean another thing there (see connectors/classification).
    """

    base_url: str
    auth: Auth = NoAuth()
    overlap_s: float = Field(60, ge=0, le=7 * 86400)
    page_size: int = Field(200, ge=1, le=10_000)
    request_timeout_s: float = Field(15, gt=0, le=300)
    max_page_bytes: int = Field(64 * 1024 * 1024, ge=1024)
    history: bool = True
    vendor: Vendor | None = None
    search_by: Literal["POST", "GET"] = "POST"
    bulk: BulkSettings = BulkSettings()

    @field_validator("base_url")
    @classmethod
    def _http_base(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an absolute http or https URL")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must hold neither credentials nor a query nor a fragment")
        return value.rstrip("/")

    @property
    def exports(self) -> ChangedFeed | None:
        """The strategy ``bulk``, where settings say what to export."""
        return ExportFeed() if "bulk" in self.model_fields_set else None

    @property
    def push_parser(self) -> PushParser:
        """Notifications of FHIR subscriptions."""
        return notifications.parse

    @property
    def base(self) -> str:
        """The address that absolute references of this source begin with."""
        return self.base_url

    @property
    def sink_capabilities(self) -> Capabilities:
        """As stated; a server that neither takes our ids nor heeds a condition nor can be searched may duplicate."""
        stated = super().sink_capabilities
        if stated.client_id or stated.conditional_create or stated.search:
            return stated
        return replace(stated, at_least_once=True)
