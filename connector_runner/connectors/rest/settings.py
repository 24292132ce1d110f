"""Typed settings of a REST API: where its records are, how they are told apart, how they are changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from connector_runner.auth.settings import Auth, NoAuth, Strict
from connector_runner.connectors.settings import SinkSettings, SourceSettings
from connector_runner.connectors.sinks import Capabilities, Outcome

_RECORD: Final = re.compile(r"[A-Z][A-Za-z]{0,63}")
_FIELD: Final = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
_HEADER: Final = r"^[A-Za-z][A-Za-z0-9-]*$"
_PATH: Final = r"^[A-Za-z0-9_.~{}/-]+$"


class RecordSettings(Strict):
    """One kind of record. Fields are named by dotted paths in the record as the API shows it; what is below
    ``body_field`` (``external_id_field``, ``read_only``, ``known_by``) by those from there.

    ``create`` is ``upsert`` (``upsert_method`` on ``upsert_path``), ``idempotent_post`` (a POST whose
    ``idempotency_header`` is the same at each repeat) or a plain ``post``. ``version`` is the ``etag`` header, stated
    in If-Match; a ``field`` of the record, sent back with it; or ``none``. ``update`` is ``PUT`` of the whole record
    or ``PATCH`` of what changed (RFC 7386). ``list_field`` is where a search has its list; without, it is the list.
    ``body_field`` is where the fields of a record are, where not beside its id. ``known_by``: search parameter ->
    field, of those that together make a record look like another.
    """

    path: str = Field(pattern=_PATH)
    id_field: str = Field("id", pattern=_FIELD)
    external_id_field: str | None = Field(None, pattern=_FIELD)
    create: Literal["upsert", "idempotent_post", "post"] = "upsert"
    upsert_path: str | None = Field(None, pattern=_PATH)
    upsert_method: Literal["PUT", "PATCH"] = "PUT"
    read_by_external_id: bool = True
    idempotency_header: str = Field("Idempotency-Key", pattern=_HEADER)
    read_path: str | None = Field(None, pattern=_PATH)
    search_param: str | None = Field(None, pattern=r"^[A-Za-z0-9_.\[\]-]+$")
    list_field: str | None = Field(None, pattern=_FIELD)
    body_field: str | None = Field(None, pattern=_FIELD)
    version: Literal["etag", "field", "none"] = "none"
    version_field: str | None = Field(None, pattern=_FIELD)
    updated_field: str | None = Field(None, pattern=_FIELD)
    update: Literal["PUT", "PATCH"] = "PATCH"
    merge_content_type: Literal["application/json", "application/merge-patch+json"] = "application/json"
    read_only: tuple[str, ...] = ()
    known_by: dict[str, str] = Field(default_factory=dict)

    @field_validator("upsert_path", "read_path")
    @classmethod
    def _placed(cls, value: str | None, info: ValidationInfo) -> str | None:
        wanted = "{external_id}" if info.field_name == "upsert_path" else "{id}"
        if value is not None and (value.count(wanted) != 1 or "{" in value.replace(wanted, "")):
            raise ValueError(f"must hold {wanted} once, and nothing else in braces")
        return value

    @field_validator("path")
    @classmethod
    def _plain(cls, value: str) -> str:
        if "{" in value or "}" in value:
            raise ValueError("holds no braces")
        return value.strip("/")

    @model_validator(mode="after")
    def _complete(self) -> RecordSettings:
        if self.create == "upsert" and self.upsert_path is None:
            raise ValueError("an upsert needs an upsert_path; else say create: idempotent_post, or post")
        if self.search_param is not None and self.external_id_field is None:
            raise ValueError("a search by external id needs the external_id_field")
        if (self.version == "field") != (self.version_field is not None):
            raise ValueError("version: field and version_field belong together")
        return self

    @property
    def can_find(self) -> bool:
        """Whether a record that we made can be told from others."""
        return self.search_param is not None or (self.create == "upsert" and self.read_by_external_id)

    @property
    def at_least_once(self) -> bool:
        """Whether a repeated create may make a second record."""
        return self.create == "post" and not self.can_find


class ErrorSettings(Strict):
    """Where an error says what it is. ``outcomes``: its codes -> what they mean, where the status does not tell."""

    code: str | None = Field(None, pattern=_FIELD)
    field: str | None = Field(None, pattern=_FIELD)
    outcomes: dict[str, Outcome] = Field(default_factory=dict)

    @field_validator("outcomes")
    @classmethod
    def _failures(cls, value: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
        if any(outcome in (Outcome.LANDED, Outcome.EXISTED, Outcome.UNDONE) for outcome in value.values()):
            raise ValueError("an error has not landed")
        return value


class RestSinkSettings(SinkSettings):
    """The outbound side; the API chooses the ids."""

    client_id: Literal[False] = False

    @model_validator(mode="after")
    def _possible(self) -> RestSinkSettings:
        stated = self.capabilities
        if stated.client_id or stated.transaction or stated.validate_:
            raise ValueError("capabilities: a REST API has neither ids of ours nor transactions nor $validate")
        return self


class RestSettings(SourceSettings):
    """Where the API is. ``records``: name of a kind of record, as the mappings call it -> how it is written.

    ``vendor`` is whose API it is: some errors mean another thing there (see connectors/classification).
    """

    base_url: str
    auth: Auth = NoAuth()
    request_timeout_s: float = Field(15, gt=0, le=300)
    vendor: Literal["hubspot", "salesforce"] | None = None
    records: dict[str, RecordSettings] = Field(min_length=1)
    errors: ErrorSettings = ErrorSettings()
    sink: RestSinkSettings | None = None

    @model_validator(mode="after")
    def _nothing_to_read(self) -> RestSettings:
        if self.push is not None:
            raise ValueError("nothing is read from this type of source, so nothing can be pushed: leave out push")
        return self

    @model_validator(mode="before")
    @classmethod
    def _mapped(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and not value.get("mapping"):
            raise ValueError("mapping: say which mappings this API's records follow")
        return value

    @field_validator("base_url")
    @classmethod
    def _http_base(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an absolute http or https URL")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must hold neither credentials nor a query nor a fragment")
        return value.rstrip("/")

    @field_validator("records")
    @classmethod
    def _named_as_types(cls, value: Mapping[str, RecordSettings]) -> Mapping[str, RecordSettings]:
        if not all(_RECORD.fullmatch(name) for name in value):
            raise ValueError("a kind of record is named in letters, the first one a capital: Contact")
        return value

    @model_validator(mode="after")
    def _only_written(self) -> RestSettings:
        if self.resources:
            raise ValueError("a REST API is written to, not polled: leave out resources")
        return self

    @property
    def base(self) -> str:
        """The address that absolute references of this source begin with."""
        return self.base_url

    @property
    def sink_capabilities(self) -> Capabilities:
        """What these settings make of the API, and what they state over that. It can what all its records can."""
        kinds = self.records.values()
        usual = Capabilities(
            client_id=False,
            conditional_create=all(kind.create != "post" for kind in kinds),
            if_match=412 if all(kind.version != "none" for kind in kinds) else None,
            patch=all(kind.update == "PATCH" for kind in kinds),
            search=all(kind.can_find for kind in kinds),
            at_least_once=any(kind.at_least_once for kind in kinds),
        )
        return self.sink.capabilities.over(usual) if self.sink is not None else usual
