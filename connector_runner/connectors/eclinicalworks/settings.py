"""Typed settings of a connection to one practice of eClinicalWorks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from connector_runner.auth.settings import SmartBackendAuth
from connector_runner.connectors.fhir.ehr import EHRSettings
from connector_runner.connectors.fhir.settings import Vendor
from connector_runner.connectors.pace import ReadRate
from connector_runner.connectors.settings import RateSettings, SinkSettings
from connector_runner.connectors.sinks import Capabilities

PROVIDER_SERVER: Final = "https://fhir4.eclinicalworks.com/fhir/r4"
WRITTEN: Final = frozenset({"questionnaire_response"})
"""Entity types that the public CapabilityStatement lets be created."""
PER_MINUTE: Final = 250
"""Requests a practice allows in a minute of the clock, token requests among them."""
OWN: Final = frozenset({"per_second", "burst", "concurrency", "per_day"})


class EclinicalworksSinkSettings(SinkSettings):
    """The outbound side; eClinicalWorks chooses the ids."""

    client_id: Literal[False] = False
    rate: RateSettings = RateSettings(per_second=4, burst=4, concurrency=2, per_minute_fixed=PER_MINUTE)

    @model_validator(mode="before")
    @classmethod
    def _of_the_minute(cls, value: Any) -> Any:
        """A rate that says nothing of the minute keeps to that of eClinicalWorks."""
        rate = value.get("rate") if isinstance(value, Mapping) else None
        if not isinstance(rate, Mapping) or "per_minute_fixed" in rate:
            return value
        return {**value, "rate": {**rate, "per_minute_fixed": PER_MINUTE}}

    @model_validator(mode="after")
    def _known(self) -> EclinicalworksSinkSettings:
        if set(self.entity_types) - WRITTEN:
            raise ValueError(f"entity_types: only {', '.join(sorted(WRITTEN))} can be written to eClinicalWorks")
        return self


class EclinicalworksSettings(EHRSettings):
    """``server`` is the FHIR service, ``practice_code`` the six characters of a practice, a step in the path.

    Together they are ``base_url``. Reads and writes count in one quota of each minute, and so do token requests.
    """

    adapter: Literal["eclinicalworks"]
    server: str = PROVIDER_SERVER
    practice_code: str = Field(pattern=r"^[A-Za-z0-9]{6}$")
    vendor: Vendor | None = "eclinicalworks"
    history: bool = False
    search_by: Literal["POST", "GET"] = "GET"
    sink: EclinicalworksSinkSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_practice(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or not isinstance(value.get("practice_code"), str):
            return value
        server = value.get("server", PROVIDER_SERVER)
        if not isinstance(server, str):
            return value
        made = f"{server.rstrip('/')}/{value['practice_code']}"
        if value.get("base_url") not in (None, made):
            raise ValueError("base_url follows from server and practice_code: leave it out")
        return {**value, "base_url": made}

    @model_validator(mode="before")
    @classmethod
    def _of_the_minute(cls, value: Any) -> Any:
        """One quota of the minute for all that is sent, unless a rate is stated otherwise."""
        if not isinstance(value, Mapping) or isinstance(value.get("rate"), ReadRate):
            return value
        rate = value.get("rate") or {}
        if not isinstance(rate, Mapping) or "shared" in rate or "per_minute_fixed" in rate:
            return value
        if value.get("sink") is not None and not (rate.keys() & OWN):
            return {**value, "rate": {**rate, "shared": True}}
        return {
            **value,
            "rate": {"per_second": 4, "burst": 4, "concurrency": 2, **rate, "per_minute_fixed": PER_MINUTE},
        }

    @model_validator(mode="after")
    def _signed_by_rsa(self) -> EclinicalworksSettings:
        for auth in (self.auth, self.sink.write_auth if self.sink is not None else None):
            if isinstance(auth, SmartBackendAuth) and auth.algorithm != "RS384":
                raise ValueError("auth.algorithm: eClinicalWorks takes assertions signed by RS384 only; say RS384")
        return self

    @property
    def tokens_in_quota(self) -> bool:
        """``/token`` and ``/authorize`` count as any request does."""
        return True

    @property
    def usual(self) -> Capabilities:
        """No conditional create and no lock; what was created is found among its patient's records."""
        return Capabilities(client_id=False, conditional_create=False, if_match=None)
