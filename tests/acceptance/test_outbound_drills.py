"""Drills on the whole product: whatever befalls it, each word of the EHR gets to each sink once, and soon.

The seed is printed; ``DRILL_SEED=n make test ARGS="-k outbound_drills"`` runs another. ``DRILL_DOWN_S=300`` keeps
the sink down for five minutes.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from connector_runner.infra.queue import KEY_PREFIX
from tests.acceptance.drill_clinic import refused_consent, store_document
from tests.acceptance.drills import BEAT, Clinic, a_clinic, a_sink, chance, until
from tests.acceptance.hints import hinting, hints, queue_of
from tests.acceptance.stack import wait_for

DOWN_S = float(os.environ.get("DRILL_DOWN_S", "20"))
SLOW = {"on": "* *", "kind": "slow", "seconds": 0.3}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    with a_clinic(tmp_path_factory.mktemp("drills")) as made:
        yield made


@pytest.fixture
def clinic(running: Clinic) -> Iterator[Clinic]:
    """As it is before each drill; the laws hold after it."""
    running.ready()
    yield running
    running.check()


def test_a_draining_worker_is_killed(clinic: Clinic) -> None:
    dice = chance("killed")
    clinic.store.faults(SLOW)
    clinic.say(*dice.sample(range(8), 4), 8, 9)
    worker = clinic.drainer()
    time.sleep(dice.uniform(0, 0.3))
    os.killpg(worker.pid, signal.SIGKILL)
    clinic.resumes("a worker was killed")
    assert worker.returncode == -signal.SIGKILL


def test_a_worker_is_frozen_past_its_leases_and_wakes_up(clinic: Clinic) -> None:
    dice = chance("frozen")
    clinic.store.faults(SLOW)
    chosen = dice.sample(range(8), 3)
    clinic.say(*chosen, 10)
    worker = clinic.drainer()
    os.kill(worker.pid, signal.SIGSTOP)
    frozen = time.monotonic()
    clinic.say(*chosen)
    clinic.resumes("a worker was frozen", frozen)
    until("the leases of the frozen worker to end", lambda: clinic.leases_of(worker) == 0)
    clinic.say(*chosen)
    os.kill(worker.pid, signal.SIGCONT)
    clinic.resumes("a worker woke up")
    time.sleep(1)


@pytest.mark.parametrize("how", ["emptied", "restarted", "restarted empty"])
def test_redis_is(clinic: Clinic, how: str) -> None:
    dice = chance(f"redis {how}")
    clinic.store.faults(SLOW)
    clinic.say(*dice.sample(range(8), 4))
    clinic.drainer()
    time.sleep(dice.uniform(0, 0.5))
    if how == "emptied":
        redis.Redis.from_url(clinic.stack.services.services.redis_url).flushall()
    else:
        clinic.stack.restart_redis(wipe=how == "restarted empty")
    back = time.monotonic()
    clinic.say(*dice.sample(range(8), 2))
    clinic.resumes(f"Redis was {how}", back)


def test_postgres_is_restarted_at_once(clinic: Clinic) -> None:
    dice = chance("postgres")
    clinic.store.faults(SLOW)
    clinic.say(*dice.sample(range(8), 4), 11)
    clinic.drainer()
    time.sleep(dice.uniform(0, 0.5))
    clinic.stack.restart_postgres()
    clinic.database.dispose()
    back = time.monotonic()
    clinic.say(*dice.sample(range(8), 2))
    clinic.resumes("Postgres was restarted", back)


def test_every_hint_comes_twenty_times(clinic: Clinic) -> None:
    dice = chance("repeated")
    clinic.store.faults(SLOW)
    with hinting(clinic) as app:
        for _ in range(3):
            clinic.say(*dice.sample(range(8), 3))
            for hint in hints(clinic):
                for _ in range(20):
                    app.send_task(hint.task, kwargs=dict(hint.arguments), queue=queue_of(hint), expires=60)
    clinic.resumes("hints were repeated")


def test_every_hint_is_lost(clinic: Clinic) -> None:
    """Each one ever sent is taken out of its queue, and what remembers that it was sent stays."""
    dice = chance("lost")
    client = redis.Redis.from_url(clinic.stack.services.services.redis_url)
    end = time.monotonic() + 4
    while time.monotonic() < end:
        for hint in hints(clinic):
            client.set(hint.wake_key, 1, ex=5)
            client.delete(f"{KEY_PREFIX}{queue_of(hint)}")
        clinic.say(*dice.sample(range(8), 1))
        time.sleep(0.05)
    lost = clinic.missing()
    clinic.resumes("hints were lost")
    assert lost, "no hint was lost"


def test_two_beats_poll_no_more_than_one_and_none_costs_seconds(clinic: Clinic) -> None:
    dice = chance("beats")
    clinic.stack.start(*BEAT)
    time.sleep(3)  # both are up and at it
    began, seen = time.monotonic(), len(clinic.ehr.journal())
    clinic.say(*dice.sample(range(8), 3))
    clinic.resumes("two beats ran")
    time.sleep(2)
    asked = [entry for entry in clinic.ehr.journal()[seen:] if entry["path"].startswith("/fhir/Patient?")]
    print(f"{len(asked)} polls of patients in {time.monotonic() - began:.1f} s")
    assert len(asked) <= (time.monotonic() - began) * 1.5 + 2, "two beats poll twice as often"
    for beat in clinic.beats:
        clinic.stack.end(beat, signal.SIGKILL)
    gone = time.monotonic()
    clinic.say(*dice.sample(range(8), 3))
    clinic.resumes("no beat ran", gone)


def test_a_token_expires(clinic: Clinic) -> None:
    dice = chance("token")
    clinic.store.behave(token="second-token")
    clinic.say(*dice.sample(range(8), 3), 12)
    wait_for("the store to refuse", lambda: paused(clinic) is not None)
    clinic.token.write_text("second-token\n")
    clinic.resumes("the token was renewed")
    assert paused(clinic) is None


def paused(clinic: Clinic) -> str | None:
    """Why the store is paused."""
    found = clinic.query("SELECT sink_paused_reason AS reason FROM data_source WHERE name = 'store'")
    return None if found[0]["reason"] is None else str(found[0]["reason"])


def test_a_sink_is_down_while_a_patient_withdraws_consent(clinic: Clinic) -> None:
    """First nothing listens, then a proxy answers for it; the CRM goes on meanwhile."""
    dice = chance("down")
    withdrawn = 14
    clinic.say(withdrawn)
    clinic.ready()
    last = {key: clinic.said[key] for key in (f"Drill{withdrawn}", f"visit{withdrawn}")}
    port = int(clinic.store.sandbox.root.rpartition(":")[2])
    clinic.store.sandbox.process.kill()
    clinic.store.sandbox.process.wait(10)
    down = time.monotonic()
    clinic.say(*dice.sample(range(8), 4), 13, withdrawn)
    until("the CRM to be told all the same", lambda: "crm" not in clinic.missing())
    until("the breaker to open", lambda: clinic.breaker() is not None)
    clinic.put(refused_consent(withdrawn))
    clinic.unshared |= last
    until("the consent to be known", lambda: clinic.query("SELECT entity_id FROM entity WHERE entity_type = 'consent'"))
    time.sleep(max(0.0, DOWN_S * 2 / 3 - (time.monotonic() - down)))
    clinic.store.sandbox = a_sink(clinic.stack, "store", port)
    clinic.store.behave(token=clinic.token.read_text().strip())
    clinic.store.faults({"on": "* *", "kind": "html", "status": 502})
    time.sleep(DOWN_S / 3)
    assert "store" in clinic.missing()
    clinic.store.faults()
    clinic.resumes(f"a sink was down for {DOWN_S:g} s")
    assert clinic.lane("store", f"ehr:Patient:d{withdrawn}")["reason"] == "consent_withdrawn"


def test_what_a_sink_refuses_is_put_aside_and_replayed(clinic: Clinic) -> None:
    """Found, understood and sent again by an operator's commands; another is given up."""
    one, other = chance("refused").sample(range(8), 2)
    cli = clinic.stack.cli
    clinic.store.faults({"on": "PUT Patient", "kind": "status", "status": 422, "next": 1},
                        {"on": "PATCH Patient", "kind": "status", "status": 422, "next": 1})  # fmt: skip
    name = f"ehr:Patient:d{one}"
    before = cli("outbound", "preview", name, "--sink", "store")
    assert before["action"] == "none"
    clinic.say(one)
    until("the refusal", lambda: clinic.lane("store", name)["state"] == "quarantined")
    (entry,) = cli("quarantine", "list", "--stage", "outbound")["entries"]
    shown = cli("quarantine", "show", entry["quarantine_id"], "--body")
    assert f"617-555-{clinic.words:04d}" in shown["body"]
    assert "safe" in cli("entity", "explain", name, "--field", "telecom", "--sink", "store")["safe_to_replay"]
    clinic.store.faults()
    assert cli("quarantine", "replay", entry["quarantine_id"], "--dry-run")["counts"] == {"put_back": 1}
    assert "store" in clinic.missing()
    assert cli("quarantine", "replay", "--code", entry["code"])["counts"] == {"put_back": 1}
    clinic.resumes("what was refused was replayed")
    tries = cli("outbound", "log", "--entity", name, "--sink", "store")["writes"]
    landed, refused = tries[0], tries[1]
    assert (landed["outcome"], refused["http_status"]) == ("landed", 422)
    assert landed["idempotency_key"] == refused["idempotency_key"]
    assert cli("quarantine", "list", "--stage", "outbound")["entries"] == []

    clinic.store.faults({"on": "* Patient", "kind": "status", "status": 422, "next": 1})
    clinic.say(other)
    until("the refusal", lambda: clinic.lane("store", f"ehr:Patient:d{other}")["state"] == "quarantined")
    assert cli("quarantine", "discard", "--stage", "outbound") == {"discarded": 1}
    clinic.store.faults()
    clinic.say(other)
    cli("outbound", "retry", "--sink", "store")
    clinic.resumes("after a write was given up")


def test_a_transaction_fails_in_part(clinic: Clinic) -> None:
    """Once the store says for which entry, once it does not; what was not at fault goes at once."""

    def apply(**more: Any) -> None:
        document = store_document(clinic.store.sandbox, clinic.token, capabilities={"transaction": True}, **more)
        clinic.stack.cli("source", "apply", clinic.stack.write("store.json", document))

    apply(enabled=False)
    clinic.say(20, 21)
    until("the CRM to be told", lambda: "crm" not in clinic.missing())
    clinic.store.faults({"on": "POST", "kind": "entry_fails", "entry": 1, "next": 1},
                        {"on": "POST", "kind": "entry_fails", "next": 1})  # fmt: skip
    seen = len(clinic.store.requests())
    apply()
    until("the refusal", lambda: clinic.query("SELECT lane_id FROM sync_lane WHERE state = 'quarantined'"))
    until("the others to land", lambda: len(clinic.missing().get("store", ())) <= 1)
    clinic.stack.cli("quarantine", "replay", "--stage", "outbound")
    clinic.resumes("a transaction failed in part")
    bundles = [entry for entry in clinic.store.requests()[seen:] if entry["path"] == "/fhir"]
    assert [entry["status"] for entry in bundles][:2] == [422, 422]
    assert not any(entry["committed"] for entry in bundles[:2])


def test_a_change_of_the_ehr_reaches_the_crm_and_never_returns(clinic: Clinic) -> None:
    """Through two rounds of polling the EHR after its change was told on."""
    clinic.say(7)
    clinic.resumes("a change of the EHR")
    polls = len(clinic.ehr.journal())
    until("further polls", lambda: len(clinic.ehr.journal()) > polls + 6)
    stray = [entry for entry in clinic.ehr.journal() if entry["method"] not in ("GET", "HEAD")]
    assert len(stray) == clinic.ehr_writes, "only the EHR's own users write there"
    assert not clinic.query("SELECT w.write_id FROM write_log w JOIN data_source d ON d.data_source_id = w.sink_id"
                            " WHERE d.name = 'ehr'")  # fmt: skip
