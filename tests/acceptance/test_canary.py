"""A canary patient goes down every failing path, and is looked for wherever she must not be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from connector_runner.cli import demo
from connector_runner.infra.queue import RECONCILE, Publisher
from tests.acceptance.canary import (
    CANARY,
    FLOWER,
    NEWBORN,
    a_canary,
    a_newborn,
    ask,
    free_port,
    look_for_her,
    pages_of,
    start_flower,
    start_web,
)
from tests.acceptance.gossip import a_gossip
from tests.acceptance.stack import Sandbox, Stack, a_stack, ehr_settings, store_settings, wait_for


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with a_stack(tmp_path_factory.mktemp("canary")) as made:
        made.environment |= {
            "CONNECTOR_RUNNER_LLM_BASE_URL": f"http://127.0.0.1:{free_port()}/v1",
            "CONNECTOR_RUNNER_LLM_MODEL": "nobody-there",
            "CONNECTOR_RUNNER_RECONCILE_EVERY_S": "2",
        }
        yield made


@pytest.fixture(scope="module")
def ehr(stack: Stack) -> Sandbox:
    return stack.sandbox("ehr", "--seed", "4", "--patients", "2")


@pytest.fixture(scope="module")
def store(stack: Stack) -> Sandbox:
    return stack.sandbox("store")


@pytest.fixture(scope="module")
def flower(stack: Stack) -> str:
    return start_flower(stack)


def fail_in_every_way(stack: Stack, ehr: Sandbox, store: Sandbox) -> None:
    """Bad records, bad files with a telling name, refused writes, lost answers, errors that quote the record."""
    folder = stack.folder / "drop"
    folder.mkdir()
    named = folder / f"{CANARY[0]}_Ida.json"
    named.write_text(json.dumps(a_canary("c1", birthDate=f"{CANARY[4]}-{CANARY[0]}")))
    (folder / "cut.ndjson").write_text(json.dumps(a_canary("c2")) + "\n" + json.dumps(a_canary("c3"))[:90])
    stack.cli("import", str(folder), "--source", "partner")
    requests.put(f"{ehr.fhir}/Patient/canary", json=a_canary("canary"), timeout=10).raise_for_status()
    requests.put(f"{ehr.fhir}/Patient/odd", json=a_canary("odd"), timeout=10).raise_for_status()
    store.put(
        "_sandbox/faults",
        [{"on": "PUT Patient", "kind": "status", "status": 422, "next": 2},
         {"on": "PUT Patient", "kind": "drop_answer", "next": 2},
         {"on": "PUT Patient", "kind": "html", "status": 500, "next": 1}],
    )  # fmt: skip


def test_a_canary_is_nowhere_that_she_must_not_be(stack: Stack, flower: str, ehr: Sandbox, store: Sandbox) -> None:
    fail_in_every_way(stack, ehr, store)
    settings = ehr_settings(ehr.fhir)
    settings["settings"]["sink"]["capabilities"] = {"transaction": True}
    stack.cli("source", "apply", stack.write("ehr.json", settings))
    stack.cli("source", "apply", stack.write("store.json", store_settings(store.fhir)))
    for arguments in (("worker", "--pool", "io"), ("worker", "--pool", "cpu"), ("beat",)):
        stack.start(*arguments)
    wait_for("the canary", lambda: stack.cli("entity", "list", "--entity-type", "patient")["total"] >= 4, every_s=1)
    bad = [{"canonical_id": "ehr:Patient:canary", "entity_type": "patient", "event_type": "patient.updated",
            "source": "voice_agent", "confidence": CANARY[0], "facts": {"name": {"family": CANARY[0]}}}]  # fmt: skip
    stack.cli("event", "append", stack.write("bad.json", bad), code=1)
    wait_for("writes", lambda: any(entry["committed"] for entry in store.journal()), every_s=0.5)
    at_rest(stack)

    wait_for("task events", lambda: "poll.run" in requests.get(f"{flower}/api/tasks", auth=FLOWER, timeout=60).text)
    look_for_her(stack, flower)


def at_rest(stack: Stack) -> None:
    """Until nothing is on its way; what hangs on a record that is quarantined waits for good."""

    def look() -> bool:
        lanes = [sink["lanes"] for sink in stack.status()["sinks"]]
        moving = sum(
            n for sink in lanes for state, n in sink.items() if state not in ("idle", "quarantined", "waiting")
        )
        return not moving and not stack.pending()

    wait_for("the lanes to rest", look, every_s=1)


def test_nor_on_the_way_out(stack: Stack, flower: str, ehr: Sandbox, store: Sandbox) -> None:
    """Sinks that refuse, quote and forget her; a promise that is refused; and all that is then asked about her."""
    crm, web = stack.sandbox("crm"), start_web(stack)
    crm.put("_sandbox/faults", [{"on": "PUT contacts", "kind": "status", "status": 422, "next": 1},
                                {"on": "PUT contacts", "kind": "drop_answer", "next": 1}])  # fmt: skip
    with a_gossip(CANARY[0]) as gossip:
        for name, url in (("crm", f"{crm.root}/api"), ("gossip", gossip)):
            stack.cli("source", "apply", stack.write(f"{name}.json", crm_settings(name, url)))
        ehr.put("fhir/Appointment/canary", a_visit())
        stack.cli("outbound", "retry", "--sink", "store")
        promise(stack, ehr)
        wait_for("the refused promise", lambda: stack.cli("entity", "list", "--type", "outbound_task")["total"] and
                 reasons(stack) >= {"possible_duplicate"}, every_s=1)  # fmt: skip
        wait_for("the refusals", lambda: {lane["sink"] for lane in quarantined(stack)} >= {"gossip", "ehr"}, every_s=1)
        wait_for("the question", lambda: stack.cli("outbound", "translate")["translations"], every_s=1)
        forget(stack, ehr, store)
        told = ask_about_her(stack)
    pages = pages_of(web)
    assert re.search(r'^connector_runner_lanes\{sink="[^"]+\.gossip",state="idle"\} ', pages["/metrics"], re.MULTILINE)
    look_for_her(stack, flower, **told, **pages, **{"outbound status": json.dumps(stack.cli("outbound", "status"))})


def crm_settings(name: str, url: str) -> dict[str, Any]:
    """The demo's CRM, in a hurry."""
    every = demo.documents(dict.fromkeys(demo.SYSTEMS, url))
    made: dict[str, Any] = next(document for document in every if document["name"] == "crm")
    made["settings"]["sink"] |= {"quiet_period_s": 1, "rate": {"per_second": 50, "burst": 10, "concurrency": 2}}
    return made | {"name": name}


def a_visit() -> dict[str, Any]:
    """Whose kind no vocabulary knows."""
    return {
        "resourceType": "Appointment", "id": "canary", "status": "booked", "description": f"{CANARY[0]} comes",
        "appointmentType": {"text": f"{CANARY[0]} check of the wing"},
        "start": "2027-12-01T09:00:00Z", "end": "2027-12-01T09:20:00Z",
        "participant": [{"actor": {"reference": "Patient/canary"}, "status": "accepted"}],
    }  # fmt: skip


def promise(stack: Stack, ehr: Sandbox) -> None:
    """She calls: of a newborn whom the EHR has twice, and nobody is told by such a name; and of her son, unknown so
    far, who is promised a visit that is refused."""
    for number in (1, 2):
        ehr.put(f"fhir/Patient/newborn{number}", a_newborn(f"newborn{number}"))
    ehr.put("_sandbox/faults", [
        {"on": "POST", "kind": "entry_fails", "status": 409, "entry": 1, "code": "business-rule"},
        {"on": "PUT Appointment", "kind": "status", "status": 409, "code": "business-rule"},
    ])  # fmt: skip
    phone = {"system": "phone", "use": "home", "value": "+1" + CANARY[3]}
    base = {"source": "voice_agent", "confidence": 0.5, "correlation_id": "call-9"}
    people = [
        {**base, "entity_type": "patient", "canonical_id": f"voice_agent:Patient:{name.split()[0].lower()}",
         "facts": {"name": {"family": CANARY[0], "given": [name]}, "birth_date": born, "telecom": [phone]}}
        for name, born in ((NEWBORN[0], NEWBORN[1]), ("Otto", "1975-02-03"))
    ]  # fmt: skip
    times = {"start": "2027-12-02T09:00:00Z", "end": "2027-12-02T09:20:00Z"}
    visit = {**base, "entity_type": "appointment", "canonical_id": "voice_agent:Appointment:otto",
             "facts": {"status": "booked", **times, "patient": {"ref": "voice_agent:Patient:otto"}}}  # fmt: skip
    said = stack.cli("event", "append", stack.write("call.json", [*people, visit]))["events"]
    for event in reversed(said):
        stack.cli("review", "approve", event["id"])


def quarantined(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.cli("outbound", "status", "--state", "quarantined")["lanes"]
    return found


def reasons(stack: Stack) -> set[str]:
    return {lane["reason"] for lane in quarantined(stack)}


def forget(stack: Stack, ehr: Sandbox, store: Sandbox) -> None:
    """The store takes what is new of her, and shows what was before: the sample finds it out."""
    publisher = Publisher(stack.services.services.redis_url)
    ehr.put("fhir/Patient/canary", a_canary("canary", gender="female"))
    wait_for("the change", lambda: any(each.get("gender") == "female" and each["name"][0]["family"] == CANARY[0]
             for each in store.every("Patient")))  # fmt: skip
    store.put("_sandbox/faults", [{"on": "GET Patient", "kind": "stale"}])

    def found_out() -> bool:
        publisher.hint(RECONCILE)
        return any("silent_reject" in sink["drift"] for sink in stack.cli("outbound", "status")["sinks"])

    wait_for("the silent reject", found_out, every_s=1)


def ask_about_her(stack: Stack) -> dict[str, str]:
    """What commands say: those that fail in full, those that show records on purpose beside what they show."""
    lanes, question = quarantined(stack), stack.cli("outbound", "translate")["translations"][0]["id"]
    twice = next(lane["lane_id"] for lane in lanes if lane["reason"] == "possible_duplicate")
    other = next(lane["lane_id"] for lane in lanes if lane["reason"] != "possible_duplicate")
    her = "ehr:Patient:canary"
    showing = [
        *(("outbound", "preview", her, "--sink", sink) for sink in ("store", "crm", "gossip")),
        ("outbound", "log", "--bodies"),
        ("outbound", "undo", "--since", "1h"),
        ("outbound", "translate"),
        ("entity", "explain", her),
    ]
    failing = [
        ("outbound", "preview", her, "--sink", "nowhere"),
        ("outbound", "steps", "no such call"),
        ("outbound", "same", other, "--none"),
        ("outbound", "translate", question, "no-such-code"),
        ("entity", "explain", "ehr:Patient:nobody"),
    ]
    silent = [("outbound", "gaps"), ("outbound", "log"), ("outbound", "steps", "call-9"),
              ("quarantine", "replay", "--all", "--dry-run")]  # fmt: skip
    told, shown = ask(stack, showing, failing, silent)
    for words in (f"entity explain {her}", "outbound log --bodies", "outbound translate"):
        assert CANARY[0] in shown[words], f"{words} does not show her: nothing is proved"
    for last in (("outbound", "same", twice, "Patient/newborn1"), ("quarantine", "replay", "--all")):
        ran = stack.typed(*last)
        told[" ".join(last)] = ran.stdout + ran.stderr
    assert ran.returncode == 1, "what cannot be read fails again"
    return told


def test_flower_shows_workers_and_queues_behind_a_password(stack: Stack, flower: str) -> None:
    assert requests.get(f"{flower}/api/workers", timeout=10).status_code == 401

    def queues() -> set[str]:
        """Of the workers that answered in time."""
        workers = requests.get(f"{flower}/api/workers?refresh=1", auth=FLOWER, timeout=60).json()
        return {queue["name"] for worker in workers.values() for queue in worker.get("active_queues") or ()}

    all_of_them = {"poll", "imports", "project", "sink.demo.store", "sink.demo.ehr"}
    wait_for("every queue", lambda: all_of_them <= queues(), every_s=1)


def test_task_arguments_are_ids_only(stack: Stack, flower: str) -> None:
    tasks = requests.get(f"{flower}/api/tasks", auth=FLOWER, timeout=60).json()
    assert tasks
    for task in tasks.values():
        assert task["args"] in ("()", "[]", None), task["name"]
        for word in str(task["kwargs"]).replace("'", " ").replace("{", " ").replace("}", " ").split():
            assert len(word.strip(",:")) <= 64, task["name"]


def test_the_log_of_processes_is_where_it_was_looked_for(stack: Stack) -> None:
    """The canary test would prove nothing if the processes logged elsewhere."""
    assert Path(stack.folder / "processes.log").stat().st_size > 1000
