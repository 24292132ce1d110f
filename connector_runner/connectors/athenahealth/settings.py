"""Typed settings of a connection to one practice of athenahealth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from connector_runner.connectors.athenahealth import push
from connector_runner.connectors.fhir.ehr import EHRSettings
from connector_runner.connectors.fhir.settings import Vendor
from connector_runner.connectors.push import PushParser
from connector_runner.connectors.settings import SinkSettings
from connector_runner.connectors.sinks import Capabilities
from connector_runner.kernel.errors import Misconfigured
from connector_runner.resilience.calendar import zone

GLOBAL_BASE: Final = "https://api.platform.athenahealth.com/fhir/r4"
WRITTEN: Final = frozenset({"condition", "observation", "questionnaire_response"})
"""Entity types for which it is known what a write looks like (README)."""


class AthenahealthSinkSettings(SinkSettings):
    """The outbound side; athenahealth chooses the ids. ``department`` is the number under which v1 writes go."""

    client_id: Literal[False] = False
    department: str | None = Field(None, pattern=r"^\d{1,12}$")

    @model_validator(mode="after")
    def _known(self) -> AthenahealthSinkSettings:
        others = sorted(set(self.entity_types) - WRITTEN)
        if others:
            raise ValueError(f"entity_types: only {', '.join(sorted(WRITTEN))} can be written to athenahealth")
        if self.department is None and set(self.entity_types) & {"condition", "observation"}:
            raise ValueError("department: v1 takes a problem or a vital sign for a department only; say its number")
        return self


class AthenahealthSettings(EHRSettings):
    """``base_url`` is the same for all practices: ``practice`` (its number) says which, in each request.

    ``brand`` and ``departments`` (numbers) narrow what is read where a search takes them. ``zone`` is the practice's
    time zone, for times that v1 states without one. ``appointment_days``: how far back and ahead of today booked
    appointments are listed by a full sync. ``subscribe`` false never subscribes to a changed feed by itself.
    """

    PLACE: ClassVar[tuple[str, ...]] = ("base_url", "practice")

    adapter: Literal["athenahealth"]
    base_url: str = GLOBAL_BASE
    vendor: Vendor | None = "athenahealth"
    mapping: str = Field("athenahealth", pattern=r"^[a-z0-9_]+$")
    practice: str = Field(pattern=r"^\d{1,12}$")
    brand: str | None = Field(None, pattern=r"^[A-Za-z0-9.,-]{1,200}$")
    departments: tuple[str, ...] = ()
    zone: str | None = None
    appointment_days: tuple[int, int] = (30, 365)
    subscribe: bool = True
    history: bool = False
    page_size: int = Field(50, ge=1, le=1000)
    search_by: Literal["POST", "GET"] = "GET"
    sink: AthenahealthSinkSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        """A practice's number may be written as one."""
        if isinstance(value, Mapping) and isinstance(value.get("practice"), int):
            return {**value, "practice": str(value["practice"])}
        return value

    @field_validator("departments")
    @classmethod
    def _numbers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(number.isascii() and number.isdigit() for number in value):
            raise ValueError("departments are numbers")
        return value

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            zone(value)
        except Misconfigured as exc:
            raise ValueError(exc.message) from None
        return value

    @field_validator("appointment_days")
    @classmethod
    def _days(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not all(0 <= days <= 3660 for days in value):
            raise ValueError("appointment_days are two numbers of days, back and ahead")
        return value

    @property
    def v1(self) -> str:
        """The path of the practice's v1 API, on the host of ``base_url``."""
        return f"/v1/{self.practice}"

    @property
    def host(self) -> str:
        """Where both APIs are."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def push_parser(self) -> PushParser:
        """Event subscriptions: id-only notifications, whose focus may be an identifier."""
        return push.parser_of(self.practice)

    @property
    def usual(self) -> Capabilities:
        """No conditional create, no lock, no idempotency; what was created is found among its patient's records."""
        return Capabilities(client_id=False, conditional_create=False, if_match=None)
