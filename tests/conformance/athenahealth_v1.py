"""What of athenahealth goes by its older API, v1: appointments are read from it, and all that is written goes there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connector_runner.connectors.athenahealth import forms, rows, source
from connector_runner.connectors.athenahealth import sink as athenahealth_sink
from connector_runner.connectors.classification import classify
from connector_runner.connectors.fhir.ehr_sink import EHRSink
from connector_runner.connectors.sinks import Outcome
from connector_runner.unification import primitives
from connector_runner.unification.loader import load_mappings
from connector_runner.unification.model import MappingContext
from connector_runner.unification.transforms import TRANSFORMS
from tests.conformance.adapters.athenahealth import OURS, a_problem, a_weight
from tests.conformance.clinic import Clinic, read_all, read_on
from tests.conformance.quirks import Quirk, attribute
from tests.conformance.test_writing import OURS as REF

MAPPINGS = Path(__file__).parents[2] / "mappings"


def appointments_come_from_v1(clinic: Clinic) -> None:
    """FHIR finds an appointment by its id only; v1 lists those that are booked.

    Source: CapabilityStatement of 2022-06-06 (Appointment: _id, base-appointment-id); metriport/metriport.
    """
    found, cursor = read_all(clinic.source(), "Appointment")
    booked = [
        one
        for one in clinic.shown("Appointment").values()
        if one["status"] in ("booked", "arrived", "checked-in", "fulfilled")
        and any(part["actor"]["reference"].startswith("Patient/") for part in one["participant"])
    ]
    assert 0 < len(found) <= len(booked)
    number, record = next(iter(found.items()))
    stored = next(one for one in booked if one["id"].endswith(f"-{number}"))
    clinic.put({**stored, "status": "cancelled"})
    later, _ = read_on(clinic.source(), "Appointment", cursor)
    assert later[number].body is not None
    assert later[number].body["appointmentstatus"] == "x"  # type: ignore[index]
    assert record.body is not None
    direct = clinic.source().read("Appointment", number)
    assert direct is not None
    assert direct.body == later[number].body


def lists_of_v1_go_on_at_next(clinic: Clinic) -> None:
    """A list of v1 has ``limit`` rows and the address of the next.

    Source: vendor sheet ("v1 next URL + limit 1000 (Metriport)"); metriport/metriport paginateListResponse.
    """
    whole, _ = read_all(clinic.source(), "Appointment")
    clinic.vendor(rows=3)
    parts, _ = read_all(clinic.source(), "Appointment")
    assert parts.keys() == whole.keys()
    assert len(parts) > 3


def dates_of_v1_are_month_first(clinic: Clinic) -> None:
    """v1 writes ``MM/DD/YYYY``, and a time of day without a zone.

    Source: vendor sheet ("v1 dates MM/DD/YYYY"); metriport/metriport (athenaDateFormat); go-athenahealth.
    """
    found, _ = read_all(clinic.source(), "Appointment")
    mapping = load_mappings(MAPPINGS).inbound("athenahealth", "Appointment")
    assert mapping is not None
    for number, record in found.items():
        stored = next(one for one in clinic.records("Appointment") if one["id"].endswith(f"-{number}"))
        mapped = mapping.map(record.body, MappingContext("athena"))
        assert mapped.problems == ()
        wanted = datetime.fromisoformat(stored["start"])
        assert datetime.fromisoformat(mapped.facts["start"]) == wanted
        assert mapped.facts["patient"]["ref"].startswith(f"athena:Patient:{OURS}E-")


# Writing


def a_problem_is_written_as_a_form(clinic: Clinic) -> None:
    """FHIR takes no Condition; v1 takes a form with a SNOMED code and ``MM/DD/YYYY``.

    Source: vendor sheet ("real writes in v1 REST"); metriport/metriport createProblem.
    """
    reply = clinic.sink().create(a_problem(clinic), REF)
    assert reply.outcome is Outcome.LANDED
    made = next(one for one in clinic.records("Condition") if f"Condition/{one['id']}" == reply.ref)
    assert made["onsetDateTime"] == "2026-02-27"


def a_weight_is_written_in_grams(clinic: Clinic) -> None:
    """v1 keeps weights in grams, lengths in centimetres, temperatures in Fahrenheit, whatever was measured in.

    Source: vendor sheet ("resource may be in wrong units -> convert"); metriport/metriport convertValue.
    """
    reply = clinic.sink().create(a_weight(clinic), REF)
    assert reply.outcome is Outcome.LANDED
    made = next(one for one in clinic.records("Observation") if f"Observation/{one['id']}" == reply.ref)
    assert Decimal(str(made["valueQuantity"]["value"])) == Decimal("68038.8")
    stone = {**a_weight(clinic), "valueQuantity": {"value": 11, "unit": "st", "code": "[stone_av]"}}
    sent = len(clinic.journal())
    refused = clinic.sink().create(stone, REF)
    assert (refused.outcome, refused.cause) == (Outcome.POISON, "unit_unknown")
    assert len(clinic.journal()) == sent


def a_success_can_be_a_refusal(clinic: Clinic) -> None:
    """A write that was not accepted is answered 200 with ``success: false``.

    Source: metriport/metriport createProblem: success and errormessage are looked at, not the status.
    """
    clinic.vendor(refuse_writes=True)
    reply = clinic.sink().create(a_problem(clinic), REF)
    assert (reply.outcome, reply.cause) == (Outcome.POISON, "not_accepted")


def what_was_written_is_found_by_what_v1_keeps(clinic: Clinic) -> None:
    """v1 keeps no identifier of ours and not all that was sent; a weight comes back in another unit.

    Source: metriport/metriport createProblem and createVitals (fields of the forms).
    """
    sink, body = clinic.sink(), a_weight(clinic)
    made = sink.create(body, REF)
    assert isinstance(sink, EHRSink)
    assert sink.find_created(body, REF).ref == made.ref


def the_allowance_is_read_from_the_headers(clinic: Clinic) -> None:
    """Ratelimit-* and X-Ratelimit-* come with every answer.

    Source: recorded answers of the vendor's sandbox in fastenhealth/fasten-sources (limit 500, reset 1).
    """
    clinic.vendor(allowance=7)
    pace = clinic.sink().create(a_problem(clinic), REF).pace
    assert pace is not None
    assert (pace.limit, pace.remaining, pace.reset_s) == (7, 6, 1.0)


def first_page_only(patch: pytest.MonkeyPatch) -> None:
    """Lists end with their first page."""
    whole = rows.pages

    def pages(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for listed, _ in whole(*args, **kwargs):
            yield listed, None
            return

    patch.setattr(rows, "pages", pages)


def dates_as_fhir_has_them(patch: pytest.MonkeyPatch) -> None:
    """The date of a row is read as a FHIR date."""
    patch.setitem(TRANSFORMS, "us_moment", lambda value, path, run: primitives.date(value[0], path, run))


V1_QUIRKS = (
    Quirk(appointments_come_from_v1, attribute(source.AthenahealthSource, "pages", source.FHIRSource.pages)),
    Quirk(lists_of_v1_go_on_at_next, first_page_only),
    Quirk(dates_of_v1_are_month_first, dates_as_fhir_has_them),
    Quirk(a_problem_is_written_as_a_form, attribute(forms, "_day", lambda moment, where: moment)),
    Quirk(a_weight_is_written_in_grams, attribute(forms, "_TO", {})),
    Quirk(
        a_success_can_be_a_refusal,
        attribute(athenahealth_sink.AthenahealthSink, "_made", lambda self, form, reply, document: reply),
    ),
    Quirk(what_was_written_is_found_by_what_v1_keeps, attribute(forms, "kept", lambda body: None)),
    Quirk(
        the_allowance_is_read_from_the_headers,
        attribute(classify, "pace_of", lambda headers, now: None),
    ),
)
