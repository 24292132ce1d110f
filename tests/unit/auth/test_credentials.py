"""Credentials that need no token server: what they add, what they hide, when another is to be had."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from connector_runner.auth.credentials import filled, without_tokens
from connector_runner.auth.settings import KINDS, Auth, BearerTokenExchangeAuth
from connector_runner.connectors.base import Opening
from connector_runner.connectors.fhir.access import access_of
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.settings import parse
from connector_runner.infra.http import Answer
from connector_runner.kernel.errors import Misconfigured

AUTH: TypeAdapter[Any] = TypeAdapter(Auth)


def applied(auth: dict[str, Any], value: str = "s3cret") -> tuple[dict[str, str], list[tuple[str, str]]]:
    headers: dict[str, str] = {}
    params = [("_count", "5"), ("key", "old")]
    without_tokens(lambda _: value)(AUTH.validate_python(auth), "read").apply(headers, params)
    return headers, params


def test_what_each_kind_adds() -> None:
    kept = [("_count", "5"), ("key", "old")]
    assert applied({}) == ({}, kept)
    assert applied({"kind": "bearer", "token": "env:X"}) == ({"Authorization": "Bearer s3cret"}, kept)
    key = {"kind": "api_key", "key": "env:X"}
    assert applied({**key, "header": "X-Key"}) == ({"X-Key": "s3cret"}, kept)
    assert applied({**key, "header": "Authorization", "format": "ApiKey {secret}"})[0] == {
        "Authorization": "ApiKey s3cret"
    }
    assert applied({**key, "query": "key"}) == ({}, [("_count", "5"), ("key", "s3cret")])


def test_a_secret_that_was_exchanged_is_taken_up_once() -> None:
    values = iter(["old", "new", "new", "new"])
    credential = without_tokens(lambda _: next(values))(
        AUTH.validate_python({"kind": "bearer", "token": "env:X"}), "read"
    )
    headers: dict[str, str] = {}
    credential.apply(headers, [])
    assert credential.renew()
    credential.apply(headers, [])
    assert headers == {"Authorization": "Bearer new"}
    assert not credential.renew()


class Echo:
    """A server that repeats the query in its links, as servers do."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def request(self, method: str, url: str, *, params: Any = None, **_: Any) -> Answer:
        self.asked.append((url, list(params)))
        link = b'{"relation":"next","url":"http://x/fhir/Patient?page=2&key=s%2F3"}'
        body = b'{"resourceType":"Bundle","link":[' + link + b"]}"
        return Answer(200, {}, body + b"s/3", f"{url}?key=s%2F3")


def test_a_key_in_a_query_is_neither_kept_nor_sent_twice() -> None:
    settings = parse(
        FHIRSettings, {"base_url": "http://x/fhir", "auth": {"kind": "api_key", "key": "env:K", "query": "key"}}
    )
    server = Echo()
    client = FHIRClient(Opening(server, lambda _: "s/3"), settings)  # type: ignore[arg-type]
    answer = client.request("GET", "http://x/fhir/Patient?page=2&key=", params=[("_count", "1")])
    assert b"s%2F3" not in answer.body
    assert b"s/3" not in answer.body
    assert "s%2F3" not in answer.url
    assert server.asked == [("http://x/fhir/Patient?page=2", [("_count", "1"), ("key", "s/3")])]


@given(st.text(max_size=30))
def test_a_secret_is_never_read_as_a_template(secret: str) -> None:
    assert filled("Key {secret}!", secret) == f"Key {secret}!"


@pytest.mark.parametrize(
    "template", ["no place", "{secret}{secret}", "{secret} {user}", "{secret", "{{secret}}x", "{secret}\r\nX: 1"]
)
def test_a_format_has_exactly_one_place(template: str) -> None:
    document = {
        "kind": "bearer_token_exchange", "exchange_url": "https://x/t", "exchange_secret": "env:S",
        "exchange_secret_format": template,
    }  # fmt: skip
    with pytest.raises(Misconfigured, match="exchange_secret_format"):
        parse(BearerTokenExchangeAuth, document)


@pytest.mark.parametrize(
    ("auth", "key"),
    [
        ({"kind": "magic"}, "auth"),
        ({"kind": "bearer", "token": "the token itself"}, "auth.token"),
        ({"kind": "api_key", "key": "env:K"}, "auth"),
        ({"kind": "api_key", "key": "env:K", "header": "A", "query": "b"}, "auth"),
        ({"kind": "api_key", "key": "env:K", "header": "A B"}, "auth.header"),
        ({"kind": "smart_backend"}, "auth.client_id"),
        ({"kind": "smart_backend", "client_id": "x", "key": "a", "private_key": "env:K"}, "auth"),
        ({"kind": "smart_backend", "client_id": "x", "token_url": "ftp://x"}, "auth.token_url"),
        ({"kind": "smart_backend", "client_id": "x", "token_url": "https://u:p@x/t"}, "auth.token_url"),
        ({"kind": "smart_backend", "client_id": "x", "scopes": ['a"b']}, "auth.scopes"),
        ({"kind": "client_credentials", "client_id": "x", "client_secret": "s3cret"}, "auth.client_secret"),
        ({"kind": "mutual_tls", "certificate": "file:/c", "private_key": "file:/k", "scopes": ["a"]}, "auth"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_key(auth: dict[str, Any], key: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse(FHIRSettings, {"base_url": "http://x/fhir", "auth": auth}, file="f.yaml", at="settings")
    assert caught.value.where == f"f.yaml: settings.{key}"
    assert "s3cret" not in str(caught.value)
    assert "itself" not in str(caught.value)


def test_every_kind_is_known() -> None:
    assert len(KINDS) == 10


@pytest.mark.parametrize(
    ("method", "path", "access"),
    [
        ("GET", "Patient?name=x", ("Patient", "s")),
        ("POST", "Patient/_search", ("Patient", "s")),
        ("GET", "Patient/_history?_since=x", ("Patient", "s")),
        ("GET", "Patient/1", ("Patient", "r")),
        ("GET", "Patient/1/_history/2", ("Patient", "r")),
        ("POST", "Patient", ("Patient", "c")),
        ("PUT", "Patient/1", ("Patient", "u")),
        ("PATCH", "Patient/1", ("Patient", "u")),
        ("DELETE", "Patient/1", ("Patient", "d")),
        ("GET", "metadata", None),
        ("POST", "", None),
        ("POST", "Patient/$validate", None),
        ("GET", "?sessionID=12", None),
    ],
)
def test_the_access_that_a_request_takes(method: str, path: str, access: tuple[str, str] | None) -> None:
    assert access_of(method, path) == access
