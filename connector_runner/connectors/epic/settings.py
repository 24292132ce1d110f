"""Typed settings of a connection to one customer's Epic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from connector_runner.connectors.fhir.ehr import EHRSettings
from connector_runner.connectors.fhir.settings import Vendor
from connector_runner.connectors.settings import Strict
from connector_runner.connectors.sinks import Capabilities

PEAK_PERCENT: Final = 1
OFF_PEAK_PERCENT: Final = 5
"""Of the customer's operational database that an application may use, at peak and otherwise."""


class DatabaseShare(Strict):
    """What keeps reading within the share of the customer's database that Epic allows an application.

    Epic states the share and no requests a second; ``per_second_of_percent`` is what the customer's administrator
    finds one percent to come to. ``zone`` is the customer's; the peak is about 07 to 19 there.
    """

    zone: str
    per_second_of_percent: float = Field(gt=0, le=1000, allow_inf_nan=False)
    peak_from: str = "07:00"
    peak_to: str = "19:00"

    def rate(self) -> dict[str, Any]:
        """As the rate of reading has it."""
        peak = PEAK_PERCENT * self.per_second_of_percent
        hours = {"from": self.peak_from, "to": self.peak_to, "per_second": peak}
        return {"zone": self.zone, "per_second": OFF_PEAK_PERCENT * self.per_second_of_percent, "hours": [hours]}


class EpicSettings(EHRSettings):
    """``base_url`` is that of the customer: every health system has a host of its own.

    ``history`` is not asked for: no Epic offers it. ``rate.zone`` is the customer's time zone, in which the allowance
    of a day is renewed; ``database_share`` states the rate in its place.
    """

    adapter: Literal["epic"]
    vendor: Vendor | None = "epic"
    history: bool = False
    database_share: DatabaseShare | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_the_vendor_has_it(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        sink = value.get("sink")
        stated = sink.get("capabilities") if isinstance(sink, Mapping) else None
        if isinstance(stated, Mapping) and (stated.get("client_id") or stated.get("conditional_create")):
            raise ValueError("Epic chooses ids itself and has no conditional create on any type")
        if value.get("database_share") is None:
            return value
        rate = DatabaseShare.model_validate(value["database_share"]).rate()
        if value.get("rate") not in (None, rate):
            raise ValueError("database_share states the rate: leave rate out")
        return {**value, "rate": rate}

    @property
    def usual(self) -> Capabilities:
        """No conditional create on any type, ids are Epic's own, a stale ETag is answered 412."""
        return Capabilities(client_id=False, conditional_create=False, if_match=412)
