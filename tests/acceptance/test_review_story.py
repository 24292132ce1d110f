"""What a caller says, on its way to the chart: through a judge that may ask a model, or before a person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from connector_runner.infra.queue import REVIEW_TEND, Publisher
from tests.acceptance.stack import Sandbox, Stack, a_stack, ehr_settings, wait_for
from tests.integration.llm_server import Model, serving

SAID = "Agent: Which number is best?\nCaller: My home phone number is {number}.\nAgent: Thank you, noted."


def agrees(request: dict[str, Any]) -> str:
    """A model that finds every claim supported, and quotes what the caller said."""
    asked = json.loads(request["messages"][-1]["content"])
    said = next(turn for turn in asked["turns"] if turn["speaker"] == "caller" and "number is" in turn["text"])
    quote = {"turn": said["turn"], "text": said["text"]}
    verdicts = [{"claim": c["claim"], "verdict": "supported", "quotes": [quote]} for c in asked["claims"]]
    return json.dumps({"verdicts": verdicts})


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with serving() as served:
        served.answer = agrees
        yield served


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    with a_stack(tmp_path_factory.mktemp("review")) as made:
        made.environment |= {
            "CONNECTOR_RUNNER_LLM_BASE_URL": model.base_url,
            "CONNECTOR_RUNNER_LLM_MODEL": "scripted",
        }
        yield made


@pytest.fixture(scope="module")
def ehr(stack: Stack) -> Sandbox:
    return stack.sandbox("ehr", "--seed", "5", "--patients", "6")


@pytest.fixture(scope="module")
def flowing(stack: Stack, ehr: Sandbox) -> Stack:
    stack.cli("source", "apply", stack.write("ehr.json", ehr_settings(ehr.fhir)))
    stack.cli("review", "policy", stack.write("policy.json", {"sample": 0}))
    for arguments in (("worker", "--pool", "io"), ("worker", "--pool", "cpu"), ("beat",)):
        stack.start(*arguments)
    stack.taken_in(ehr)
    stack.settled()
    return stack


def patient(ehr: Sandbox, number: int) -> str:
    return str(sorted(each["id"] for each in ehr.every("Patient"))[number])


def call(stack: Stack, record: str, number: str, said: str | None = None, **more: Any) -> dict[str, Any]:
    """The agent notes a home phone; with ``said`` the conversation is handed in as well."""
    heard = {
        "canonical_id": f"ehr:Patient:{record}", "entity_type": "patient", "event_type": "patient.updated",
        "source": "voice_agent", "facts": {"telecom": [{"system": "phone", "use": "home", "value": number}]}, **more,
    }  # fmt: skip
    document: Any = [heard]
    if said is not None:
        document = {"session": f"call-{record}", "transcript": said, "events": [heard]}
    found: dict[str, Any] = stack.cli("event", "append", stack.write("call.json", document))["events"][0]
    return found


def phone(ehr: Sandbox, record: str) -> str | None:
    telecom = ehr.get(f"fhir/Patient/{record}").get("telecom", ())
    return next((t["value"] for t in telecom if t["system"] == "phone" and t.get("use") == "home"), None)


def item_about(stack: Stack, event: dict[str, Any]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        items = stack.cli("review", "list")["items"]
        return next((each for each in items if event["id"] in each["event_ids"]), None)

    return wait_for("the question to a person", look, every_s=0.5)


def test_what_a_caller_said_is_judged_and_reaches_the_chart(flowing: Stack, ehr: Sandbox, model: Model) -> None:
    record = patient(ehr, 0)
    call(flowing, record, "+16175550177", SAID.format(number="617-555-0177"))
    wait_for("the phone in the chart", lambda: phone(ehr, record) == "+16175550177")
    assert model.asked, "rules alone had not proved it"
    shown = flowing.cli("entity", "show", f"ehr:Patient:{record}")
    winner = shown["provenance"]["telecom[phone|home]"]
    assert (winner["source"], winner["confidence"]) == ("voice_agent", 0.85)
    assert flowing.cli("review", "list")["items"] == []


def test_what_was_rejected_never_arrives(flowing: Stack, ehr: Sandbox) -> None:
    record = patient(ehr, 1)
    before = phone(ehr, record)
    event = call(flowing, record, "+16175550178")
    item = item_about(flowing, event)
    assert (item["reason"], item["status"]) == ("unclear", "pending")
    flowing.cli("review", "claim", item["id"], "--actor", "ruth")
    other = flowing.cli("review", "approve", item["id"], "--actor", "omar", code=1)
    assert other["error"] == "claimed_by_other"
    flowing.cli("review", "reject", item["id"], "--actor", "ruth", "--reason", "misheard")
    flowing.settled()
    assert phone(ehr, record) == before
    (over,) = [each for each in flowing.cli("review", "history")["items"] if each["id"] == item["id"]]
    assert (over["status"], over["completed_by"]) == ("rejected", "ruth")
    assert flowing.cli("review", "show", item["id"])["events"][0]["review_status"] == "rejected"


def test_what_was_corrected_arrives_as_corrected(flowing: Stack, ehr: Sandbox) -> None:
    record = patient(ehr, 2)
    item = item_about(flowing, call(flowing, record, "+16175550179"))
    schema = flowing.cli("review", "correction-schema", item["id"])
    assert schema["fields"]["telecom"]["type"] == "array"
    wrong = flowing.cli("review", "correct", item["id"], flowing.write("w.json", {"telecom": "617"}), code=1)
    assert (wrong["error"], wrong["where"]) == ("wrong_type", "corrected_data.telecom")
    right = {"telecom": [{"system": "phone", "use": "home", "value": "+16175550180"}]}
    flowing.cli("review", "correct", item["id"], flowing.write("c.json", right), "--notes", "called back")
    wait_for("the corrected phone", lambda: phone(ehr, record) == "+16175550180")
    diff = flowing.cli("review", "diff", item["id"])
    assert diff["original_events"][0]["data"]["telecom"][0]["value"] == "+16175550179"
    assert diff["corrected_events"][0]["data"] == right


def test_what_was_superseded_is_not_approved(flowing: Stack, ehr: Sandbox) -> None:
    record = patient(ehr, 3)
    before = phone(ehr, record)
    first = call(flowing, record, "+16175550181")
    item = item_about(flowing, first)
    flowing.cli("review", "claim", item["id"], "--actor", "ruth")
    later = call(flowing, record, "+16175550182", supersedes=first["id"])
    refused = flowing.cli("review", "approve", item["id"], "--actor", "ruth", code=1)
    assert refused["error"] == "superseded"
    assert {"event_id": first["id"], "because": "superseded", "by": later["id"], "fields": ["telecom"]} in refused[
        "changed"
    ]
    again = item_about(flowing, later)
    assert first["id"] not in again["event_ids"]
    flowing.settled()
    assert phone(ehr, record) == before
    flowing.cli("review", "approve", again["id"], "--actor", "ruth")
    wait_for("the later phone", lambda: phone(ehr, record) == "+16175550182")


def test_what_nobody_answers_expires_in_sight(flowing: Stack, ehr: Sandbox) -> None:
    record = patient(ehr, 4)
    before = phone(ehr, record)
    item = item_about(flowing, call(flowing, record, "+16175550183"))
    flowing.cli("review", "policy", flowing.write("policy.json", {"sample": 0, "expires_after_h": 0.0001}))
    publisher = Publisher(flowing.services.services.redis_url)

    def expired() -> bool:
        publisher.hint(REVIEW_TEND)
        return any(each["id"] == item["id"] for each in flowing.cli("review", "list", "--status", "expired")["items"])

    wait_for("the question to expire", expired, every_s=1)
    flowing.settled()
    assert phone(ehr, record) == before
    assert flowing.cli("review", "stats")["expired"] >= 1
    flowing.cli("review", "policy", flowing.write("policy.json", {"sample": 0}))
    assert flowing.cli("review", "reopen", item["id"])["status"] == "pending"
    flowing.cli("review", "approve", item["id"])
    wait_for("the phone of the reopened question", lambda: phone(ehr, record) == "+16175550183")
