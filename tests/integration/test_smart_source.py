"""A FHIR server that asks for tokens, polled as a data source, with what its owner is told; keys and their commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from typer.testing import CliRunner

from connector_runner.auth.showing import tokens_of
from connector_runner.bootstrap import Addresses, Runner
from connector_runner.cli import keys
from connector_runner.cli.main import app
from connector_runner.infra.database import Database, execute, rows
from connector_runner.kernel.errors import Misconfigured
from connector_runner.sandbox import launch
from connector_runner.settings import Settings
from tests.integration.polled import Clinic, Deps, deps_of
from tests.integration.test_web import serving
from tests.integration.tokens.bench import TokenBench, call


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store", auth="smart") as system:
        yield system


@pytest.fixture
def deps(database: Database, redis_url: str) -> Iterator[Deps]:
    with deps_of(database, redis_url) as deps:
        yield deps


class Smart:
    """A clinic whose source asks for tokens."""

    def __init__(self, deps: Deps, workspace: str, running: launch.Running) -> None:
        self.bench = TokenBench(deps.database, deps.sealer, deps.http, workspace, running)
        self.deps, self.workspace, self.running = deps, workspace, running

    def clinic(self, *, resources: Any = None, auth: dict[str, Any] | None = None, **client: Any) -> Clinic:
        settled = self.bench.smart(scopes=client.pop("scopes", "system/*.cruds"), **client) | (auth or {})
        clinic = Clinic.__new__(Clinic)
        clinic.deps, clinic.workspace, clinic.at = self.deps, self.workspace, self.bench.clock()
        clinic.source = clinic.apply({
            "name": "ehr", "source_type": "smart_fhir", "settings": {
                "base_url": self.running.base_url, "auth": settled, "page_size": 10,
                "resources": resources or {"Patient": {"cadence_s": 30}},
            },
        })  # fmt: skip
        return clinic

    def fill(self, count: int) -> None:
        bodies = [{"resourceType": "Patient", "id": f"p{n}", "gender": "other"} for n in range(count)]
        call("PUT", f"{self.running.switchboard}/records", bodies)

    def told(self, clinic: Clinic) -> list[dict[str, Any]]:
        with self.deps.database.begin(self.workspace) as tx:
            return tokens_of(tx, self.workspace, clinic.source.data_source_id)


@pytest.fixture
def smart(deps: Deps, workspace: str, running: launch.Running) -> Smart:
    return Smart(deps, workspace, running)


def test_a_source_is_read_with_tokens_and_goes_on_when_they_are_dropped(smart: Smart) -> None:
    clinic = smart.clinic()
    smart.fill(35)
    assert clinic.poll(slice_s=0).more
    smart.bench.revoke()
    while clinic.poll(after_s=0.01).more:
        continue
    assert len(clinic.alive) == 35
    assert clinic.health == ("healthy", None)
    assert [entry["status"] for entry in smart.bench.asked] == [200, 200]


def test_the_source_says_what_is_wrong_and_asks_once(smart: Smart) -> None:
    clinic = smart.clinic(ended=True)
    outcomes = [clinic.poll() for _ in range(3)]
    assert {outcome.code for outcome in outcomes} == {"registration_ended"}
    assert clinic.health == ("unhealthy", "registration_ended")
    (row,) = clinic.query("SELECT health_detail FROM data_source")
    assert "renew it at the vendor" in row["health_detail"]
    assert len(smart.bench.asked) == 1
    smart.bench.register({"client_id": "runner", "scopes": "system/*.cruds", "jwks": smart.bench.jwks()})
    smart.bench.end_pauses()
    smart.fill(3)
    assert clinic.poll().code is None
    assert clinic.health == ("healthy", None)


def test_a_narrower_grant_takes_one_record_type_and_is_shown(smart: Smart) -> None:
    clinic = smart.clinic(
        scopes="system/Observation.rs", auth={"scopes": ["system/Patient.rs", "system/Observation.rs"]}
    )
    outcome = clinic.poll()
    assert (outcome.status, outcome.code) == ("failed", "scope_not_granted")
    asked = [entry["path"] for entry in call("GET", f"{smart.running.switchboard}/journal")]
    assert not any("Patient" in path for path in asked), "what was not granted is not asked for"
    (token,) = smart.told(clinic)
    assert token["not_granted"] == ["Patient.rs"]
    assert "widen the client's registration" in token["notes"]["scope_narrowed"]


def test_a_smart_source_needs_its_kind_of_auth(smart: Smart) -> None:
    clinic = smart.clinic()
    document = {"name": "other", "source_type": "smart_fhir", "settings": {"base_url": "http://127.0.0.1:1/fhir"}}
    with pytest.raises(Misconfigured, match=r"settings\.auth"):
        clinic.apply(document)
    document["settings"]["auth"] = {"kind": "smart_backend", "client_id": "x", "private_key": "BEGIN PRIVATE KEY"}  # type: ignore[index]
    with pytest.raises(Misconfigured, match="reference to a secret") as caught:
        clinic.apply(document)
    assert "BEGIN" not in str(caught.value)
    assert "settings.auth.private_key" in str(caught.value)


@contextmanager
def commands(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(keys, "open_runner", lambda **_: runner)
    yield lambda *words, code=0, **how: _invoked(words, code, **how)


def _invoked(words: tuple[str, ...], code: int, **how: Any) -> Any:
    done = CliRunner().invoke(app, list(words), **how)
    assert done.exit_code == code, done.output + repr(done.exception)
    return json.loads(done.stdout) if code == 0 else done.exception


def test_keys_from_the_command_line_to_the_published_set(
    smart: Smart, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner(Settings(jwks_cache_s=600), Addresses(database_url, redis_url))
    scope = ("--workspace", smart.workspace, "--json")
    with commands(runner, monkeypatch) as run, serving(runner) as web:
        first = run("key", "create", *scope)
        assert first["state"] == "signing"
        second = run("key", "rotate", *scope)
        assert (second["state"], second["public_jwk"]["kty"]) == ("published", "EC")
        slug = f"clinic-{smart.workspace}"
        answer = requests.get(f"{web}/.well-known/jwks/{slug}.json", timeout=10)
        assert answer.headers["Cache-Control"] == "public, max-age=600"
        assert {key["kid"] for key in answer.json()["keys"]} == {first["kid"], second["kid"]}
        assert not any({"d", "p", "q"} & key.keys() for key in answer.json()["keys"])
        assert requests.get(f"{web}/.well-known/jwks/nobody.json", timeout=10).status_code == 404
        from connector_runner.auth.assertions import new_private_key

        pem = new_private_key("RS384")
        given = run("key", "import", "-", "--kid", "given-1", *scope, input=pem)
        assert (given["algorithm"], given["state"]) == ("RS384", "signing")
        listed = CliRunner().invoke(app, ["key", "list", *scope]).stdout
        assert "PRIVATE" not in listed
        assert pem.splitlines()[3] not in listed
        assert run("key", "retire", "given-1", *scope, code=1).code == "last_key"
        assert run("key", "retire", "given-1", "--force", *scope)["state"] == "retiring"
        assert run("secret", "set", "app", *scope, input="s3cret\n") == {"reference": "secret:app"}
        assert run("secret", "list", *scope) == {"secrets": ["app"]}
        assert run("secret", "remove", "app", *scope) == {"removed": "app"}
    with runner.database.begin(smart.workspace) as tx:
        execute(tx, "UPDATE client_key SET published_until = now() WHERE kid = 'given-1'")
    with runner.database.begin(smart.workspace) as tx:
        (row,) = [
            r for r in keys.client_keys.listing(tx, smart.workspace, smart.bench.clock()) if r["kid"] == "given-1"
        ]
    assert row["state"] == "retired"
    with runner.database.begin(smart.workspace) as tx:
        (kept,) = rows(tx, "SELECT sealed FROM client_key WHERE kid = 'given-1'")
    assert kept["sealed"] is None, "the private half is dropped with it"
    assert {key["kid"] for key in smart.bench.jwks()["keys"]} == {first["kid"], second["kid"]}
    runner.database.dispose()
