"""Typed settings that every data source has, and the one way to read them from a document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from connector_runner.kernel.errors import Misconfigured

_REFERENCE = re.compile(r"(env|file|secret):\S+")
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def _secret_reference(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
        raise ValueError("must be a reference to a secret (env:NAME, file:/path or secret:name), never its value")
    return text


SecretReference = Annotated[str, AfterValidator(_secret_reference)]


class Strict(BaseModel):
    """A part of settings: an unknown key is an error, and nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Auth(Strict):
    """How requests are authenticated."""

    kind: Literal["none", "bearer"] = "none"
    token: SecretReference | None = None

    @model_validator(mode="after")
    def _complete(self) -> Auth:
        if (self.kind == "bearer") != (self.token is not None):
            raise ValueError("kind bearer needs a token, kind none takes none")
        return self


class ResourceSettings(Strict):
    """One record type that is polled. Without ``full_sync_every_s`` only the source's history tells of deletes."""

    cadence_s: float = Field(60, gt=0, le=31 * 86400)
    full_sync_every_s: float | None = Field(86400, gt=0)
    enabled: bool = True


class RateSettings(Strict):
    """What a sink takes: requests a second, how many at once after a pause, how many in flight."""

    per_second: float = Field(10, gt=0)
    burst: int = Field(5, ge=1)
    concurrency: int = Field(2, ge=1)


class SinkEntity(Strict):
    """How one entity type is written. ``depends`` names entity types that must be in the sink before."""

    enabled: bool = True
    policy: Literal["latest", "ordered"] = "latest"
    threshold: float | None = Field(None, ge=0, le=1)
    depends: tuple[str, ...] = ()


class SinkSettings(Strict):
    """The outbound side of a data source. ``quiet_period_s`` is how long a lost write may still land."""

    enabled: bool = True
    entity_types: dict[str, SinkEntity]
    accept_from: tuple[str, ...] = ()
    rate: RateSettings = RateSettings()
    quiet_period_s: float = Field(5, ge=0)
    threshold: float = Field(0.8, ge=0, le=1)
    client_id: bool = True
    write_auth: Auth | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return _list_to_defaults(value, "entity_types")


class SourceSettings(Strict):
    """What every data source has, whatever its type."""

    mapping: str = Field("fhir_r4", pattern=r"^[a-z0-9_]+$")
    default_region: str = Field("US", pattern=r"^[A-Z]{2}$")
    confidence: float = Field(1.0, ge=0, le=1)
    numeric_versions: bool = False
    resources: dict[str, ResourceSettings] = {}
    sink: SinkSettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return _list_to_defaults(value, "resources")

    @property
    def base(self) -> str | None:
        """The address that absolute references of this source begin with."""
        return None


class FileDropSettings(SourceSettings):
    """Files that somebody brings; nothing is polled."""

    @model_validator(mode="after")
    def _nothing_to_poll(self) -> FileDropSettings:
        if self.resources or self.sink is not None:
            raise ValueError("a file drop is neither polled nor written to: leave out resources and sink")
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


def parse(model: type[S], value: object, *, file: str = "", at: str = "") -> S:
    """``value`` as ``model``.

    Raises Misconfigured whose ``where`` names the file and the dotted key of the first fault; never the value.
    """
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        faults = exc.errors(include_input=False, include_url=False, include_context=False)
        first, more = faults[0], len(faults) - 1
        key = ".".join(part for part in (at, *(str(step) for step in first["loc"])) if part)
        message = first["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:] + (f" (and {more} more)" if more else "")
        raise Misconfigured(message, code="settings", where=": ".join(p for p in (file, key) if p)) from None
