"""Typed settings of bulk exports from one FHIR server."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from connector_runner.auth.settings import Strict

Scope = Literal["system", "group", "patient"]


class BulkSettings(Strict):
    """What is exported and how its files are fetched. ``*_s`` are seconds.

    ``scope``: of everything, of the members of ``group``, or of all patients. ``type_filters`` are the IG's
    ``_typeFilter`` (``Observation?category=laboratory``). ``method`` where the server takes one only: versions 1 and 2
    of the IG have GET, version 4 has POST; unset, GET is tried first. ``connections`` files are fetched at a time.
    ``token_origins`` are further origins (``https://files.example``) that the token may be sent to when the manifest
    asks for it. ``poll_s`` is how long to wait where the server does not say; it doubles to ``most_poll_s``.
    """

    scope: Scope = "system"
    group: str | None = Field(None, pattern=r"^[A-Za-z0-9\-.]{1,64}$")
    type_filters: tuple[str, ...] = ()
    method: Literal["GET", "POST"] | None = None
    connections: int = Field(4, ge=1, le=16)
    token_origins: tuple[str, ...] = ()
    poll_s: float = Field(5, gt=0, le=3600)
    most_poll_s: float = Field(120, gt=0, le=86400)
    most_file_bytes: int = Field(16 * 1024**3, ge=1024)

    @model_validator(mode="after")
    def _named_group(self) -> BulkSettings:
        if (self.scope == "group") != (self.group is not None):
            raise ValueError("the scope group needs a group, the others take none")
        return self

    @field_validator("token_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parts = urlsplit(text)
            if parts.scheme != "https" or not parts.hostname or parts.path or parts.query or "@" in parts.netloc:
                raise ValueError("an origin is https://host or https://host:port")
        return value
