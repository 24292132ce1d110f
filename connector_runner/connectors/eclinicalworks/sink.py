"""Writing to eClinicalWorks: questionnaire responses, and nothing else that is public."""

from __future__ import annotations

from typing import Final

from connector_runner.connectors.base import Opening
from connector_runner.connectors.eclinicalworks.client import EclinicalworksClient
from connector_runner.connectors.eclinicalworks.settings import EclinicalworksSettings
from connector_runner.connectors.fhir.ehr_sink import EHRSink, Offers
from connector_runner.connectors.settings import SourceSettings
from connector_runner.connectors.sinks import Json, Sink
from connector_runner.kernel.errors import Misconfigured

OFFERS: Final = Offers(create=frozenset({"QuestionnaireResponse"}), identified=frozenset())


def open_sink(settings: SourceSettings, opening: Opening) -> Sink:
    """The outbound side of a practice."""
    if not isinstance(settings, EclinicalworksSettings) or settings.sink is None:
        raise Misconfigured("these are not the settings of an eClinicalWorks that is written to", code="settings")
    return EclinicalworksSink(
        EclinicalworksClient(opening, settings),
        settings.sink_capabilities,
        OFFERS,
        vendor=settings.vendor or "",
        search_by=settings.search_by,
    )


class EclinicalworksSink(EHRSink):
    """Creates only. What its numeric ``status`` codes mean is in connectors/classification."""

    def identified(self, body: Json, client_ref: str) -> Json:
        """As it is: R4 has room for one identifier in a questionnaire response, and nobody searches by it."""
        return dict(body)
