"""The adapters that the suite holds against their simulators. A new one is a module here and a line in ``ADAPTERS``."""

from __future__ import annotations

from tests.conformance.adapters import athenahealth, cerner, eclinicalworks, epic, fhir_store, rest_api, smart_fhir
from tests.conformance.clinic import Adapter

ADAPTERS: tuple[Adapter, ...] = (
    fhir_store.ADAPTER,
    smart_fhir.ADAPTER,
    epic.ADAPTER,
    cerner.ADAPTER,
    athenahealth.ADAPTER,
    eclinicalworks.ADAPTER,
    rest_api.ADAPTER,
)
