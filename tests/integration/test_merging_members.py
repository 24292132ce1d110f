"""What befalls one of several that are one: withdrawn, deleted, adopted, or the middle of a chain."""

from __future__ import annotations

from typing import Any

from tests.integration.outbound_stack import Clinic, System
from tests.integration.test_drain import PATIENTS, phones
from tests.integration.test_gates import a_consent
from tests.integration.test_merging import (
    EHR,
    STORE,
    clinic,
    content,
    decide,
    lane_of,
    one_person_in_both,
    settle,
    state,
)

__all__ = ["clinic"]

ASKING = {**PATIENTS, "consent": "opt_out"}
WITHDRAWN = "consent_withdrawn"


def held(ehr: System, store: System) -> list[dict[str, Any]]:
    return [content(ehr.get("Patient/p1")), content(store.get("Patient/c1"))]


def test_consent_that_one_withdrew_keeps_the_others_record_as_it_is(clinic: Clinic, ehr: System, store: System) -> None:
    one_person_in_both(clinic, ehr, store, **ASKING)
    clinic.land("ehr", a_consent("inactive"))
    before = held(ehr, store)
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    assert held(ehr, store) == before, "neither is told of the other"
    lanes = [lane_of(clinic, "ehr", EHR), lane_of(clinic, "store", STORE)]
    assert [lane and lane["reason"] for lane in lanes] == [WITHDRAWN, WITHDRAWN]
    decide(clinic, EHR, STORE, same=False)
    settle(clinic)
    assert held(ehr, store) == before
    made = lane_of(clinic, "ehr", STORE)
    assert made is not None
    assert made["sink_ref"] is not None, "who withdrew nothing is made where they were not"
    kept = lane_of(clinic, "store", EHR)
    assert kept is None or (kept["sink_ref"], kept["reason"]) == (None, WITHDRAWN)


def test_what_was_lent_before_consent_was_withdrawn_is_still_taken_back(
    clinic: Clinic, ehr: System, store: System
) -> None:
    """To take another person's word out of a record shares nothing: it is no matter of consent."""
    one_person_in_both(clinic, ehr, store, **ASKING)
    before, apart = held(ehr, store), [state(clinic, name) for name in (EHR, STORE)]
    decide(clinic, EHR, STORE, same=True)
    settle(clinic)
    lent = held(ehr, store)
    assert lent != before
    clinic.land("ehr", a_consent("inactive"))
    ehr.put({**ehr.get("Patient/p1"), "gender": "other"})
    settle(clinic)
    assert phones(store.get("Patient/c1")) == ["617-555-0101", "ada@example.org"]
    assert content(store.get("Patient/c1")) == lent[1], "nothing more after the withdrawal"
    ehr.put({**ehr.get("Patient/p1"), "gender": "female"})
    decide(clinic, EHR, STORE, same=False)
    settle(clinic)
    assert held(ehr, store) == before
    assert [state(clinic, name) for name in (EHR, STORE)] == apart
