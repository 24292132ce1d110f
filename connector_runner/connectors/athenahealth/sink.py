"""Writing to athenahealth: problems and vital signs by v1 forms, questionnaire responses by FHIR; creates only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from connector_runner.connectors.athenahealth import forms
from connector_runner.connectors.athenahealth.client import AthenahealthClient
from connector_runner.connectors.athenahealth.forms import Form, Unfit
from connector_runner.connectors.athenahealth.ids import fhir_id, practice_token
from connector_runner.connectors.athenahealth.settings import AthenahealthSettings
from connector_runner.connectors.base import Opening
from connector_runner.connectors.classification.classify import classify
from connector_runner.connectors.classification.failures import reply_to_failure
from connector_runner.connectors.fhir.ehr_sink import EHRSink, Offers
from connector_runner.connectors.settings import SourceSettings
from connector_runner.connectors.sinks import NO_ID, Json, Outcome, Reply, Sink
from connector_runner.kernel.clock import Clock, utc_now
from connector_runner.kernel.errors import Misconfigured, RunnerError

OFFERS: Final = Offers(create=frozenset({"Condition", "Observation", "QuestionnaireResponse"}), identified=frozenset())
_MADE_BY: Final[dict[str, Callable[[Json, str, str], Form]]] = {"Condition": forms.problem, "Observation": forms.vital}


def open_sink(settings: SourceSettings, opening: Opening) -> Sink:
    """The outbound side of a practice."""
    if not isinstance(settings, AthenahealthSettings) or settings.sink is None:
        raise Misconfigured(
            "these are not the settings of an athenahealth practice that is written to", code="settings"
        )
    return AthenahealthSink(AthenahealthClient(opening, settings))


class AthenahealthSink(EHRSink):
    """Creates what v1 takes. Nothing bears an identifier of ours: what says what we said is taken for ours."""

    def __init__(self, client: AthenahealthClient, clock: Clock = utc_now) -> None:
        settings = client.practice
        vendor = settings.vendor or ""
        super().__init__(client, settings.sink_capabilities, OFFERS, vendor=vendor, search_by="GET", clock=clock)
        self._athena = client
        self._now = clock
        self._department = (settings.sink.department if settings.sink is not None else None) or ""

    def create(self, body: Json, client_ref: str) -> Reply:
        """A form for what v1 takes; else FHIR."""
        make = _MADE_BY.get(str(body["resourceType"]))
        if make is None:
            return super().create(body, client_ref)
        try:
            form = make(body, self._athena.practice.practice, self._department)
        except Unfit as fault:
            return Reply(Outcome.POISON, fault.code, cause=fault.code, where=fault.where)
        try:
            answer = self._athena.v1("POST", form.path, form=form.body, kind="write")
        except RunnerError as error:
            return reply_to_failure(error)
        classified = classify(answer, "create", "athenahealth", self._now())
        reply, document = classified.reply, classified.evidence.document
        if reply.outcome is not Outcome.LANDED:
            return reply
        return self._made(form, reply, document if isinstance(document, dict) else {})

    def _made(self, form: Form, reply: Reply, document: Json) -> Reply:
        """v1 says ``success`` and the number of what it made; an error comes with status 200 too."""
        if document.get("success") in (False, "false"):
            return replace(reply, outcome=Outcome.POISON, code="not_accepted", cause="not_accepted")
        number = document.get("problemid") if form.makes == "Condition" else _first_vital(document)
        record_id = fhir_id(self._athena.practice.practice, form.makes, number)
        if record_id is None:
            return replace(reply, outcome=Outcome.UNKNOWN, code=NO_ID, cause=NO_ID)
        return replace(reply, ref=f"{form.makes}/{record_id}")

    def find_created(self, body: Json, client_ref: str) -> Reply:
        """Among those of its patient: of a form, what v1 keeps of it, in the units in which it keeps it."""
        kept = forms.kept(body)
        return super().find_created(body if kept is None else kept, client_ref)

    def identified(self, body: Json, client_ref: str) -> Json:
        """As it is: no identifier of ours would be kept."""
        return dict(body)

    def _question(self, body: Json) -> list[tuple[str, str]] | None:
        asked = super()._question(body)
        practice = ("ah-practice", practice_token(self._athena.practice.practice))
        return None if asked is None else [*asked, practice]


def _first_vital(document: Json) -> object:
    listed = document.get("vitalids")
    first = listed[0] if isinstance(listed, list) and listed else None
    return first.get("vitalid") if isinstance(first, dict) else None
