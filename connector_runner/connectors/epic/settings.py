"""Typed settings of a connection to one customer's Epic."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from connector_runner.connectors.fhir.ehr import EHRSettings
from connector_runner.connectors.fhir.settings import Vendor
from connector_runner.connectors.sinks import Capabilities


class EpicSettings(EHRSettings):
    """``base_url`` is that of the customer: every health system has a host of its own.

    ``history`` is not asked for: no Epic offers it. ``windows`` in the customer's own time zone says when a day's
    allowance is renewed, and ``rate`` how much of the database we may use: at most 1 % at peak.
    """

    adapter: Literal["epic"]
    vendor: Vendor | None = "epic"
    history: bool = False

    @model_validator(mode="before")
    @classmethod
    def _no_ids(cls, value: Any) -> Any:
        sink = value.get("sink") if isinstance(value, dict) else None
        stated = sink.get("capabilities") if isinstance(sink, dict) else None
        if isinstance(stated, dict) and (stated.get("client_id") or stated.get("conditional_create")):
            raise ValueError("Epic chooses ids itself and has no conditional create on any type")
        return value

    @property
    def usual(self) -> Capabilities:
        """No conditional create on any type, ids are Epic's own, a stale ETag is answered 412."""
        return Capabilities(client_id=False, conditional_create=False, if_match=412)
