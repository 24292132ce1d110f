"""Subscriptions at a simulated EHR, kept by us: what changes there is read and landed, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from connector_runner.bootstrap import Addresses, Runner
from connector_runner.observability import status
from connector_runner.outbound.operating.replay import replay
from connector_runner.sandbox import launch
from connector_runner.settings import Settings
from tests.integration.push_stack import Clinic, Ehr, named, serving, until

TOPIC = "https://sandbox.example/SubscriptionTopic/Patient"


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store") as system:
        yield system


@pytest.fixture
def ehr(running: launch.Running) -> Ehr:
    return Ehr(running)


@pytest.fixture
def runner(database_url: str, redis_url: str) -> Iterator[Runner]:
    runner = Runner(Settings(http_allow=("127.0.0.1",)), Addresses(database_url, redis_url))
    yield runner
    runner.database.dispose()
    runner.http.close()


@pytest.fixture
def web(runner: Runner) -> Iterator[str]:
    with serving(runner) as url:
        yield url


def clinic_of(runner: Runner, workspace: str, ehr: Ehr, web: str, **subscription: object) -> Clinic:
    push = {"public_url": web, "subscribe": {"Patient": subscription}, "gap_grace_s": 1}
    settings = {"base_url": ehr.system.base_url, "resources": {"Patient": {"cadence_s": 30}}, "push": push}
    return Clinic(runner, workspace, settings)


def test_a_rest_hook_change_lands(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    clinic = clinic_of(runner, workspace, ehr, web)
    clinic.keep()
    assert ehr.subscriptions() == [], "the secret is known to every receiver before the server learns it"
    assert len(clinic.query("SELECT 1 FROM audit_log WHERE action = 'push.secret_made'")) == 1
    clinic.later(5)
    clinic.keep()
    until("active", lambda: ehr.subscriptions()[0]["status"] == "active")
    ehr.put("1", **named("One"))
    until("stored", lambda: clinic.pushes().get("pending") == 1)
    worked = clinic.work()
    assert (worked.landed.events_created, worked.pushes) == (1, 1)
    assert clinic.family("1") == "One"
    assert ehr.reads() == ["1"], "what lands is what was read, not what was pushed"
    assert clinic.query("SELECT count(*) AS n FROM push_body") == [{"n": 0}]


def test_what_a_push_says_is_not_believed(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    """Three changes at once, the last of which is read; each delivery is settled."""
    clinic = clinic_of(runner, workspace, ehr, web)
    clinic.subscribed(ehr)
    for family in ("One", "Two", "Three"):
        ehr.put("1", **named(family))
    until("stored", lambda: clinic.pushes().get("pending") == 3)
    clinic.work()
    assert clinic.family("1") == "Three"
    assert clinic.pushes() == {"done": 3}
    assert ehr.reads() == ["1"], "one record is read once for all that is said of it"


def test_a_repeat_has_no_effect(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    clinic = clinic_of(runner, workspace, ehr, web)
    clinic.subscribed(ehr)
    ehr.conduct(duplicate=True)
    ehr.put("1", **named("One"))
    until("told twice", lambda: next(iter(ehr.conduct()["subscriptions"].values()))["delivered"] == 2)
    clinic.work()
    assert clinic.pushes() == {"done": 1}
    assert ehr.reads() == ["1"]


def test_an_empty_payload_makes_a_poll_due(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    clinic = clinic_of(runner, workspace, ehr, web, content="empty")
    clinic.subscribed(ehr)
    clinic.poll()
    ehr.put("1", **named("One"))
    until("stored", lambda: clinic.pushes().get("pending") == 1)
    assert clinic.work().polls == {"Patient"}
    assert clinic.poll().landed.events_created == 1
    # The very same words, and another change.
    ehr.put("1", **named("Two"))
    until("stored again", lambda: clinic.pushes().get("pending") == 1)
    assert clinic.work().polls == {"Patient"}
    clinic.poll()
    assert clinic.family("1") == "Two"


def test_a_pushed_delete_needs_the_word_of_the_source(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    clinic = clinic_of(runner, workspace, ehr, web, topic=TOPIC)
    clinic.subscribed(ehr)
    for record_id in ("1", "2"):
        ehr.put(record_id, **named(record_id))
    until("stored", lambda: clinic.pushes().get("pending") == 3)
    clinic.work()
    assert clinic.alive == {"1", "2"}
    ehr.faults({"on": "GET Patient/1", "kind": "status", "status": 403})
    ehr.delete("1")
    until("stored", lambda: clinic.pushes().get("pending") == 1)
    clinic.work()
    assert clinic.alive == {"1", "2"}, "403 is no delete"
    ehr.faults()
    clinic.later(3600)
    clinic.work()
    assert clinic.alive == {"2"}


def test_not_found_counts_only_beside_a_record_that_is_found(
    runner: Runner, workspace: str, ehr: Ehr, web: str
) -> None:
    clinic = clinic_of(runner, workspace, ehr, web)
    clinic.subscribed(ehr)
    for record_id in ("1", "2"):
        ehr.put(record_id, **named(record_id))
    until("stored", lambda: clinic.pushes().get("pending") == 2)
    clinic.work()
    ehr.faults({"on": "GET Patient", "kind": "status", "status": 404})
    ehr.put("1", **named("Other"))
    until("stored", lambda: clinic.pushes().get("pending") == 1)
    worked = clinic.work()
    assert (worked.status, worked.code) == ("failed", "canary_failed")
    assert clinic.alive == {"1", "2"}
    ehr.faults({"on": "GET Patient/1", "kind": "status", "status": 404})
    clinic.later(3600)
    assert clinic.work().status == "done"
    assert clinic.alive == {"2"}


def test_a_source_that_fails_is_tried_again_and_its_health_says_so(
    runner: Runner, workspace: str, ehr: Ehr, web: str
) -> None:
    clinic = clinic_of(runner, workspace, ehr, web)
    clinic.subscribed(ehr)
    ehr.faults({"on": "GET Patient", "kind": "status", "status": 503})
    for record_id in ("1", "2", "3"):
        ehr.put(record_id, **named(record_id))
    until("stored", lambda: clinic.pushes().get("pending") == 3)
    assert clinic.work().code == "http_503"
    asked = len(ehr.reads())
    assert asked <= 4, "no more is asked of a source that fails"
    assert clinic.work().status == "done", "nothing is due now"
    (backlog,) = status.of_workspace(runner.database, runner.quarantine, workspace)["pushes"]
    assert (backlog["source"], backlog["pending"], backlog["dead"]) == ("ehr", 3, 0)
    assert len(ehr.reads()) == asked
    (source,) = clinic.query("SELECT health_code, consecutive_errors FROM data_source")
    assert source == {"health_code": "http_503", "consecutive_errors": 1}
    ehr.faults()
    clinic.later(1000)
    assert clinic.work().landed.events_created == 3
    assert clinic.query("SELECT health_code FROM data_source") == [{"health_code": None}]


def test_what_cannot_be_used_is_put_before_a_person(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    clinic = clinic_of(runner, workspace, ehr, web)
    clinic.subscribed(ehr)
    ehr.faults({"on": "GET Patient/1", "kind": "no_id"})
    ehr.put("1", **named("One"))
    ehr.put("2", **named("Two"))
    until("stored", lambda: clinic.pushes().get("pending") == 2)
    worked = clinic.work()
    assert clinic.alive == {"2"}
    assert clinic.pushes() == {"done": 1, "dead": 1}
    assert worked.polls == {"Patient"}
    (entry,) = clinic.query("SELECT stage, code, context, body IS NOT NULL AS body FROM quarantine")
    assert entry["stage"] == "push"
    assert entry["context"]["records"] == ["Patient/1"]
    assert entry["body"]
    ehr.faults()
    with runner.database.begin(workspace) as tx:
        entries = runner.quarantine.list(tx, workspace)
    (replayed,) = replay(runner, workspace, entries, actor="test", named=True)
    assert replayed.outcome == "put_back"
    assert clinic.pushes() == {"done": 1, "pending": 1}
    clinic.work()
    assert clinic.alive == {"1", "2"}


def test_given_up_after_many_attempts(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    clinic = clinic_of(runner, workspace, ehr, web)
    clinic.subscribed(ehr)
    ehr.faults({"on": "GET Patient", "kind": "status", "status": 503})
    ehr.put("1", **named("One"))
    until("stored", lambda: clinic.pushes().get("pending") == 1)
    for _ in range(12):
        clinic.later(1000)
        clinic.work()
    assert clinic.pushes() == {"dead": 1}
    assert clinic.query("SELECT code FROM quarantine WHERE stage = 'push'") == [{"code": "http_503"}]


def test_one_worker_at_a_time(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    clinic = clinic_of(runner, workspace, ehr, web)
    clinic.subscribed(ehr)
    ehr.put("1", **named("One"))
    until("stored", lambda: clinic.pushes().get("pending") == 1)
    ends = clinic.now + timedelta(minutes=1)
    clinic.query("UPDATE push_inbox SET lease_until = :until, fence = fence + 1 RETURNING fence", until=ends)
    assert clinic.work().status == "busy"
    clinic.later(61)
    assert clinic.work().pushes == 1


@pytest.mark.parametrize("form", ["Parameters", "SubscriptionStatus"])
@pytest.mark.parametrize("content", ["id-only", "full-resource", "empty"])
def test_a_topic_is_numbered_in_every_form(
    runner: Runner, workspace: str, ehr: Ehr, web: str, form: str, content: str
) -> None:
    ehr.conduct(body=form)
    clinic = clinic_of(runner, workspace, ehr, web, topic=TOPIC, content=content)
    clinic.subscribed(ehr)
    for n in range(1, 4):
        ehr.put(str(n), **named(str(n)))
    until("stored", lambda: clinic.pushes().get("pending") == 4)
    worked = clinic.work()
    (kept,) = clinic.kept()
    assert (kept["contiguous"], kept["highest"], kept["gap_since"]) == (3, 3, None)
    if content == "empty":
        assert worked.polls == {"Patient"}
        clinic.poll()
    assert clinic.alive == {"1", "2", "3"}


def test_out_of_order_is_no_gap(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    clinic = clinic_of(runner, workspace, ehr, web, topic=TOPIC)
    clinic.subscribed(ehr)
    ehr.conduct(reorder=True)
    ehr.put("1", **named("1"))
    ehr.put("2", **named("2"))
    until("stored", lambda: clinic.pushes().get("pending") == 3)
    clinic.work()
    assert clinic.kept()[0]["contiguous"] == 2
    assert clinic.alive == {"1", "2"}


@pytest.mark.parametrize("offered", [True, False])
def test_a_gap_is_caught_up_with(runner: Runner, workspace: str, ehr: Ehr, web: str, offered: bool) -> None:
    """By ``$events`` where there is such a thing, else by a poll of the type."""
    clinic = clinic_of(runner, workspace, ehr, web, topic=TOPIC)
    clinic.subscribed(ehr)
    clinic.poll()
    ehr.conduct(operations=offered, lose=1)
    ehr.put("lost", **named("Lost"))
    ehr.put("2", **named("Two"))
    until("stored", lambda: clinic.pushes().get("pending") == 2)
    clinic.work()
    assert clinic.alive == {"2"}
    assert clinic.kept()[0]["gap_since"] is not None
    clinic.later(2)
    polls = clinic.keep()
    if offered:
        assert polls == []
        clinic.work()
    else:
        assert polls == ["Patient"]
        clinic.poll()
    assert clinic.alive == {"lost", "2"}
    (kept,) = clinic.kept()
    assert (kept["contiguous"], kept["highest"], kept["gap_since"]) == (2, 2, None)


def test_silence_is_looked_into(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    """The last event was lost and no heartbeat comes: only ``$status`` tells."""
    clinic = clinic_of(runner, workspace, ehr, web, topic=TOPIC, heartbeat_s=20)
    clinic.subscribed(ehr)
    ehr.conduct(lose=1, heartbeats=False)
    ehr.put("lost", **named("Lost"))
    until("lost", lambda: next(iter(ehr.conduct()["subscriptions"].values()))["lost"] == 1)
    clinic.work()
    clinic.later(61)
    clinic.keep()
    assert clinic.kept()[0]["highest"] == 1
    clinic.later(2)
    clinic.keep()
    clinic.work()
    assert clinic.alive == {"lost"}


def test_a_heartbeat_shows_what_was_lost(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    clinic = clinic_of(runner, workspace, ehr, web, topic=TOPIC, heartbeat_s=1)
    clinic.subscribed(ehr)
    ehr.conduct(lose=1)
    ehr.put("lost", **named("Lost"))
    until("a heartbeat", lambda: bool(clinic.work()) or clinic.kept()[0]["highest"] == 1)
    clinic.later(2)
    clinic.keep()
    clinic.work()
    assert clinic.alive == {"lost"}


def test_a_server_that_counts_anew(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    """Its number 1 is another event than the one that we know."""
    clinic = clinic_of(runner, workspace, ehr, web, topic=TOPIC)
    clinic.subscribed(ehr)
    ehr.put("1", **named("1"))
    until("stored", lambda: clinic.pushes().get("pending") == 2)
    clinic.work()
    ehr.conduct(restart=True)
    until("handshake", lambda: clinic.pushes().get("pending") == 1)
    ehr.put("2", **named("2"))
    until("stored", lambda: clinic.pushes().get("pending") == 2)
    clinic.work()
    assert clinic.alive == {"1", "2"}
    assert clinic.kept()[0]["restarts"] == 1


def test_renewed_before_it_ends_and_asked_for_again_when_it_was_given_up(
    runner: Runner, workspace: str, ehr: Ehr, web: str
) -> None:
    clinic = clinic_of(runner, workspace, ehr, web, lifetime_s=1000)
    clinic.subscribed(ehr)
    first = clinic.kept()[0]["ends_at"]
    clinic.later(800)
    clinic.keep()
    assert clinic.kept()[0]["ends_at"] > first
    assert len(ehr.subscriptions()) == 1
    (there,) = ehr.subscriptions()
    until("active", lambda: ehr.subscriptions()[0]["status"] == "active")
    ehr.call("PUT", f"{ehr.system.base_url}/Subscription/{there['id']}", {**ehr.subscriptions()[0], "status": "error"})
    clinic.later(400)
    assert clinic.keep() == ["Patient"], "what happened meanwhile is polled"
    until("active", lambda: ehr.subscriptions()[0]["status"] == "active")
    assert len(ehr.subscriptions()) == 1


def test_one_whose_creation_was_not_answered_is_found_again(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    clinic = clinic_of(runner, workspace, ehr, web)
    clinic.keep()
    clinic.later(5)
    ehr.faults({"on": "POST Subscription", "kind": "drop_answer", "next": 1})
    clinic.keep()
    assert clinic.kept()[0]["last_error_code"] == "answer_lost"
    clinic.later(60)
    clinic.keep()
    assert len(ehr.subscriptions()) == 1
    assert clinic.kept()[0]["remote_id"] == ehr.subscriptions()[0]["id"]


def test_one_that_is_not_wanted_any_more_is_ended(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    clinic = clinic_of(runner, workspace, ehr, web)
    clinic.subscribed(ehr)
    settings = {"base_url": ehr.system.base_url, "resources": {"Patient": {"cadence_s": 30}}}
    clinic.apply({"name": "ehr", "source_type": "fhir_store", "settings": settings})
    clinic.later(400)
    clinic.keep()
    assert ehr.subscriptions() == []
    assert clinic.kept() == []


def test_a_server_without_subscriptions_says_so_once(runner: Runner, workspace: str, ehr: Ehr, web: str) -> None:
    clinic = clinic_of(runner, workspace, ehr, web)
    clinic.keep()
    clinic.later(5)
    ehr.faults({"on": "* Subscription", "kind": "status", "status": 404})
    clinic.keep()
    assert clinic.kept()[0]["last_error_code"] == "no_subscriptions"
    asked = len(ehr.journal())
    clinic.later(2)
    clinic.keep()
    assert len(ehr.journal()) == asked, "it is left alone for a while"


def test_with_the_receiver_down_everything_arrives_by_reconciliation(runner: Runner, workspace: str, ehr: Ehr) -> None:
    with serving(runner) as web:
        clinic = clinic_of(runner, workspace, ehr, web)
        clinic.subscribed(ehr)
        clinic.poll()
    ehr.conduct(tries=2, pause_s=0.01)
    for n in range(5):
        ehr.put(str(n), **named(str(n)))
    until("given up", lambda: next(iter(ehr.conduct()["subscriptions"].values()))["failed"] == 5)
    assert clinic.pushes() == {}
    clinic.later(30)
    clinic.poll()
    assert clinic.alive == {"0", "1", "2", "3", "4"}
