"""Subscriptions at a simulated EHR, kept by us: what changes there is read and landed, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector_runner.bootstrap import Addresses, Runner
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
