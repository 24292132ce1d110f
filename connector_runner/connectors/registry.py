"""From a source type to what implements it: the only place that imports vendors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connector_runner.connectors.athenahealth import sink as athenahealth_sink
from connector_runner.connectors.athenahealth import source as athenahealth_source
from connector_runner.connectors.athenahealth.settings import AthenahealthSettings
from connector_runner.connectors.base import DataSource, Opening, Source
from connector_runner.connectors.cerner import sink as cerner_sink
from connector_runner.connectors.cerner import source as cerner_source
from connector_runner.connectors.cerner.settings import CernerSettings
from connector_runner.connectors.eclinicalworks import sink as eclinicalworks_sink
from connector_runner.connectors.eclinicalworks import source as eclinicalworks_source
from connector_runner.connectors.eclinicalworks.settings import EclinicalworksSettings
from connector_runner.connectors.epic import sink as epic_sink
from connector_runner.connectors.epic import source as epic_source
from connector_runner.connectors.epic.settings import EpicSettings
from connector_runner.connectors.fhir_store import sink as fhir_store_sink
from connector_runner.connectors.fhir_store import source as fhir_store_source
from connector_runner.connectors.fhir_store.settings import FhirStoreSettings
from connector_runner.connectors.rest import sink as rest_sink
from connector_runner.connectors.rest.settings import RestSettings
from connector_runner.connectors.settings import FileDropSettings, SourceSettings
from connector_runner.connectors.sinks import Sink
from connector_runner.connectors.smart_fhir import sink as smart_fhir_sink
from connector_runner.connectors.smart_fhir import source as smart_fhir_source
from connector_runner.connectors.smart_fhir.settings import SmartFhirSettings
from connector_runner.kernel.errors import Misconfigured

OpenSource = Callable[[SourceSettings, Opening], Source]
OpenSink = Callable[[SourceSettings, Opening], Sink]


@dataclass(frozen=True, slots=True)
class SourceType:
    """What a type of data source is made of; without ``open`` nothing is polled, without ``sink`` nothing written."""

    settings: type[SourceSettings]
    open: OpenSource | None = None
    sink: OpenSink | None = None


# An EHR is of one type whoever makes it; ``adapter`` in its settings says who, and with that what the rest must be.
EHR = "ehr"
ADAPTERS: dict[str, SourceType] = {
    "epic": SourceType(EpicSettings, epic_source.open_source, epic_sink.open_sink),
    "cerner": SourceType(CernerSettings, cerner_source.open_source, cerner_sink.open_sink),
    "athenahealth": SourceType(AthenahealthSettings, athenahealth_source.open_source, athenahealth_sink.open_sink),
    "eclinicalworks": SourceType(
        EclinicalworksSettings, eclinicalworks_source.open_source, eclinicalworks_sink.open_sink
    ),
}

SOURCE_TYPES: dict[str, SourceType] = {
    EHR: SourceType(SourceSettings),
    "fhir_store": SourceType(FhirStoreSettings, fhir_store_source.open_source, fhir_store_sink.open_sink),
    "smart_fhir": SourceType(SmartFhirSettings, smart_fhir_source.open_source, smart_fhir_sink.open_sink),
    "rest_api": SourceType(RestSettings, sink=rest_sink.open_sink),
    "file_drop": SourceType(FileDropSettings),
}


def source_type(name: str, settings: Mapping[str, Any], *, file: str = "", at: str = "") -> SourceType:
    """The implementation of a source type; of an EHR, that of the adapter which its settings name.

    Misconfigured names those that there are, in the document ``at`` of ``file``.
    """
    if name != EHR:
        return _one_of(SOURCE_TYPES, name, "source type", _where(file, at, "source_type"))
    return _one_of(ADAPTERS, settings.get("adapter"), "adapter", _where(file, at, "settings.adapter"))


def implementation(source: DataSource) -> SourceType:
    """What a data source is made of."""
    return source_type(source.source_type, {"adapter": getattr(source.settings, "adapter", None)}, file=source.name)


def _one_of(known: Mapping[str, SourceType], name: object, what: str, where: str) -> SourceType:
    found = known.get(name) if isinstance(name, str) else None
    if found is None:
        message = f"there is no such {what}; there are: {', '.join(sorted(known))}"
        raise Misconfigured(message, code="settings", where=where)
    return found


def _where(file: str, at: str, key: str) -> str:
    return ": ".join(part for part in (file, f"{at}.{key}".lstrip(".")) if part)


def open_source(source: DataSource, opening: Opening) -> Source:
    """The inbound side of a data source; Misconfigured (``not_polled``) when it has none."""
    kind = implementation(source)
    if kind.open is None:
        raise Misconfigured("nothing is polled from this type of source", code="not_polled", where=source.name)
    return kind.open(source.settings, opening)


def open_sink(source: DataSource, opening: Opening) -> Sink:
    """The outbound side of a data source; Misconfigured (``not_a_sink``) when it has none."""
    kind = implementation(source)
    if kind.sink is None:
        raise Misconfigured("nothing is written to this type of source", code="not_a_sink", where=source.name)
    return kind.sink(source.settings, opening)
