"""What comes back from a sink, and what two systems make of each other's word: no change runs in a circle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

from connector_runner.connectors.sinks import Json, Reply, Sink
from connector_runner.connectors.terms import SinkTerms
from connector_runner.infra.database import Tx
from connector_runner.outbound.sinks.directory import Sinks
from connector_runner.sandbox import launch
from connector_runner.world import reading
from connector_runner.world.fold import Claim, Settled
from tests.integration.outbound_stack import Clinic, System, a_patient
from tests.integration.test_drain import PATIENTS, phones, spoken
from tests.integration.test_rest_drain import apply_crm, contacts

Change = Callable[[Json], Json]


def a_pair(clinic: Clinic, ehr: System, store: System, **more: Any) -> None:
    """Two systems that each take the other's word."""
    clinic.source("ehr", ehr, accept_from=["store"], **(more or PATIENTS))
    clinic.source("store", store, accept_from=["ehr"], **(more or PATIENTS))


def landed(system: System) -> int:
    """Writes that a system committed, whoever sent them."""
    return sum(1 for entry in system.writes() if entry["committed"])


def settle(clinic: Clinic, rounds: int = 3) -> None:
    """Read and write both systems again and again."""
    for _ in range(rounds):
        for name in ("ehr", "store"):
            clinic.poll(name, "Patient")
        for name in ("ehr", "store"):
            clinic.flow(name)


def atom(clinic: Clinic, name: str, canonical: str = "ehr:Patient:p1") -> Settled:
    with clinic.database.begin(clinic.workspace) as tx:
        view = reading.view(tx, clinic.workspace, canonical)
    assert view is not None
    return view.folded.atoms[name]


def claims(settled: Settled) -> tuple[Claim, ...]:
    return (settled.winner, *settled.losers)


def only_patient(system: System) -> Json:
    [patient] = system.all("Patient")
    return patient


@pytest.fixture(params=[True, False], ids=["our id", "their id"])
def client_id(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_a_change_of_a_system_never_returns_to_it_and_reaches_who_opted_in(
    clinic: Clinic, ehr: System, store: System, client_id: bool
) -> None:
    clinic.source("ehr", ehr, accept_from=["store"], client_id=client_id, **PATIENTS)
    clinic.source("store", store, accept_from=["ehr"], client_id=client_id, **PATIENTS)
    ehr.put(a_patient())
    settle(clinic)
    ehr.put(a_patient(phone="617-555-0777"))
    settle(clinic)
    assert [entry["method"] for entry in ehr.writes()] == ["PUT", "PUT"], "theirs, and none of ours"
    assert phones(only_patient(store)) == ["617-555-0777"]
    assert landed(store) == 2
    theirs = only_patient(store)
    store.put({**theirs, "gender": "other"})
    settle(clinic)
    assert ehr.get("Patient/p1")["gender"] == "other"
    assert (landed(ehr), landed(store)) == (3, 3)
    assert clinic.count("entity") == 1


def test_our_value_that_is_read_back_stays_ours_and_worth_what_it_was(
    clinic: Clinic, ehr: System, store: System
) -> None:
    a_pair(clinic, ehr, store)
    ehr.put(a_patient())
    settle(clinic)
    clinic.judge(spoken(clinic), kind="automated")
    settle(clinic)
    assert phones(ehr.get("Patient/p1")) == phones(only_patient(store)) == ["617-555-0199", "ada@example.org"]
    phone = atom(clinic, "telecom[phone|home]")
    assert (phone.winner.source, phone.winner.confidence, phone.winner.verdict) == ("voice_agent", 0.85, "automated")
    copies = [claim for claim in claims(phone) if claim.echo]
    assert {claim.data_source_id for claim in copies} == {clinic.ids["ehr"], clinic.ids["store"]}
    assert {(claim.source, claim.confidence) for claim in copies} == {("voice_agent", 0.85)}
    # A rejection takes the copies along: they were never anybody's own word.
    clinic.judge(phone.winner.event_id, approve=False)
    assert "telecom[email|home]" not in _atoms(clinic)


def _atoms(clinic: Clinic) -> set[str]:
    with clinic.database.begin(clinic.workspace) as tx:
        view = reading.view(tx, clinic.workspace, "ehr:Patient:p1")
    return set(view.folded.atoms) if view else set()


def test_a_newer_phone_of_the_system_is_not_overwritten_by_an_older_verified_one(
    clinic: Clinic, ehr: System, store: System
) -> None:
    a_pair(clinic, ehr, store)
    ehr.put(a_patient())
    settle(clinic)
    event = spoken(clinic)
    # The front desk hears of another number; the verdict on the call comes later, and we have not polled since.
    ehr.put(a_patient(phone="617-555-0500"))
    clinic.judge(event)
    clinic.flow("ehr")
    patient = ehr.get("Patient/p1")
    assert phones(patient) == ["617-555-0500", "ada@example.org"], "the mail address was nobody else's"
    settle(clinic)
    assert phones(ehr.get("Patient/p1")) == phones(only_patient(store)) == ["617-555-0500", "ada@example.org"]


@dataclass
class Normalising:
    """A sink that keeps what it is given in a form of its own, and says so."""

    inner: Sink
    change: Change

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def create(self, body: Json, client_ref: str) -> Reply:
        return self.inner.create(self.change(body), client_ref)

    def update(self, ref: str, body: Json, etag: str | None, **more: Any) -> Reply:
        return self.inner.update(ref, self.change(body), etag)


@dataclass
class NormalisingSinks:
    """One sink normalises."""

    inner: Sinks
    sink_id: str
    change: Change

    def terms(self, tx: Tx, workspace_id: str) -> list[SinkTerms]:
        return self.inner.terms(tx, workspace_id)

    def open(self, tx: Tx, workspace_id: str, sink_id: str) -> tuple[SinkTerms, Sink]:
        terms, sink = self.inner.open(tx, workspace_id, sink_id)
        return terms, Normalising(sink, self.change) if sink_id == self.sink_id else sink


def upper(resource: Json) -> Json:
    """Family names in capitals."""
    names = [{**name, "family": name["family"].upper()} for name in resource.get("name", [])]
    return {**resource, "name": names}


def title(resource: Json) -> Json:
    """Family names as in a title."""
    names = [{**name, "family": name["family"].title()} for name in resource.get("name", [])]
    return {**resource, "name": names}


def national(resource: Json) -> Json:
    """Telephones without a country code, in brackets."""
    items = []
    for item in resource.get("telecom", []):
        digits = "".join(c for c in item.get("value", "") if c.isdigit())[-10:]
        plain = item["system"] == "phone"
        items.append({**item, "value": f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"} if plain else item)
    return {**resource, "telecom": items}


def lower_mail(resource: Json) -> Json:
    """Everything a person typed in lower case."""
    given = [{**n, "given": [g.lower() for g in n.get("given", [])]} for n in resource.get("name", [])]
    return {**resource, "name": given}


@pytest.mark.parametrize("how", ["at once", "afterwards"])
@pytest.mark.parametrize("change", [upper, national, lower_mail], ids=lambda change: change.__name__)
def test_a_value_that_comes_back_normalised_settles_in_one_round(
    clinic: Clinic, ehr: System, store: System, change: Change, how: str
) -> None:
    a_pair(clinic, ehr, store)
    if how == "at once":
        _normalise(clinic, "store", change)
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    clinic.flow("store")
    if how == "afterwards":
        store.put(change(only_patient(store)))
    before = landed(ehr), landed(store)
    settle(clinic, 4)
    sent_on = landed(ehr) - before[0]
    assert landed(store) == before[1], "it has what we wanted, in its own form"
    assert sent_on == 0 or (how == "afterwards" and sent_on == 1), "its own word, when it seems to be one, goes on once"
    clinic.judge(spoken(clinic, "617-555-0333"))
    settle(clinic, 4)
    assert landed(store) == before[1] + 1


def _normalise(clinic: Clinic, name: str, change: Change) -> None:
    clinic.outbound = replace(clinic.outbound, sinks=NormalisingSinks(clinic.outbound.sinks, clinic.ids[name], change))


def test_a_number_that_comes_back_rounded_settles_in_one_round(clinic: Clinic, ehr: System, store: System) -> None:
    types = {"entity_types": ["patient", "lab_result"]}
    clinic.source("ehr", ehr, accept_from=["store"], **types)
    clinic.source("store", store, accept_from=["ehr"], **types)

    def to_one_place(resource: Json) -> Json:
        quantity = resource.get("valueQuantity")
        if quantity is None:
            return resource
        return {**resource, "valueQuantity": {**quantity, "value": round(quantity["value"], 1)}}

    _normalise(clinic, "store", to_one_place)
    value = {"value": 98.64, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL"}
    ehr.put(a_patient())
    ehr.put(
        {
            "resourceType": "Observation",
            "id": "o1",
            "status": "final",
            "subject": {"reference": "Patient/p1"},
            "category": [{"coding": [{"code": "laboratory"}]}],
            "code": {"text": "glucose"},
            "valueQuantity": value,
        }
    )
    for _ in range(4):
        for name in ("ehr", "store"):
            clinic.poll(name, "Patient")
            clinic.poll(name, "Observation")
        for name in ("ehr", "store"):
            clinic.flow(name)
    [kept] = store.all("Observation")
    assert kept["valueQuantity"]["value"] == 98.6
    assert (landed(store), landed(ehr)) == (2, 2)
    held = atom(clinic, "value", "ehr:Observation:o1")
    assert held.winner.value["value"] == Decimal("98.64")


def test_a_value_that_was_there_before_is_written_again(clinic: Clinic, ehr: System, store: System) -> None:
    a_pair(clinic, ehr, store)
    ehr.put(a_patient())
    settle(clinic)
    ehr.put(a_patient(phone="617-555-0777"))
    clinic.poll("ehr", "Patient")
    clinic.flow("store")
    # Back to the first, before anybody saw the second in the store.
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    clinic.flow("store")
    assert phones(only_patient(store)) == ["617-555-0101"]


def test_what_a_sink_wrote_over_is_written_again_when_its_source_insists(
    clinic: Clinic, ehr: System, store: System
) -> None:
    a_pair(clinic, ehr, store)
    ehr.put(a_patient())
    settle(clinic)
    store.put({**only_patient(store), "gender": "other"})
    settle(clinic)
    assert ehr.get("Patient/p1")["gender"] == "other"
    ehr.put(a_patient())
    settle(clinic)
    assert only_patient(store)["gender"] == "female"


def test_what_was_seen_before_we_wrote_is_no_word_of_the_system_after_it(
    clinic: Clinic, ehr: System, store: System
) -> None:
    a_pair(clinic, ehr, store)
    ehr.put(a_patient())
    clinic.land("ehr", a_patient(meta={"lastUpdated": "2026-11-20T10:00:00Z", "versionId": "1"}))
    clinic.flow("store")
    clinic.poll("store", "Patient")
    # The copy in the store is younger, by its clock, than the second change of the source that it came from.
    clinic.land("ehr", a_patient("p1", "617-555-0777", meta={"lastUpdated": "2026-11-20T11:00:00Z", "versionId": "2"}))
    clinic.flow("store")
    clinic.project()
    assert atom(clinic, "telecom[phone|home]").winner.value["value"] == "+16175550777"
    before = landed(ehr)
    clinic.flow("ehr")
    assert landed(ehr) == before
    clinic.poll("store", "Patient")
    clinic.flow("store")
    assert phones(only_patient(store)) == ["617-555-0777"]
    assert atom(clinic, "telecom[phone|home]").winner.value["value"] == "+16175550777"


def test_a_change_reaches_a_system_that_is_not_fhir_and_opted_in(clinic: Clinic, ehr: System) -> None:
    clinic.source("ehr", ehr, accept_from=["crm"], **PATIENTS)
    with launch.start("crm") as running:
        crm = System(running)
        apply_crm(clinic, crm)
        ehr.put(a_patient())
        clinic.poll("ehr", "Patient")
        clinic.flow("crm")
        ehr.put(a_patient(phone="617-555-0777"))
        for _ in range(2):
            clinic.poll("ehr", "Patient")
            for name in ("crm", "ehr"):
                clinic.flow(name)
        [contact] = contacts(crm)
        assert contact["phone"] == "617-555-0777"
        assert landed(crm) == 2
    assert landed(ehr) == 2, "theirs, and none of ours"
