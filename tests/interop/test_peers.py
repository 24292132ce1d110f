"""The FHIR connector and SMART Backend Services against engines that nobody here wrote."""

from __future__ import annotations

import subprocess
import urllib.error
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from connector_runner.auth.assertions import SigningKey, client_assertion, new_private_key, public_jwk
from connector_runner.auth.opening import Credentials
from connector_runner.connectors import directory, registry
from connector_runner.connectors.base import Opening, site_of
from connector_runner.connectors.fhir.sink import FHIRSink
from connector_runner.connectors.sinks import Outcome
from connector_runner.infra.database import Database, rows
from connector_runner.intake import polling
from connector_runner.kernel.clock import utc_now
from tests.integration.polled import Deps, deps_of
from tests.interop import peers
from tests.interop.peers import Peers

KEYS = {name: SigningKey(f"{name}-1", name, new_private_key(name)) for name in ("RS384", "ES384")}
SECRETS = {f"env:{name}": key.pem for name, key in KEYS.items()} | {"env:OTHER": new_private_key("ES384")}
SCOPES = "system/*.rs system/*.cruds"


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    missing = peers.absent()
    if missing:
        warnings.warn(f"skipped: {missing}", stacklevel=1)  # a skip alone shows as a letter
        pytest.skip(missing)
    clients = [
        {"client_id": f"runner-{name}", "alg": name, "jwks": {"keys": [public_jwk(key.pem, key.kid)]}}
        for name, key in KEYS.items()
    ]
    with peers.running(clients, tmp_path_factory.mktemp("peers")) as running:
        yield running


@pytest.fixture
def deps(database: Database, redis_url: str) -> Iterator[Deps]:
    with deps_of(database, redis_url) as deps:
        yield deps


class Connected:
    """A data source at the engines, with one of the two keys."""

    def __init__(self, deps: Deps, workspace: str, engines: Peers, algorithm: str, **auth: Any) -> None:
        self.deps, self.workspace, self.at = deps, workspace, utc_now()
        how = {"kind": "smart_backend", "client_id": f"runner-{algorithm}", "token_url": engines.token_url}
        how |= {"private_key": f"env:{algorithm}", "kid": f"{algorithm}-1", "scopes": SCOPES, **auth}
        document = {
            "name": "peer", "source_type": "smart_fhir",
            "settings": {
                "base_url": engines.base_url, "auth": how, "page_size": 4, "overlap_s": 0, "history": False,
                "resources": {"Patient": {"cadence_s": 30}},
                "sink": {"entity_types": ["patient"], "client_id": False},
            },
        }  # fmt: skip
        with deps.database.begin(workspace) as tx:
            (applied,) = directory.apply(tx, workspace, document, actor="test", now=self.at)
        self.source = applied.source

    def sink(self) -> FHIRSink:
        credentials = Credentials(self.deps.database, self.deps.http, self.deps.sealer)
        opened = credentials.opener(site_of(self.source), SECRETS.__getitem__)
        sink = registry.open_sink(self.source, Opening(self.deps.http, SECRETS.__getitem__, open_credential=opened))
        assert isinstance(sink, FHIRSink)
        return sink

    def poll(self) -> Any:
        self.at += timedelta(seconds=400)
        outcome = polling.poll(
            self.deps, self.workspace, self.source.data_source_id, "Patient", owner="one", now=self.at
        )
        assert outcome.code is None, outcome
        return outcome

    def states(self) -> dict[str, Any]:
        with self.deps.database.begin(self.workspace) as tx:
            found = rows(tx, "SELECT canonical_id, state FROM projection")
        return {row["canonical_id"].rpartition(":")[2]: row["state"] for row in found}


@pytest.fixture(params=sorted(KEYS))
def connected(
    request: pytest.FixtureRequest, deps: Deps, workspace: str, engines: Peers, monkeypatch: pytest.MonkeyPatch
) -> Connected:
    for reference, value in SECRETS.items():
        monkeypatch.setenv(reference.removeprefix("env:"), value)
    return Connected(deps, workspace, engines, request.param)


def test_what_is_written_there_is_read_back_by_polling(connected: Connected) -> None:
    sink = connected.sink()
    made = []
    for n in range(9):
        body = {"resourceType": "Patient", "name": [{"family": f"Peer{n}"}], "gender": "other"}
        reply = sink.create(sink.identified(body, f"ours-{connected.workspace}-{n}"), f"ours-{connected.workspace}-{n}")
        assert reply.outcome is Outcome.LANDED, reply
        made.append(reply)
    again = sink.create(
        sink.identified({"resourceType": "Patient", "gender": "other"}, f"ours-{connected.workspace}-0"),
        f"ours-{connected.workspace}-0",
    )
    assert again.ref == made[0].ref, "a repeated create makes no second record"
    shown = sink.read(str(made[1].ref))
    assert shown.body is not None
    changed = sink.update(str(made[1].ref), {**shown.body, "gender": "female"}, shown.etag)
    assert changed.outcome is Outcome.LANDED
    stale = sink.update(str(made[1].ref), {**shown.body, "gender": "male"}, shown.etag)
    assert stale.outcome is Outcome.CONFLICT
    connected.poll()
    ids = {str(reply.ref).partition("/")[2] for reply in made}
    states = connected.states()
    assert ids <= states.keys()
    assert states[str(made[1].ref).partition("/")[2]]["gender"] == "female"
    landed = connected.poll().landed
    assert (landed.events_created, landed.events_updated) == (0, 0)


def test_a_token_that_is_lost_is_had_again(connected: Connected) -> None:
    connected.poll()
    with connected.deps.database.begin(connected.workspace) as tx:
        changed = rows(tx, "UPDATE access_token SET expires_at = now(), renew_at = now() RETURNING serial")
    assert [row["serial"] for row in changed] == [1]
    connected.poll()
    with connected.deps.database.begin(connected.workspace) as tx:
        (row,) = rows(tx, "SELECT serial, granted, failure_code FROM access_token")
    assert row == {"serial": 2, "granted": SCOPES, "failure_code": None}


def test_a_replayed_assertion_is_refused_there(engines: Peers) -> None:
    assertion = client_assertion("runner-ES384", engines.token_url, KEYS["ES384"], now=utc_now().timestamp())
    form = {
        "grant_type": "client_credentials", "client_assertion": assertion,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }  # fmt: skip
    request = Request(engines.token_url, urlencode(form).encode())  # noqa: S310 - on this machine
    with urlopen(request, timeout=10) as answer:  # noqa: S310 - on this machine
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError) as caught:
        urlopen(request, timeout=10)  # noqa: S310 - on this machine
    assert caught.value.code == 401


@pytest.mark.parametrize(
    ("auth", "code"),
    [
        ({"private_key": "env:OTHER"}, "client_refused"),
        ({"client_id": "nobody"}, "client_refused"),
        ({"audience": "https://elsewhere.example/token"}, "client_refused"),
    ],
)
def test_what_is_wrong_there_is_said_once(
    deps: Deps, workspace: str, engines: Peers, auth: dict[str, Any], code: str
) -> None:
    sink = Connected(deps, workspace, engines, "ES384", **auth).sink()
    reply = sink.read("Patient/1")
    assert (reply.outcome, reply.code) == (Outcome.AUTH, code)
    with deps.database.begin(workspace) as tx:
        (row,) = rows(tx, "SELECT failure_code, failures, failure_text FROM access_token")
    assert (row["failure_code"], row["failures"]) == (code, 1)
    assert "check that it is registered" in row["failure_text"]


def test_scopes_that_the_server_drops_are_noticed(deps: Deps, workspace: str, engines: Peers) -> None:
    sink = Connected(deps, workspace, engines, "ES384", scopes="system/Patient.rs system/Basic.cruds").sink()
    reply = sink.create({"resourceType": "Patient", "gender": "other"}, "x")
    assert (reply.outcome, reply.code) == (Outcome.FORBIDDEN, "scope_not_granted")


def test_without_a_registry_the_tests_say_so_and_do_not_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with one that is there and has not what is wanted they fail."""
    if peers.absent() in ("no Node", f"no peers at {peers.FOLDER}"):
        pytest.skip("nothing would be installed here")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9/")
    monkeypatch.setenv("NPM_CONFIG_CACHE", str(tmp_path / "cache"))
    assert "registry cannot be reached (ECONNREFUSED)" in str(peers.absent())
    broken = "npm error code ETARGET\nnpm error notarget No matching version"
    done = subprocess.CompletedProcess([], 1, "", broken)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: done)
    with pytest.raises(AssertionError, match="ETARGET"):
        peers.absent()
