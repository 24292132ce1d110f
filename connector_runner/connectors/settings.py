"""Typed settings that every data source has, and the one way to read them from a document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from connector_runner.auth.settings import KINDS, Auth, SecretReference, Strict
from connector_runner.connectors.pace import MAX_CADENCE_S, Cadence, ReadBreakerSettings, ReadRate
from connector_runner.connectors.push import PushParser, PushSettings
from connector_runner.connectors.sinks import Capabilities
from connector_runner.connectors.terms import Consent
from connector_runner.connectors.windows import WindowSettings
from connector_runner.kernel.errors import Misconfigured
from connector_runner.policy.purposes import Purpose
from connector_runner.resilience.breaker import BreakerLimits

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class ResourceSettings(Strict):
    """One record type that is polled. Without ``full_sync_every_s`` only the source's history tells of deletes.

    It is polled every ``cadence_s``, or with ``cadence`` as often as it changes. All of it is read when the last time
    was ``full_sync_every_s`` ago, and with ``full_every`` in each so manieth poll. ``reference``: it names what
    others refer to and seldom changes (practitioners, places, organisations), so what landed is good for ``ttl_s``
    and it is polled no more often than that.
    """

    cadence_s: float = Field(60, gt=0, le=MAX_CADENCE_S)
    cadence: Cadence | None = None
    full_sync_every_s: float | None = Field(86400, gt=0)
    full_every: int | None = Field(None, ge=1, le=1_000_000)
    reference: bool = False
    ttl_s: float = Field(86400, gt=0, le=MAX_CADENCE_S)
    enabled: bool = True

    @model_validator(mode="after")
    def _one_cadence(self) -> ResourceSettings:
        given = self.model_fields_set
        if self.cadence is not None and "cadence_s" in given:
            raise ValueError("cadence_s is fixed and cadence adapts: give one of them")
        if self.reference and ("cadence_s" in given or self.cadence is not None):
            raise ValueError("a reference type is polled every ttl_s: leave out cadence_s and cadence")
        if "ttl_s" in given and not self.reference:
            raise ValueError("ttl_s is for a reference type: say reference: true")
        return self

    @property
    def cadences_s(self) -> tuple[float, float]:
        """The shortest and the longest time between polls."""
        if self.cadence is not None:
            return self.cadence.min_s, self.cadence.max_s
        fixed = self.ttl_s if self.reference else self.cadence_s
        return fixed, fixed

    def next_cadence_s(self, cadence_s: float, changes: int) -> float:
        """Seconds between polls after one, at ``cadence_s``, that brought so many changes."""
        return self.cadences_s[0] if self.cadence is None else self.cadence.after(cadence_s, changes)


class RateSettings(Strict):
    """What a sink takes: requests a second, how many at once after a pause, how many in flight.

    ``per_day`` is a quota of the calendar day in the sink's zone, ``per_minute_fixed`` one of each minute on the clock.
    The bounds are far beyond any sink, and within what the limiter counts exactly.
    """

    per_second: float = Field(10, ge=1e-5, le=10_000, allow_inf_nan=False)
    burst: int = Field(5, ge=1, le=100_000)
    concurrency: int = Field(2, ge=1, le=1000)
    per_day: int | None = Field(None, ge=1, le=10**9)
    per_minute_fixed: int | None = Field(None, ge=1, le=10**9)


class BreakerSettings(Strict):
    """After ``failures`` in a row a sink is left alone for ``first_open_s``, then twice as long, to ``most_open_s``."""

    failures: int = Field(5, ge=1, le=1000)
    first_open_s: float = Field(0.5, gt=0, le=86400, allow_inf_nan=False)
    most_open_s: float = Field(30, gt=0, le=86400, allow_inf_nan=False)

    @model_validator(mode="after")
    def _growing(self) -> BreakerSettings:
        if self.most_open_s < self.first_open_s:
            raise ValueError("most_open_s must not be less than first_open_s")
        return self

    def limits(self) -> BreakerLimits:
        """As the breaker takes them."""
        return BreakerLimits(self.failures, self.first_open_s, self.most_open_s)


class CapabilitySettings(Strict):
    """What this sink can do where it differs from others of its kind; what is left out is as usual."""

    client_id: bool | None = None
    conditional_create: bool | None = None
    if_match: Literal[412, 409, "none"] | None = None
    patch: bool | None = None
    transaction: bool | None = None
    validate_: bool | None = Field(None, alias="validate")
    search: bool | None = None
    at_least_once: bool | None = None

    model_config = ConfigDict(serialize_by_alias=True)

    def over(self, usual: Capabilities) -> Capabilities:
        """``usual`` with what is stated here. That a repeat may make a second record is not to be stated away."""
        stated = {name.rstrip("_"): value for name, value in self if value is not None}
        if stated.get("if_match") == "none":
            stated["if_match"] = None
        made = replace(usual, **stated)
        return replace(made, at_least_once=made.at_least_once or usual.at_least_once)


class SinkEntity(Strict):
    """How one entity type is written. ``depends`` names entity types that must be in the sink before.

    ``owns`` are the only fields that we write there, None all; without those of ``required`` nothing is sent.
    With ``human_review`` a person approves each write.
    """

    enabled: bool = True
    policy: Literal["latest", "ordered"] = "latest"
    threshold: float | None = Field(None, ge=0, le=1)
    depends: tuple[str, ...] = ()
    owns: tuple[str, ...] | None = Field(None, min_length=1)
    required: tuple[str, ...] = ()
    human_review: bool = False


class SinkSettings(Strict):
    """The outbound side of a data source. ``quiet_period_s`` is how long a lost write may still land.

    ``request_timeout_s`` is that of requests that write, where it is not the connection's. ``consent``: whether a
    patient's consent to sharing is asked for, and ``purpose`` what the sink uses records for.
    ``allow_possible_duplicates`` lets a sink that cannot tell a repeated
    create from a new one be written to all the same.
    """

    enabled: bool = True
    entity_types: dict[str, SinkEntity]
    accept_from: tuple[str, ...] = ()
    rate: RateSettings = RateSettings()
    quiet_period_s: float = Field(5, ge=0, le=7 * 86400, allow_inf_nan=False)
    request_timeout_s: float | None = Field(None, gt=0, le=300)
    threshold: float = Field(0.8, ge=0, le=1)
    client_id: bool = True
    write_auth: Auth | None = None
    windows: WindowSettings = WindowSettings()
    breaker: BreakerSettings = BreakerSettings()
    capabilities: CapabilitySettings = CapabilitySettings()
    human_review: tuple[str, ...] = ()
    consent: Consent = "opt_out"
    purpose: Purpose = "treatment"
    allow_possible_duplicates: bool = False

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return _list_to_defaults(value, "entity_types")

    @field_validator("human_review")
    @classmethod
    def _written(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(info.data.get("entity_types", value)))
        if unknown:
            raise ValueError("names an entity type that is not written to this sink")
        return value

    @property
    def stated_capabilities(self) -> Capabilities:
        """The usual capabilities with what these settings state."""
        return self.capabilities.over(Capabilities(client_id=self.client_id))


class SourceSettings(Strict):
    """What every data source has, whatever its type.

    ``rate``, ``windows`` and ``breaker`` are of reading it; the sink has its own. After ``unhealthy_after`` failed
    polls in a row it counts as unhealthy. ``default_region`` is the country of telephone numbers that state none.
    """

    PLACE: ClassVar[tuple[str, ...]] = ("base_url",)
    """The settings that say whose records these are: with another value what was read before counts no more."""

    mapping: str = Field("fhir_r4", pattern=r"^[a-z0-9_]+$")
    default_region: str = Field("US", pattern=r"^[A-Z]{2}$")
    confidence: float = Field(1.0, ge=0, le=1)
    numeric_versions: bool = False
    resources: dict[str, ResourceSettings] = Field(default_factory=dict)
    rate: ReadRate = ReadRate()
    windows: WindowSettings = WindowSettings()
    breaker: ReadBreakerSettings = ReadBreakerSettings()
    unhealthy_after: int = Field(3, ge=1, le=1000)
    push: PushSettings | None = None
    sink: SinkSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return _list_to_defaults(value, "resources")

    @model_validator(mode="after")
    def _shares_with_a_sink(self) -> Self:
        if self.rate.shared and self.sink is None:
            raise ValueError("rate.shared: there is no sink to share with; state the rate itself")
        return self

    @property
    def push_parser(self) -> PushParser | None:
        """How deliveries of this kind of system are read where settings do not say; None: they must."""
        return None

    @property
    def base(self) -> str | None:
        """The address that absolute references of this source begin with."""
        return None

    @property
    def tokens_in_quota(self) -> bool:
        """Whether requests for tokens count against what the source takes of us."""
        return False

    @property
    def sink_capabilities(self) -> Capabilities:
        """What the sink can do, as far as settings tell."""
        return self.sink.stated_capabilities if self.sink is not None else Capabilities()


class FileDropSettings(SourceSettings):
    """Files that somebody brings; nothing is polled."""

    @model_validator(mode="after")
    def _nothing_to_poll(self) -> FileDropSettings:
        if self.resources or self.sink is not None or self.push is not None:
            raise ValueError("a file drop is neither polled nor written to: leave out resources, push and sink")
        return self


def _list_to_defaults(value: Any, key: str) -> Any:
    """A plain list of names under ``key`` means each with its defaults, as does an empty value."""
    if not isinstance(value, Mapping):
        return value
    named = value.get(key)
    if isinstance(named, list):
        if not all(isinstance(name, str) for name in named) or len(set(map(str, named))) != len(named):
            raise ValueError(f"{key}: a list must hold each name once")
        return {**value, key: {name: {} for name in named}}
    if isinstance(named, Mapping):
        return {**value, key: {name: {} if item is None else item for name, item in named.items()}}
    return value


S = TypeVar("S", bound=BaseModel)

__all__ = [
    "NAME_PATTERN",
    "Auth",
    "BreakerSettings",
    "CapabilitySettings",
    "FileDropSettings",
    "RateSettings",
    "ResourceSettings",
    "SecretReference",
    "SinkEntity",
    "SinkSettings",
    "SourceSettings",
    "Strict",
    "parse",
]  # fmt: skip


def _steps(place: tuple[int | str, ...]) -> list[str]:
    """The keys of a place; the kind that pydantic puts after ``auth`` is none."""
    steps = [str(step) for step in place]
    return [s for n, s in enumerate(steps) if not (n and s in KINDS and steps[n - 1] in ("auth", "write_auth"))]


def parse(model: type[S], value: object, *, file: str = "", at: str = "") -> S:
    """``value`` as ``model``.

    Raises Misconfigured whose ``where`` names the file and the dotted key of the first fault; never the value.
    """
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        faults = exc.errors(include_input=False, include_url=False, include_context=False)
        first, more = faults[0], len(faults) - 1
        key = ".".join(part for part in (at, *_steps(first["loc"])) if part)
        message = first["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:] + (f" (and {more} more)" if more else "")
        raise Misconfigured(message, code="settings", where=": ".join(p for p in (file, key) if p)) from None
