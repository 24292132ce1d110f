"""Typed settings of a connection to one tenant of Oracle Health Millennium."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from connector_runner.connectors.fhir.ehr import EHRSettings
from connector_runner.connectors.fhir.settings import Vendor
from connector_runner.connectors.sinks import Capabilities


class CernerSettings(EHRSettings):
    """``server`` is the FHIR R4 service (``https://.../r4``), ``tenant`` the customer's id, a step in the path.

    Together they are ``base_url``. ``history`` is not asked for: no Millennium offers it.
    """

    adapter: Literal["cerner"]
    server: str
    tenant: str = Field(pattern=r"^[A-Za-z0-9-]{1,64}$")
    vendor: Vendor | None = "oracle"
    history: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_tenant(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        server, tenant, stated = (value.get(key) for key in ("server", "tenant", "base_url"))
        if not isinstance(server, str) or not isinstance(tenant, str):
            return value
        made = f"{server.rstrip('/')}/{tenant}"
        if stated is not None and stated != made:
            raise ValueError("base_url follows from server and tenant: leave it out")
        return {**value, "base_url": made}

    @property
    def usual(self) -> Capabilities:
        """No conditional create; a stale If-Match is answered 409, and JSON Patch is taken."""
        return Capabilities(client_id=False, conditional_create=False, if_match=409, patch=True)
