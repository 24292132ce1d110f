"""From a source type to what implements it. Beside bootstrap the only place that names a vendor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from connector_runner.connectors.base import DataSource, Opening, Source
from connector_runner.connectors.fhir_store import sink as fhir_store_sink
from connector_runner.connectors.fhir_store import source as fhir_store_source
from connector_runner.connectors.fhir_store.settings import FhirStoreSettings
from connector_runner.connectors.rest import sink as rest_sink
from connector_runner.connectors.rest.settings import RestSettings
from connector_runner.connectors.settings import FileDropSettings, SourceSettings
from connector_runner.connectors.sinks import Sink
from connector_runner.kernel.errors import Misconfigured

OpenSource = Callable[[SourceSettings, Opening], Source]
OpenSink = Callable[[SourceSettings, Opening], Sink]


@dataclass(frozen=True, slots=True)
class SourceType:
    """What a type of data source is made of; without ``open`` nothing is polled, without ``sink`` nothing written."""

    settings: type[SourceSettings]
    open: OpenSource | None = None
    sink: OpenSink | None = None


SOURCE_TYPES: dict[str, SourceType] = {
    "fhir_store": SourceType(FhirStoreSettings, fhir_store_source.open_source, fhir_store_sink.open_sink),
    "rest_api": SourceType(RestSettings, sink=rest_sink.open_sink),
    "file_drop": SourceType(FileDropSettings),
}


def source_type(name: str, *, where: str = "source_type") -> SourceType:
    """The implementation of a source type; Misconfigured names those that there are."""
    found = SOURCE_TYPES.get(name)
    if found is None:
        known = ", ".join(sorted(SOURCE_TYPES))
        raise Misconfigured(f"there is no such source type; there are: {known}", code="settings", where=where)
    return found


def open_source(source: DataSource, opening: Opening) -> Source:
    """The inbound side of a data source; Misconfigured (``not_polled``) when it has none."""
    kind = source_type(source.source_type)
    if kind.open is None:
        raise Misconfigured("nothing is polled from this type of source", code="not_polled", where=source.name)
    return kind.open(source.settings, opening)


def open_sink(source: DataSource, opening: Opening) -> Sink:
    """The outbound side of a data source; Misconfigured (``not_a_sink``) when it has none."""
    kind = source_type(source.source_type)
    if kind.sink is None:
        raise Misconfigured("nothing is written to this type of source", code="not_a_sink", where=source.name)
    return kind.sink(source.settings, opening)
