"""What the FHIR sink sends, and how it understands every kind of answer, against a simulated server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from connector_runner.connectors.base import Opening
from connector_runner.connectors.fhir.answers import reply_to
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.fhir.sink import IDENTIFIER_SYSTEM, FHIRSink
from connector_runner.connectors.sinks import Capabilities, Outcome
from connector_runner.infra.http import HTTP, Answer
from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.ids import new_id
from connector_runner.sandbox import launch
from connector_runner.settings import Settings

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PATIENT = {"resourceType": "Patient", "gender": "female"}


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store", patients=0) as system:
        yield system


@pytest.fixture
def clean(running: launch.Running) -> launch.Running:
    requests.post(f"{running.switchboard}/reset", json={"empty": True}, timeout=10).raise_for_status()
    return running


def sink_of(
    system: launch.Running, *, client_id: bool = True, base_url: str | None = None, timeout_s: float = 20
) -> FHIRSink:
    settings = FHIRSettings(base_url=base_url or system.base_url, request_timeout_s=timeout_s)
    http = HTTP(Settings(http_allow=("127.0.0.1",)))
    return FHIRSink(FHIRClient(Opening(http, str), settings), Capabilities(client_id=client_id))


def faults(system: launch.Running, *orders: dict[str, Any]) -> None:
    requests.put(f"{system.switchboard}/faults", json=list(orders), timeout=10).raise_for_status()


def stored(system: launch.Running) -> int:
    return int(requests.get(f"{system.switchboard}/resources?type=Patient", timeout=10).json()["Patient"])


@pytest.mark.parametrize("client_id", [True, False])
def test_create_find_update_read(clean: launch.Running, client_id: bool) -> None:
    sink, ours = sink_of(clean, client_id=client_id), new_id()
    assert sink.find("Patient", ours).outcome is Outcome.ABSENT
    made = sink.create(PATIENT, ours)
    assert (made.outcome, made.status) == (Outcome.LANDED, 201)
    assert made.ref is not None
    assert made.etag == 'W/"1"'
    found = sink.find("Patient", ours)
    assert (found.outcome, found.ref, found.etag) == (Outcome.LANDED, made.ref, made.etag)

    changed = sink.update(made.ref, {**(found.body or {}), "gender": "other"}, found.etag)
    assert (changed.outcome, changed.etag) == (Outcome.LANDED, 'W/"2"')
    stale = sink.update(made.ref, {**(found.body or {}), "gender": "unknown"}, found.etag)
    assert stale.outcome is Outcome.CONFLICT
    now = sink.read(made.ref)
    assert now.body is not None
    assert now.body["gender"] == "other"


@pytest.mark.parametrize("client_id", [True, False])
def test_a_repeated_create_makes_no_second_one(clean: launch.Running, client_id: bool) -> None:
    sink, ours = sink_of(clean, client_id=client_id), new_id()
    first, second = sink.create(PATIENT, ours), sink.create(PATIENT, ours)
    assert first.ref == second.ref
    assert second.outcome is (Outcome.LANDED if client_id else Outcome.EXISTED)
    assert stored(clean) == 1


def test_identity_is_an_id_or_an_identifier_beside_those_of_others(clean: launch.Running) -> None:
    ours, theirs = new_id(), {"system": "urn:mrn", "value": "7"}
    assert sink_of(clean).identified({**PATIENT, "identifier": [theirs]}, ours) == {
        **PATIENT,
        "id": ours,
        "identifier": [theirs],
    }
    posted = sink_of(clean, client_id=False).identified({**PATIENT, "identifier": [theirs]}, ours)
    assert posted["identifier"] == [theirs, {"system": IDENTIFIER_SYSTEM, "value": ours}]
    assert sink_of(clean, client_id=False).identified(posted, ours) == posted
    with pytest.raises(Misconfigured):
        sink_of(clean, client_id=False).identified({"resourceType": "Provenance"}, ours)


def test_two_of_ours_in_the_sink_are_duplicates(clean: launch.Running) -> None:
    ours = new_id()
    for _ in range(2):
        body = {**PATIENT, "identifier": [{"system": IDENTIFIER_SYSTEM, "value": ours}]}
        requests.post(f"{clean.base_url}/Patient", json=body, timeout=10).raise_for_status()
    sink = sink_of(clean, client_id=False)
    assert sink.find("Patient", ours).outcome is Outcome.DUPLICATES
    assert sink.create(PATIENT, ours).outcome is Outcome.DUPLICATES


def test_gone_and_absent_are_told_apart(clean: launch.Running) -> None:
    sink, ours = sink_of(clean), new_id()
    made = sink.create(PATIENT, ours)
    requests.delete(f"{clean.base_url}/{made.ref}", timeout=10).raise_for_status()
    assert sink.read(made.ref or "").outcome is Outcome.GONE
    assert sink.read("Patient/nobody").outcome is Outcome.ABSENT


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "drop_answer"}, Outcome.UNKNOWN),
        ({"kind": "reset"}, Outcome.UNKNOWN),
        ({"kind": "hang"}, Outcome.UNKNOWN),
        ({"kind": "html"}, Outcome.UNKNOWN),
        ({"kind": "html", "status": 200}, Outcome.UNKNOWN),
        ({"kind": "empty"}, Outcome.UNKNOWN),
        ({"kind": "status", "status": 500}, Outcome.UNKNOWN),
        ({"kind": "status", "status": 504}, Outcome.UNKNOWN),
        ({"kind": "status", "status": 429, "retry_after": 7}, Outcome.REFUSED),
        ({"kind": "status", "status": 503, "retry_after": 3}, Outcome.REFUSED),
        ({"kind": "status", "status": 503}, Outcome.UNKNOWN),
        ({"kind": "status", "status": 400}, Outcome.POISON),
        ({"kind": "status", "status": 422}, Outcome.POISON),
        ({"kind": "status", "status": 401}, Outcome.AUTH),
        ({"kind": "status", "status": 403}, Outcome.AUTH),
        ({"kind": "status", "status": 409}, Outcome.CONFLICT),
        ({"kind": "status", "status": 412}, Outcome.CONFLICT),
    ],
)
def test_answers_to_a_write(clean: launch.Running, fault: dict[str, Any], outcome: Outcome) -> None:
    faults(clean, {"on": "PUT Patient", "next": 1, **fault})
    reply = sink_of(clean, timeout_s=1 if fault["kind"] == "hang" else 20).create(PATIENT, new_id())
    assert reply.outcome is outcome
    if "retry_after" in fault:
        assert reply.retry_after_s == fault["retry_after"]


def test_a_sink_that_is_not_there(clean: launch.Running) -> None:
    assert sink_of(clean, base_url="http://127.0.0.1:9/fhir").create(PATIENT, new_id()).outcome is Outcome.NOT_SENT


@pytest.mark.parametrize(
    ("answer", "outcome", "code"),
    [
        (Answer(200, {}, b'{"resourceType":"OperationOutcome","issue":[{"severity":"error"}]}', ""), "unknown",
         "error_in_success"),
        (Answer(200, {"ETag": 'W/"3"'}, b'{"resourceType":"OperationOutcome","issue":[]}', ""), "landed", ""),
        (Answer(201, {"Location": "http://x/fhir/Patient/9/_history/4"}, b"", ""), "landed", ""),
        (Answer(200, {}, b"", ""), "unknown", "unconfirmed"),
        (Answer(200, {}, b"[1]", ""), "unknown", "no_json"),
        (Answer(302, {"Location": "http://169.254.169.254/"}, b"", ""), "auth", "http_302"),
        (Answer(400, {}, b'{"resourceType":"OperationOutcome","issue":[{"code":"throttled"}]}', ""), "refused",
         "http_400_throttled"),
        (Answer(422, {}, b'{"issue":[{"code":"Ada Okafor","diagnostics":"Ada"}]}', ""), "poison", "http_422"),
    ],
)  # fmt: skip
def test_odd_answers(answer: Answer, outcome: str, code: str) -> None:
    reply = reply_to(answer, None, now=NOW, purpose="create")
    assert (str(reply.outcome), reply.code) == (outcome, code)
    if answer.status == 201:
        assert (reply.ref, reply.etag) == ("Patient/9", 'W/"4"')
