"""Patch, $validate, the search for duplicates and transactions of the FHIR sink, against a simulated server."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests

from connector_runner.connectors.base import Opening
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.fhir.sink import FHIRSink
from connector_runner.connectors.sinks import Capabilities, Outcome, Step
from connector_runner.infra.http import HTTP
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.ids import new_id
from connector_runner.sandbox import launch
from connector_runner.settings import Settings

MRN = {"system": "urn:mrn", "value": "7,8|9"}
ADA: dict[str, Any] = {
    "resourceType": "Patient",
    "identifier": [MRN],
    "name": [{"use": "official", "family": "Ökafor", "given": ["Ada", "B"]}],
    "birthDate": "1982-03-04",
}


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store", patients=0) as system:
        yield system


@pytest.fixture
def clean(running: launch.Running) -> launch.Running:
    requests.post(f"{running.switchboard}/reset", json={"empty": True}, timeout=10).raise_for_status()
    return running


def sink_of(system: launch.Running, **can: Any) -> FHIRSink:
    settings = FHIRSettings(base_url=system.base_url, request_timeout_s=2)
    client = FHIRClient(Opening(HTTP(Settings(http_allow=("127.0.0.1",))), str), settings)
    return FHIRSink(client, Capabilities(**can))


def faults(system: launch.Running, **fault: Any) -> None:
    requests.put(f"{system.switchboard}/faults", json=[{"next": 1, **fault}], timeout=10).raise_for_status()


def journal(system: launch.Running) -> list[dict[str, Any]]:
    return list(requests.get(f"{system.switchboard}/journal", timeout=10).json())


def count(system: launch.Running, resource_type: str) -> int:
    return int(requests.get(f"{system.switchboard}/resources?type={resource_type}", timeout=10).json()[resource_type])


def made(sink: FHIRSink, body: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    reply = sink.create(body, new_id())
    assert reply.outcome is Outcome.LANDED
    assert reply.body is not None
    return reply.ref or "", reply.etag or "", reply.body


# update


def test_a_patch_sends_the_difference_alone(clean: launch.Running) -> None:
    sink = sink_of(clean, patch=True)
    ref, etag, before = made(
        sink, {**ADA, "multipleBirthInteger": 2, "extension": [{"url": "urn:x", "valueCode": "a"}]}
    )
    after = {**before, "gender": "female", "birthDate": "1982-03-05"}
    after.pop("multipleBirthInteger")
    reply = sink.update(ref, after, etag, before=before)
    assert reply.outcome is Outcome.LANDED
    assert reply.body is not None
    assert {k: v for k, v in reply.body.items() if k != "meta"} == {k: v for k, v in after.items() if k != "meta"}
    assert journal(clean)[-1]["method"] == "PATCH"
    assert sink.update(ref, before, etag, before=after).outcome is Outcome.CONFLICT


def test_a_patch_without_a_version_lands_only_on_what_it_was_made_for(clean: launch.Running) -> None:
    sink = sink_of(clean, patch=True, if_match=None)
    ref, etag, before = made(sink, {**ADA, "gender": "female"})
    foreign = {**before, "gender": "other"}
    requests.put(f"{clean.base_url}/{ref}", json=foreign, timeout=10).raise_for_status()
    reply = sink.update(ref, {**before, "gender": "male"}, etag, before=before)
    assert reply.outcome is not Outcome.LANDED
    assert (sink.read(ref).body or {})["gender"] == "other"
    assert sink.update(ref, {**before, "birthDate": "1990-01-01"}, etag, before=before).outcome is Outcome.LANDED
    assert (sink.read(ref).body or {}).items() >= {"gender": "other", "birthDate": "1990-01-01"}.items()


def test_a_patch_keeps_the_digits_of_a_dose(clean: launch.Running) -> None:
    sink = sink_of(clean, patch=True)
    observation = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    ref, etag, before = made(sink, {**observation, "valueQuantity": {"value": Decimal("1.0")}})
    sink.update(ref, {**before, "valueQuantity": {"value": Decimal("1.00")}}, etag, before=before)
    held = requests.get(f"{clean.base_url}/{ref}", timeout=10).content
    assert exact_json.dumps(exact_json.loads(held)["valueQuantity"]) == '{"value":1.00}'


def test_a_version_is_stated_only_where_one_is_checked(clean: launch.Running) -> None:
    ref, _, before = made(sink_of(clean), ADA)
    assert sink_of(clean).update(ref, before, 'W/"9"').outcome is Outcome.CONFLICT
    assert sink_of(clean, if_match=None).update(ref, before, 'W/"9"').outcome is Outcome.LANDED


def test_a_create_without_condition_where_none_is_heeded(clean: launch.Running) -> None:
    sink, ours = sink_of(clean, client_id=False, conditional_create=False), new_id()
    first = sink.create(ADA, ours)
    assert sink.find("Patient", ours).ref == first.ref
    sink.create(ADA, ours)
    assert sink.find("Patient", ours).outcome is Outcome.DUPLICATES


# what another system made of it


def test_a_wrong_version_is_not_believed(clean: launch.Running) -> None:
    sink = sink_of(clean)
    faults(clean, on="PUT Patient", kind="wrong_etag")
    reply = sink.create(ADA, new_id())
    assert (reply.outcome, reply.etag) == (Outcome.LANDED, None)


def test_a_success_that_shows_another_record_is_unknown(clean: launch.Running) -> None:
    sink = sink_of(clean, client_id=False)
    faults(clean, on="POST Patient", kind="no_id")
    lost = sink.create(ADA, "ours")
    assert (lost.outcome, lost.code) == (Outcome.UNKNOWN, "no_id")
    assert sink.find("Patient", "ours").outcome is Outcome.LANDED
    ref = sink.find("Patient", "ours").ref or ""
    faults(clean, on="GET Patient", kind="no_id")
    assert (sink.read(ref).outcome, count(clean, "Patient")) == (Outcome.UNKNOWN, 1)


# $validate


def test_check_asks_and_changes_nothing(clean: launch.Running) -> None:
    sink = sink_of(clean, validate=True)
    assert sink.check(ADA, None).outcome is Outcome.LANDED
    bad = sink.check({**ADA, "birthDate": "1982-13-45"}, None)
    assert (bad.outcome, bad.where, bad.cause) == (Outcome.POISON, "Patient.birthDate", "not_valid")
    assert "1982" not in bad.code + bad.where
    assert requests.get(f"{clean.switchboard}/resources", timeout=10).json() == {}
    asked = len(journal(clean))
    assert sink_of(clean).check({**ADA, "birthDate": "?"}, None).cause == "not_offered"
    assert len(journal(clean)) == asked
    faults(clean, on="POST Patient/$validate", kind="status", status=404)
    unasked = sink.check(ADA, None)
    assert (unasked.outcome, unasked.cause) == (Outcome.LANDED, "not_offered")


# duplicates


def test_candidates_share_an_identifier(clean: launch.Running) -> None:
    sink = sink_of(clean)
    other = {**ADA, "identifier": [{"system": "urn:mrn", "value": "7"}]}
    ref, _, _ = made(sink, ADA)
    made(sink, other)
    found = sink.candidates({**ADA, "name": [{"family": "Else"}]})
    assert [f"Patient/{item['id']}" for item in found.resources] == [ref]
    assert (found.reply.outcome, found.reply.ref) == (Outcome.LANDED, ref)
    assert all("7,8" not in entry["path"] for entry in journal(clean))
    none = sink.candidates({**ADA, "identifier": [{"system": "urn:mrn", "value": "unheard"}]})
    assert (none.reply.outcome, none.resources) == (Outcome.ABSENT, ())


def test_candidates_share_name_and_birth_date(clean: launch.Running) -> None:
    sink = sink_of(clean)
    known = {**ADA, "identifier": []}
    ref, _, _ = made(sink, ADA)
    made(sink, {**ADA, "birthDate": "1982-03-05"})
    made(sink, {**ADA, "name": [{"family": "Ökafors", "given": ["Ada"]}]})
    made(sink, {**ADA, "name": [{"family": "Ökafor", "given": ["Bob"]}]})
    spelt = {**known, "name": [{"family": "ÖKAFOR", "given": ["ada"]}]}
    assert [f"Patient/{item['id']}" for item in sink.candidates(spelt).resources] == [ref]


@pytest.mark.parametrize(
    "body",
    [
        {"resourceType": "Patient", "birthDate": "1982-03-04"},
        {"resourceType": "Patient", "name": [{"family": "Okafor"}], "birthDate": "1982"},
        {"resourceType": "Appointment", "status": "booked"},
        {"resourceType": "Patient", "identifier": [{"value": "1"}, None], "name": "Okafor"},
    ],
)
def test_nothing_to_search_by(clean: launch.Running, body: dict[str, Any]) -> None:
    found = sink_of(clean).candidates(body)
    assert (found.reply.outcome, found.reply.cause) == (Outcome.ABSENT, "nothing_to_search_by")
    assert journal(clean) == []


def test_a_server_that_passes_over_the_question_finds_nothing_for_us(clean: launch.Running) -> None:
    sink = sink_of(clean, client_id=False)
    made(sink, ADA)
    asked: list[tuple[str, str]] = [("unknown-parameter", "x")]
    everything = requests.get(f"{clean.base_url}/Patient", params=asked, timeout=10).json()
    assert everything["total"] == 1
    client = _Answering(everything)
    assert FHIRSink(client, Capabilities(client_id=False)).find("Patient", "ours").outcome is Outcome.ABSENT
    assert (
        FHIRSink(client, Capabilities()).candidates({**ADA, "identifier": [{"system": "a", "value": "b"}]}).resources
        == ()
    )


TIMED_OUT = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ({"message": "ok"}, "not_a_bundle"),
        ({"resourceType": "Patient", "id": "1"}, "not_a_bundle"),
        ({"resourceType": "Bundle", "entry": {}}, "not_a_bundle"),
        ({"resourceType": "Bundle", "link": [{"relation": "next", "url": "http://x/?p=2"}]}, "more_pages"),
        ({"resourceType": "Bundle", "entry": [{"resource": ADA}], "link": [{"relation": "next"}]}, "more_pages"),
        ({"resourceType": "Bundle", "total": 400, "entry": [{"resource": ADA}]}, "more_pages"),
        ({"resourceType": "Bundle", "total": 1}, "more_pages"),
        ({"resourceType": "Bundle", "entry": [{"resource": TIMED_OUT}]}, "error_in_success"),
    ],
)
def test_what_proves_no_absence(body: dict[str, Any], cause: str) -> None:
    sink = FHIRSink(_Answering(body), Capabilities(client_id=False))
    replies = [
        sink.find("Patient", "ours"),
        sink.candidates({**ADA, "identifier": [{"system": "a", "value": "b"}]}).reply,
    ]
    assert {(reply.outcome, reply.cause) for reply in replies} == {(Outcome.UNKNOWN, cause)}


@pytest.mark.parametrize("status", [412, 409])
def test_a_stale_version_is_a_conflict_by_either_status(clean: launch.Running, status: int) -> None:
    behaviour = {"conflict_status": status}
    requests.put(f"{clean.switchboard}/behaviour", json=behaviour, timeout=10).raise_for_status()
    sink = sink_of(clean, if_match=status, patch=True)
    ref, etag, before = made(sink, ADA)
    after = {**before, "gender": "female"}
    assert sink.update(ref, after, etag).outcome is Outcome.LANDED
    for stale in (sink.update(ref, before, etag), sink.update(ref, after, etag, before=before)):
        assert (stale.outcome, stale.status) == (Outcome.CONFLICT, status)


def test_a_search_that_fails_is_not_an_absence(clean: launch.Running) -> None:
    for kind in ("html", "empty", "reset", "infinite_body"):
        faults(clean, on="GET Patient", kind=kind)
        assert sink_of(clean).candidates(ADA).reply.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("status", [404, 405, 415, 501, 403, 401])
def test_a_search_that_is_not_offered_is_no_absence(clean: launch.Running, status: int) -> None:
    made(sink_of(clean), ADA)
    faults(clean, on="POST Patient/_search", kind="status", status=status)
    asked = len(journal(clean))
    assert sink_of(clean).candidates(ADA).reply.outcome in (Outcome.AUTH, Outcome.UNKNOWN)
    assert len(journal(clean)) == asked + 1


def test_where_the_settings_say_so_the_search_is_a_get(clean: launch.Running) -> None:
    sink = sink_of(clean)
    ref, _, _ = made(sink, ADA)
    client = sink._client
    found = FHIRSink(client, Capabilities(), search_by="GET").candidates(ADA)
    assert (found.reply.ref, journal(clean)[-1]["method"]) == (ref, "GET")


class _Answering:
    """A client whose server has one answer."""

    def __init__(self, body: Any) -> None:
        self._body = exact_json.dumps(body).encode()

    def request(self, *args: Any, **more: Any) -> Any:
        from connector_runner.infra.http import Answer

        return Answer(200, {}, self._body, "")


# transactions


def _steps(patient: str, appointment: str, note: str) -> list[Step]:
    booked = {
        "resourceType": "Appointment",
        "status": "booked",
        "start": "2026-12-01T09:00:00Z",
        "end": "2026-12-01T09:20:00Z",
        "participant": [{"actor": {"reference": f"urn:uuid:{patient}"}, "status": "accepted"}],
    }
    said = {
        "resourceType": "Communication",
        "status": "completed",
        "subject": {"reference": f"urn:uuid:{patient}"},
        "about": [{"reference": f"urn:uuid:{appointment}"}],
    }
    return [
        Step("create", None, ADA, None, patient),
        Step("create", None, booked, None, appointment),
        Step("create", None, said, None, note),
    ]


@pytest.mark.parametrize("client_id", [True, False])
def test_a_transaction_lands_with_its_references(clean: launch.Running, client_id: bool) -> None:
    sink = sink_of(clean, client_id=client_id, transaction=True)
    ids = [new_id() for _ in range(3)]
    replies = sink.transact(_steps(*ids))
    assert [reply.outcome for reply in replies] == [Outcome.LANDED] * 3
    patient, appointment, note = (reply.ref for reply in replies)
    booked = requests.get(f"{clean.base_url}/{appointment}", timeout=10).json()
    assert booked["participant"][0]["actor"] == {"reference": patient}
    said = requests.get(f"{clean.base_url}/{note}", timeout=10).json()
    assert (said["subject"]["reference"], said["about"][0]["reference"]) == (patient, appointment)
    assert all(reply.etag == 'W/"1"' for reply in replies)
    again = sink.transact(_steps(*ids))
    assert [reply.ref for reply in again] == [patient, appointment, note]
    assert [count(clean, name) for name in ("Patient", "Appointment", "Communication")] == [1, 1, 1]


def test_an_update_in_a_transaction_states_its_version(clean: launch.Running) -> None:
    sink = sink_of(clean, transaction=True)
    ref, etag, body = made(sink, ADA)
    steps = [Step("update", ref, {**body, "gender": "female"}, etag, "x"), *_steps(new_id(), new_id(), new_id())[1:2]]
    steps[1] = Step("create", None, {**steps[1].body, "participant": [{"actor": {"reference": "urn:uuid:x"},
                    "status": "accepted"}]}, None, steps[1].client_ref)  # fmt: skip
    assert [reply.outcome for reply in sink.transact(steps)] == [Outcome.LANDED] * 2
    stale = sink.transact(steps)
    assert {reply.outcome for reply in stale} <= {Outcome.CONFLICT, Outcome.UNDONE}
    assert Outcome.CONFLICT in {reply.outcome for reply in stale}


def test_a_step_that_fails_takes_the_others_along_and_is_named(clean: launch.Running) -> None:
    sink = sink_of(clean, transaction=True)
    steps = _steps(new_id(), new_id(), new_id())
    steps[1].body.pop("status")
    replies = sink.transact(steps)
    assert [str(reply.outcome) for reply in replies] == ["undone", "poison", "undone"]
    assert {reply.entry for reply in replies} == {1}
    assert requests.get(f"{clean.switchboard}/resources", timeout=10).json() == {}


def test_a_failure_without_an_entry_is_everybodys(clean: launch.Running) -> None:
    sink = sink_of(clean, transaction=True)
    faults(clean, on="POST", kind="entry_fails", code="business-rule")
    replies = sink.transact(_steps(new_id(), new_id(), new_id()))
    assert [(str(reply.outcome), reply.entry) for reply in replies] == [("poison", None)] * 3


@pytest.mark.parametrize("kind", ["drop_answer", "html", "infinite_body", "empty", "error_in_200", "hang"])
def test_a_lost_transaction_is_unknown_in_every_step(clean: launch.Running, kind: str) -> None:
    sink = sink_of(clean, transaction=True)
    faults(clean, on="POST", kind=kind, commit=True)
    replies = sink.transact(_steps(new_id(), new_id(), new_id()))
    assert [reply.outcome for reply in replies] == [Outcome.UNKNOWN] * 3
    assert count(clean, "Patient") == 1


def test_a_response_that_accounts_for_less_is_unknown() -> None:
    sink = FHIRSink(_Answering({"resourceType": "Bundle", "entry": [{}]}), Capabilities(transaction=True))
    assert {r.outcome for r in sink.transact(_steps("a", "b", "c"))} == {Outcome.UNKNOWN}
    sink = FHIRSink(_Answering({"resourceType": "Bundle", "entry": [{}, None, 3]}), Capabilities(transaction=True))
    assert {r.outcome for r in sink.transact(_steps("a", "b", "c"))} == {Outcome.UNKNOWN}


def test_no_transaction_where_there_are_none(clean: launch.Running) -> None:
    with pytest.raises(Misconfigured):
        sink_of(clean).transact(_steps(new_id(), new_id(), new_id()))
    assert journal(clean) == []
