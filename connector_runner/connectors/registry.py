"""From a source type to what implements it. Beside bootstrap the only place that names a vendor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from connector_runner.connectors.base import DataSource, Reveal, Source
from connector_runner.connectors.fhir_store.client import FHIRClient
from connector_runner.connectors.fhir_store.settings import FhirStoreSettings
from connector_runner.connectors.fhir_store.sink import FHIRSink
from connector_runner.connectors.fhir_store.source import FHIRSource
from connector_runner.connectors.rest.settings import RestSettings
from connector_runner.connectors.rest.sink import RestSink
from connector_runner.connectors.settings import FileDropSettings, SourceSettings
from connector_runner.connectors.sinks import Sink
from connector_runner.infra.http import HTTP
from connector_runner.kernel.errors import Misconfigured

OpenSource = Callable[[HTTP, SourceSettings, Reveal], Source]
OpenSink = Callable[[HTTP, SourceSettings, Reveal], Sink]


@dataclass(frozen=True, slots=True)
class SourceType:
    """What a type of data source is made of; without ``open`` nothing is polled, without ``sink`` nothing written."""

    settings: type[SourceSettings]
    open: OpenSource | None = None
    sink: OpenSink | None = None


def _open_fhir_store(http: HTTP, settings: SourceSettings, reveal: Reveal) -> Source:
    if not isinstance(settings, FhirStoreSettings):
        raise Misconfigured("these are not the settings of a FHIR store", code="settings")
    return FHIRSource(FHIRClient(http, settings, reveal))


def _open_fhir_sink(http: HTTP, settings: SourceSettings, reveal: Reveal) -> Sink:
    if not isinstance(settings, FhirStoreSettings) or settings.sink is None:
        raise Misconfigured("these are not the settings of a FHIR store that is written to", code="settings")
    return FHIRSink(
        FHIRClient(http, settings, reveal),
        settings.sink_capabilities,
        vendor=settings.vendor or "",
        search_by=settings.search_by,
    )


def _open_rest_sink(http: HTTP, settings: SourceSettings, reveal: Reveal) -> Sink:
    if not isinstance(settings, RestSettings) or settings.sink is None:
        raise Misconfigured("these are not the settings of a REST API that is written to", code="settings")
    return RestSink(http, settings, reveal)


SOURCE_TYPES: dict[str, SourceType] = {
    "fhir_store": SourceType(FhirStoreSettings, _open_fhir_store, _open_fhir_sink),
    "rest_api": SourceType(RestSettings, sink=_open_rest_sink),
    "file_drop": SourceType(FileDropSettings),
}


def source_type(name: str, *, where: str = "source_type") -> SourceType:
    """The implementation of a source type; Misconfigured names those that there are."""
    found = SOURCE_TYPES.get(name)
    if found is None:
        known = ", ".join(sorted(SOURCE_TYPES))
        raise Misconfigured(f"there is no such source type; there are: {known}", code="settings", where=where)
    return found


def open_source(source: DataSource, http: HTTP, reveal: Reveal) -> Source:
    """The inbound side of a data source; Misconfigured (``not_polled``) when it has none."""
    kind = source_type(source.source_type)
    if kind.open is None:
        raise Misconfigured("nothing is polled from this type of source", code="not_polled", where=source.name)
    return kind.open(http, source.settings, reveal)


def open_sink(source: DataSource, http: HTTP, reveal: Reveal) -> Sink:
    """The outbound side of a data source; Misconfigured (``not_a_sink``) when it has none."""
    kind = source_type(source.source_type)
    if kind.sink is None:
        raise Misconfigured("nothing is written to this type of source", code="not_a_sink", where=source.name)
    return kind.sink(http, source.settings, reveal)
