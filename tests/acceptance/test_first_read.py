"""A system that has the clinic's patients already is connected as a source and a sink at once: nobody is made twice."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.stack import a_stack, ehr_settings, store_settings, wait_for


def test_who_is_there_already_is_found_and_who_is_not_is_made(tmp_path: Path) -> None:
    """The store does not let itself be read at first, while all of the EHR is there and compared."""
    with a_stack(tmp_path) as stack:
        ehr = stack.sandbox("ehr", "--seed", "6", "--patients", "5")
        store = stack.sandbox("store")
        patients = ehr.every("Patient")
        for number, known in enumerate(patients[:-1]):
            own = {"id": f"s{number}", "identifier": [{"system": "urn:store", "value": f"S{number}"}]}
            kept = {name: known[name] for name in ("resourceType", "name", "birthDate", "gender", "telecom")}
            store.put(f"fhir/Patient/s{number}", kept | own)
        store.put("_sandbox/faults", [{"on": "GET Patient", "kind": "status", "status": 503}])
        stack.cli("source", "apply", stack.write("store.json", store_settings(store.fhir, polled=("Patient",))))
        stack.cli("source", "apply", stack.write("ehr.json", ehr_settings(ehr.fhir)))
        for arguments in (("beat",), ("worker", "--pool", "cpu"), ("worker", "--pool", "io")):
            stack.start(*arguments)

        def all_wait() -> bool:
            waiting = [row for row in stack.lanes() if row["reason"] == "sink_not_read"]
            return sum(row["n"] for row in waiting if row["entity_type"] == "patient") == len(patients)

        wait_for("every patient to wait for the store to be read", all_wait, every_s=0.5)
        store.put("_sandbox/faults", [])
        wait_for("the one whom the store does not have", lambda: len(store.every("Patient")) == len(patients))
        stack.settled()
        held = store.every("Patient")
        assert len(held) == len(patients)
        assert {f"s{number}" for number in range(len(patients) - 1)} < {each["id"] for each in held}
