"""Writing to eClinicalWorks: questionnaire responses, and nothing else that is public."""

from __future__ import annotations

from connector_runner.connectors.base import Opening
from connector_runner.connectors.eclinicalworks.client import EclinicalworksClient
from connector_runner.connectors.eclinicalworks.settings import EclinicalworksSettings
from connector_runner.connectors.fhir.sink import FHIRSink
from connector_runner.connectors.settings import SourceSettings
from connector_runner.connectors.sinks import Json, Outcome, Reply, Sink
from connector_runner.kernel.errors import Misconfigured


def open_sink(settings: SourceSettings, opening: Opening) -> Sink:
    """The outbound side of a practice."""
    if not isinstance(settings, EclinicalworksSettings) or settings.sink is None:
        raise Misconfigured("these are not the settings of an eClinicalWorks that is written to", code="settings")
    return EclinicalworksSink(
        EclinicalworksClient(opening, settings),
        settings.sink_capabilities,
        vendor=settings.vendor or "",
        search_by=settings.search_by,
    )


class EclinicalworksSink(FHIRSink):
    """Creates only. What its numeric ``status`` codes mean is in connectors/classification."""

    def update(self, ref: str, body: Json, etag: str | None, *, before: Json | None = None) -> Reply:
        """Not offered by the public interface."""
        return Reply(Outcome.POISON, "update_not_offered", cause="update_not_offered")

    def identified(self, body: Json, client_ref: str) -> Json:
        """As it is: a questionnaire response is not searched for by an identifier."""
        return dict(body)
