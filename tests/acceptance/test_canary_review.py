"""The canary on the ways of review, policy and the audit log: each fails or refuses, and none tells of her."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.canary import (
    CANARY,
    a_canary,
    ask,
    look_for_her,
    pages_of,
    start_flower,
    start_web,
)
from tests.acceptance.stack import Stack, a_stack, ehr_settings, store_settings, wait_for
from tests.integration.llm_server import Model, serving


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    """Each time it is asked it is of no use in another way."""
    with serving() as served:

        def answer(request: dict[str, Any]) -> str:
            served.status, words = USELESS[len(served.asked) % len(USELESS)]
            return words(request)

        served.answer = answer
        yield served


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Stack]:
    """She is known, and whatever is of her goes to a store."""
    with a_stack(tmp_path_factory.mktemp("canary")) as made:
        made.environment |= {
            "CONNECTOR_RUNNER_LLM_BASE_URL": model.base_url,
            "CONNECTOR_RUNNER_LLM_MODEL": "gossip",
        }
        ehr, store = made.sandbox("ehr", "--seed", "4", "--patients", "2"), made.sandbox("store")
        ehr.put("fhir/Patient/canary", a_canary("canary"))
        made.cli("source", "apply", made.write("ehr.json", ehr_settings(ehr.fhir)))
        made.cli("source", "apply", made.write("store.json", store_settings(store.fhir)))
        for arguments in (("worker", "--pool", "io"), ("worker", "--pool", "cpu"), ("beat",)):
            made.start(*arguments)
        yield made


SAID = f"""Agent: Tell me your name, your date of birth and how we reach you.
Caller: I am Ida {CANARY[0]}, born on July 9, 1931, {CANARY[4]}.
Agent: And your number?
Caller: My home phone number is {CANARY[2]}, my e-mail is {CANARY[1]}.
Agent: Thank you, noted."""


SISTER = {
    "canonical_id": "desk:Patient:sister", "entity_type": "patient", "source": "manual",
    "facts": {
        "name": {"family": CANARY[0], "given": ["Wilhelmina"]}, "birth_date": CANARY[4],
        "telecom": [{"system": "phone", "value": CANARY[2]}, {"system": "email", "value": CANARY[1]}],
    },
}  # fmt: skip
"""Of whom nobody but a person can tell whether she is another."""


def quotes_what_is_not_there(request: dict[str, Any]) -> str:
    quote = {"turn": 1, "text": f"{CANARY[0]} said so"}
    claims = json.loads(request["messages"][-1]["content"])["claims"]
    return json.dumps({"verdicts": [{"claim": c["claim"], "verdict": "supported", "quotes": [quote]} for c in claims]})


USELESS: list[tuple[int, Callable[[dict[str, Any]], str]]] = [
    (500, json.dumps),
    (400, json.dumps),
    (200, lambda request: request["messages"][-1]["content"][:-1]),
    (200, lambda request: json.dumps({CANARY[0]: request["messages"][-1]["content"]})),
    (200, quotes_what_is_not_there),
]
"""What a model answers: a status, and the text of its message."""


def test_a_canary_is_nowhere_in_review_and_policy(stack: Stack, model: Model) -> None:
    """Judged by a model of no use, asked about, answered wrongly, kept back by policy, and on record."""
    flower, web = start_flower(stack), start_web(stack)
    wait_for("her in the store", lambda: written(stack), every_s=1)
    stack.cli("event", "append", stack.write("sister.json", [SISTER]))
    for number in range(len(USELESS)):
        stack.cli("event", "append", stack.write("heard.json", heard(number)))
    wait_for("the model to be asked", lambda: len(model.asked) >= len(USELESS), every_s=0.5)
    events = wait_for(
        "the questions",
        lambda: len(asked_about(stack, "events")) >= len(USELESS) and asked_about(stack, "events"),
        every_s=1,
    )
    match = wait_for("a question about two records", lambda: asked_about(stack, "match"), every_s=1)[0]
    stack.cli("policy", "apply", stack.write("policy.json", {
        "test_callers": [f"+1{CANARY[3]}"], "do_not_contact": [{"number": f"+1{CANARY[3]}"}, {"email": CANARY[1]}],
    }))  # fmt: skip
    refused = wait_for("the refusals", lambda: stack.cli("audit", "list", "--action", "policy.refused")["entries"])
    assert {each["detail"]["reason"] for each in refused} == {"test_caller"}
    told = ask_about_review(stack, events[0]["id"], match["id"])
    look_for_her(stack, flower, **told, **pages_of(web))


def written(stack: Stack) -> bool:
    return any(sink["synced"] >= 3 for sink in stack.status()["sinks"] if sink["name"] == "store")


def heard(number: int) -> dict[str, Any]:
    facts = {
        "name": {"family": CANARY[0], "given": ["Ida"]}, "birth_date": CANARY[4],
        "telecom": [{"system": "phone", "use": "home", "value": CANARY[2]},
                    {"system": "email", "use": "home", "value": CANARY[1]}],
    }  # fmt: skip
    event = {"canonical_id": f"voice_agent:Patient:heard{number}", "entity_type": "patient", "source": "voice_agent",
             "facts": facts}  # fmt: skip
    return {"session": f"heard-{number}", "transcript": SAID, "events": [event]}


def asked_about(stack: Stack, kind: str) -> list[dict[str, Any]]:
    return [each for each in stack.cli("review", "list", "--limit", "100")["items"] if each["kind"] == kind]


def ask_about_review(stack: Stack, item: str, match: str) -> dict[str, str]:
    """What commands say of questions, answers, policy and the log."""
    her = "ehr:Patient:canary"
    wrong = stack.write("wrong.json", {"telecom": CANARY[2], "name": {"family": CANARY[0]}})
    unknown = stack.write("unknown.json", {"nickname": CANARY[0]})
    callers = stack.write("callers.json", {"test_callers": [CANARY[2]], CANARY[0].lower(): CANARY[1]})
    showing = [
        ("review", "show", item), ("review", "show", match), ("review", "diff", item),
        ("review", "correction-schema", item), ("entity", "show", her, "--view", "agent"), ("policy", "show"),
    ]  # fmt: skip
    failing = [
        ("review", "correct", item, wrong), ("review", "correct", item, unknown),
        ("review", "approve", item, "--version", "99"), ("review", "reject", "no-such-item", "--reason", CANARY[0]),
        ("policy", "apply", callers),
        ("audit", "export", "--out", str(stack.folder / "nowhere" / "audit.ndjson")),
        ("audit", "verify", "--anchor", wrong), ("audit", "list", "--after", "x"),
    ]  # fmt: skip
    silent = [
        *(("review", word) for word in ("list", "history", "stats", "calibration", "policy", "my-queue")),
        *(("policy", "check", her, "--action", word) for word in ("read", "contact")),
        ("policy", "check", her, "--action", "write", "--sink", "store"),
        ("resolution", "report"), ("link", "list"), ("alerts", "list"), ("outbound", "status"),
        ("audit", "list", "--limit", "1000"), ("audit", "list", "--entity", her), ("audit", "verify"),
        ("audit", "export"), ("audit", "export", "--format", "fhir"), ("audit", "anchor"),
    ]  # fmt: skip
    told, shown = ask(stack, showing, failing, [tuple(each) for each in silent])
    for words in (f"review show {item}", f"review show {match}"):
        assert CANARY[0] in shown[words], f"{words} does not show her: nothing is proved"
    for last in (("review", "reject", match, "--reason", f"{CANARY[0]} is another"),
                 ("review", "approve", item, "--notes", f"called {CANARY[2]}")):  # fmt: skip
        ran = stack.typed(*last)
        assert ran.returncode == 0, ran.stderr[-500:]
        told[" ".join(last[:3])] = ran.stdout + ran.stderr
    return told
