"""A push secret is changed while deliveries come: the older one counts for a while, and then no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from connector_runner.bootstrap import Addresses, Runner
from connector_runner.cli.main import app
from connector_runner.infra import secrets
from connector_runner.intake.push import receiving, secret_rotation, subscribing
from connector_runner.intake.push.secret_rotation import own_secret
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.sandbox import launch
from connector_runner.settings import Settings
from tests.integration.push_stack import Clinic, Ehr, send, serving, until
from tests.integration.test_push_receiver import BODY, signed


@pytest.fixture
def runner(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    monkeypatch.setattr(receiving, "_FRESH_S", 0.0)  # doors are looked up anew each time
    runner = Runner(Settings(http_allow=("127.0.0.1",)), Addresses(database_url, redis_url))
    yield runner
    runner.database.dispose()


@pytest.fixture
def web(runner: Runner) -> Iterator[str]:
    with serving(runner) as url:
        yield url


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store") as system:
        yield system


def clinic_of(runner: Runner, workspace: str, base_url: str, **push: Any) -> Clinic:
    return Clinic(runner, workspace, {"base_url": base_url, "resources": {"Patient": {"cadence_s": 30}}, "push": push})


def rotate(clinic: Clinic, **how: Any) -> None:
    with clinic.runner.database.begin(clinic.workspace) as tx:
        subscribing.rotate_secret(tx, clinic.runner.sealer, clinic.source, actor="test", now=clinic.now, **how)


def names(clinic: Clinic) -> list[str]:
    with clinic.runner.database.begin(clinic.workspace) as tx:
        return secrets.names(tx, clinic.workspace)


def test_a_senders_secret_is_changed_without_a_delivery_refused(runner: Runner, workspace: str, web: str) -> None:
    with runner.database.begin(workspace) as tx:
        secrets.store(tx, workspace, runner.sealer, "hook", "the older", now=utc_now())
    clinic = clinic_of(
        runner, workspace, "http://127.0.0.1:9/fhir", scheme="x_hub_signature_256", secrets=["secret:hook"]
    )
    assert send(web + clinic.path, BODY, signed(BODY, "the newer"))[0] == 401
    rotate(clinic, name="hook", value="the newer", overlap=timedelta(seconds=5))
    assert send(web + clinic.path, BODY, signed(BODY, "the older"))[0] == 200
    assert send(web + clinic.path, BODY, signed(BODY, "the newer"))[0] == 200
    until("over", lambda: send(web + clinic.path, BODY, signed(BODY, "the older"))[0] == 401)
    assert send(web + clinic.path, BODY, signed(BODY, "the newer"))[0] == 200
    clinic.keep()
    assert names(clinic) == ["hook"]
    (noted,) = clinic.query("SELECT detail FROM audit_log WHERE action = 'push.secret_rotated'")
    assert not noted["detail"]["own"]


def test_the_secret_of_subscriptions_is_made_anew_and_told_to_the_server(
    runner: Runner, workspace: str, running: launch.Running, web: str
) -> None:
    ehr = Ehr(running)
    clinic = clinic_of(runner, workspace, running.base_url, public_url=web, subscribe=["Patient"])
    clinic.subscribed(ehr)
    (before,) = ehr.subscriptions()
    rotate(clinic)
    ehr.put("1", name=[{"family": "One"}])  # sent with the older secret
    until("stored", lambda: clinic.pushes().get("pending") == 1)
    clinic.later(subscribing.SECRET_SPREADS_S + 1)
    clinic.keep()
    until("active again", lambda: ehr.subscriptions()[0]["status"] == "active")
    (after,) = ehr.subscriptions()
    assert after["id"] == before["id"]
    assert after["channel"]["header"] != before["channel"]["header"]
    with runner.database.begin(workspace) as tx:
        secret = secrets.resolve(f"secret:{own_secret(clinic.source.data_source_id)}", tx, workspace, runner.sealer)
    assert after["channel"]["header"] == [f"Authorization: Bearer {secret}"]
    ehr.put("1", name=[{"family": "Two"}])
    until("stored again", lambda: clinic.pushes().get("pending") == 2)
    clinic.later(secret_rotation.OVERLAP.total_seconds())
    clinic.keep()
    assert names(clinic) == [own_secret(clinic.source.data_source_id)]


def test_the_command(
    runner: Runner, workspace: str, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"DATABASE_URL": database_url, "REDIS_URL": redis_url}.items():
        monkeypatch.setenv(name, value)
    with runner.database.begin(workspace) as tx:
        secrets.store(tx, workspace, runner.sealer, "hook", "the older", now=utc_now())
    clinic_of(runner, workspace, "http://127.0.0.1:9/fhir", scheme="slack", secrets=["secret:hook"])
    words = ["source", "rotate-secret", "ehr", "--workspace", workspace, "--json"]
    done = CliRunner().invoke(app, [*words, "--secret", "hook", "--file", "-"], input="the newer\n")
    assert done.exit_code == 0, done.output
    assert "newer" not in done.output
    with runner.database.begin(workspace) as tx:
        assert secrets.resolve("secret:hook", tx, workspace, runner.sealer) == "the newer"
    assert CliRunner().invoke(app, [*words, "--secret", "hook"]).exit_code == 2
    assert CliRunner().invoke(app, words).exit_code == 1


@pytest.mark.parametrize("how", [{"name": "other", "value": "x"}, {}])
def test_only_what_the_source_has_is_changed(runner: Runner, workspace: str, how: dict[str, Any]) -> None:
    with runner.database.begin(workspace) as tx:
        secrets.store(tx, workspace, runner.sealer, "other", "another source's", now=utc_now())
        secrets.store(tx, workspace, runner.sealer, "hook", "the older", now=utc_now())
    clinic = clinic_of(runner, workspace, "http://127.0.0.1:9/fhir", scheme="slack", secrets=["secret:hook"])
    with pytest.raises(Misconfigured) as caught:
        rotate(clinic, **how)
    assert caught.value.code == "no_push_secret"
