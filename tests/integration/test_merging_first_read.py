"""A sink that is polled, too: nobody is made there before all that it has was read and compared once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from connector_runner.connectors import directory, first_read_store
from connector_runner.infra.database import execute
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.lanes import sweeping
from connector_runner.outbound.planning.first_read import SINK_NOT_READ
from connector_runner.outbound.reconciling.reconcile_marks import terms_marks
from connector_runner.resolution import store as resolution_store
from connector_runner.world import reading
from tests.integration.merging_stack import STORE, VOICE, a_contact, clinic, compare, said, settle
from tests.integration.outbound_stack import Clinic, System, a_patient, an_appointment
from tests.integration.test_drain import BOTH, PATIENTS

__all__ = ["clinic"]


def read_to_its_end(clinic: Clinic, name: str, *kinds: str) -> None:
    """What the last pages of two windows note, of which the first had everything."""
    for whole in (True, False):
        with clinic.database.begin(clinic.workspace) as tx:
            first_read_store.landed(tx, clinic.workspace, clinic.ids[name], kinds, whole=whole)


def unread(clinic: Clinic, name: str) -> frozenset[str]:
    with clinic.database.begin(clinic.workspace) as tx:
        return first_read_store.unread(tx, clinic.workspace).get(clinic.ids[name], frozenset())


def standing(clinic: Clinic, sink: str) -> Sequence[tuple[str, str, str]]:
    return [(lane["state"], lane["reason"], lane["reason_detail"]) for lane in clinic.lanes(sink)]


@pytest.fixture
def of_both(clinic: Clinic, ehr: System, store: System) -> Clinic:
    """One person in both systems, of whom only the EHR was heard so far."""
    clinic.source("ehr", ehr, accept_from=["store"], **PATIENTS)
    clinic.source("store", store, polled=["Patient", "Observation"], accept_from=["ehr"], **BOTH)
    store.put(a_contact(telecom=a_patient()["telecom"]))
    ehr.put(a_patient())
    clinic.poll("ehr", "Patient")
    compare(clinic)
    clinic.flow("store")
    return clinic


def test_nobody_is_made_in_a_sink_that_was_not_read_to_its_end_and_may_have_them(
    of_both: Clinic, store: System
) -> None:
    """Compared with all that is known, and known to nobody: the sink's own record was not heard of yet."""
    assert [each["id"] for each in store.all("Patient")] == ["c1"]
    assert standing(of_both, "store") == [("waiting", SINK_NOT_READ, "Patient")]
    assert of_both.lane("store")["attempts"] == 0
    of_both.poll("store", "Patient")
    read_to_its_end(of_both, "store", "Patient")
    compare(of_both)
    sweeping.wake_read(of_both.database)
    settle(of_both)
    assert [each["id"] for each in store.all("Patient")] == ["c1"]
    assert unread(of_both, "store") == {"Observation"}


def test_nobody_is_made_before_what_was_read_has_been_compared(of_both: Clinic, store: System) -> None:
    """The newcomer was compared long ago: that it waits for nothing says nothing of the sink's own record."""
    of_both.poll("store", "Patient")
    read_to_its_end(of_both, "store", "Patient")
    with of_both.database.begin(of_both.workspace) as tx:
        known = reading.entity_id(tx, of_both.workspace, STORE)
        execute(tx, "UPDATE pending_resolution SET identified = true")
    assert sweeping.wake_read(of_both.database) == 0, "who it is was read off it, and compared with nobody yet"
    with of_both.database.begin(of_both.workspace) as tx:
        resolution_store.request(tx, of_both.workspace, "patient", [known])
    assert sweeping.wake_read(of_both.database) == 0, "it waits still, whatever happened to it since"
    of_both.flow("store")
    assert standing(of_both, "store") == [("waiting", SINK_NOT_READ, "Patient")]
    compare(of_both)
    sweeping.wake_read(of_both.database)
    of_both.flow("store")
    assert [each["id"] for each in store.all("Patient")] == ["c1"]


def test_a_drain_that_looks_again_meanwhile_makes_nobody(of_both: Clinic, store: System) -> None:
    of_both.execute("UPDATE sync_lane SET due_at = clock_timestamp()")
    assert dict(of_both.drain("store").outcomes) == {"waiting": 1}
    assert [each["id"] for each in store.all("Patient")] == ["c1"]


def test_who_waits_to_be_compared_and_for_the_reading_waits_for_the_reading(of_both: Clinic, store: System) -> None:
    """What the lane says must be what it is woken by."""
    of_both.land("ehr", a_patient(birthDate="1982-03-05"))
    of_both.project()
    of_both.execute("UPDATE sync_lane SET due_at = clock_timestamp()")
    of_both.flow("store")
    assert standing(of_both, "store") == [("waiting", SINK_NOT_READ, "Patient")]


def test_who_is_not_there_is_made_as_soon_as_the_sweep_finds_that_all_was_read(of_both: Clinic, store: System) -> None:
    before = len(store.writes())
    assert sweeping.wake_read(of_both.database) == 0, "nothing is over yet"
    read_to_its_end(of_both, "store", "Observation")
    assert sweeping.wake_read(of_both.database) == 0, "that is not what it waits for"
    read_to_its_end(of_both, "store", "Patient")
    assert sweeping.wake_read(of_both.database) == 1
    assert sweeping.wake_read(of_both.database) == 0, "one is woken once"
    of_both.drain("store")
    assert len(store.all("Patient")) == 2
    assert len(store.writes()) == before + 1


def test_what_is_not_polled_any_more_is_not_waited_for_and_again_once_it_is(of_both: Clinic, store: System) -> None:
    of_both.source("store", store, accept_from=["ehr"], **BOTH)
    assert sweeping.wake_read(of_both.database) == 1
    of_both.drain("store")
    assert len(store.all("Patient")) == 2
    read_to_its_end(of_both, "store", "Patient")
    sweeping.wake_read(of_both.database)
    of_both.source("store", store, polled=["Patient"], accept_from=["ehr"], **BOTH)
    assert unread(of_both, "store") == {"Patient"}, "meanwhile nobody told us what is new there"


def test_a_system_that_was_off_as_a_whole_is_read_anew(of_both: Clinic, store: System) -> None:
    read_to_its_end(of_both, "store", "Patient")
    sweeping.wake_read(of_both.database)
    settings = {"base_url": store.running.base_url, "mapping": "fhir_r4", "resources": {"Patient": {"cadence_s": 60}}}
    document = {"name": "store", "source_type": "fhir_store", "settings": settings}
    for enabled, waits in ((True, False), (False, False), (True, True)):
        with of_both.database.begin(of_both.workspace) as tx:
            directory.apply(tx, of_both.workspace, document | {"enabled": enabled}, actor="test", now=utc_now())
        assert ("Patient" in unread(of_both, "store")) is waits


def test_another_type_that_was_not_read_holds_nobody_up(clinic: Clinic, ehr: System, store: System) -> None:
    clinic.source("ehr", ehr, **PATIENTS)
    clinic.source("store", store, polled=["Observation"], accept_from=["ehr"], **BOTH)
    ehr.put(a_patient())
    ehr.put(an_appointment("a1"))
    for kind in ("Patient", "Appointment"):
        clinic.poll("ehr", kind)
    compare(clinic)
    clinic.flow("store")
    assert len(store.all("Patient")) == 1
    assert len(store.all("Appointment")) == 1


def test_who_has_a_record_there_is_written_to_all_the_same(of_both: Clinic, store: System) -> None:
    of_both.poll("store", "Patient")
    settle(of_both)
    before = len(store.writes())
    said(of_both, VOICE[0], "617-555-0177")
    compare(of_both)
    of_both.flow("store")
    assert len(store.writes()) == before + 1
    assert [each["id"] for each in store.all("Patient")] == ["c1"]


def test_another_address_is_read_anew_first(of_both: Clinic, ehr: System) -> None:
    read_to_its_end(of_both, "store", "Patient", "Observation")
    sweeping.wake_read(of_both.database)
    assert unread(of_both, "store") == frozenset()
    of_both.source("store", ehr, polled=["Patient"], accept_from=["ehr"], **BOTH)
    assert unread(of_both, "store") == {"Patient"}


def test_what_was_read_is_no_reason_to_look_at_everything_anew(of_both: Clinic) -> None:
    with of_both.database.begin(of_both.workspace) as tx:
        terms = of_both.outbound.sinks.terms(tx, of_both.workspace)
    assert any(each.unread for each in terms)
    known = [replace(each, unread=frozenset()) for each in terms]
    mappings = of_both.outbound.mappings
    assert terms_marks(terms, mappings) == terms_marks(known, mappings)
