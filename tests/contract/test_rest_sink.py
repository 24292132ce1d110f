"""The REST sink by its settings, against the simulated CRM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from connector_runner.connectors.base import Opening
from connector_runner.connectors.rest.settings import RestSettings
from connector_runner.connectors.rest.sink import RestSink
from connector_runner.connectors.settings import parse
from connector_runner.connectors.sinks import Outcome, Pace
from connector_runner.infra.http import HTTP, Answer
from connector_runner.kernel.errors import Misconfigured
from connector_runner.sandbox import launch
from connector_runner.settings import Settings

ADA = {"resourceType": "Contact", "lastName": "Okafor", "firstName": "Ada", "birthDate": "1982-03-04"}
CONTACT: dict[str, Any] = {
    "path": "contacts",
    "external_id_field": "externalId",
    "upsert_path": "contacts/by-external-id/{external_id}",
    "search_param": "externalId",
    "list_field": "results",
    "version": "etag",
    "updated_field": "updatedAt",
    "read_only": ["createdAt", "version"],
    "known_by": {"lastName": "lastName", "birthDate": "birthDate"},
}
UPSERT = CONTACT
POST_ONCE = {**CONTACT, "create": "idempotent_post", "update": "PUT"}
PLAIN_POST = {**CONTACT, "create": "post", "search_param": None, "version": "none"}


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("crm") as system:
        yield system


@pytest.fixture
def crm(running: launch.Running) -> launch.Running:
    requests.post(f"{running.switchboard}/reset", json={}, timeout=10).raise_for_status()
    return running


def settings_of(base_url: str, contact: dict[str, Any] = UPSERT, **more: Any) -> RestSettings:
    errors = {"code": "error.code", "field": "error.field", "outcomes": {"EXISTS": "poison", "DAILY": "quota"}}
    document = {
        "base_url": base_url,
        "mapping": "crm",
        "request_timeout_s": 1,
        "records": {"Contact": contact},
        "errors": errors,
        "sink": {"entity_types": ["patient"]},
        **more,
    }
    return parse(RestSettings, document, file="crm.yaml")


def sink_of(system: launch.Running, contact: dict[str, Any] = UPSERT, **more: Any) -> RestSink:
    http = HTTP(Settings(http_allow=("127.0.0.1",)))
    opening = Opening(http, lambda reference: f"value of {reference}")
    return RestSink(opening, settings_of(system.base_url, contact, **more))


def faults(system: launch.Running, **fault: Any) -> None:
    requests.put(f"{system.switchboard}/faults", json=[{"next": 1, **fault}], timeout=10).raise_for_status()


def journal(system: launch.Running) -> list[dict[str, Any]]:
    return list(requests.get(f"{system.switchboard}/journal", timeout=10).json())


def stored(system: launch.Running) -> list[dict[str, Any]]:
    return list(requests.get(f"{system.base_url}/contacts", timeout=10).json()["results"])


@pytest.mark.parametrize("contact", [UPSERT, POST_ONCE])
def test_create_find_update_read(crm: launch.Running, contact: dict[str, Any]) -> None:
    sink = sink_of(crm, contact)
    assert sink.find("Contact", "ours").outcome is Outcome.ABSENT
    made = sink.create(ADA, "ours")
    assert (made.outcome, made.ref, made.etag) == (Outcome.LANDED, "Contact/1", '"v1"')
    assert (made.body or {}).items() >= {**ADA, "id": "1", "externalId": "ours"}.items()
    found = sink.find("Contact", "ours")
    assert (found.outcome, found.ref) == (Outcome.LANDED, "Contact/1")
    before = sink.read("Contact/1")
    assert (before.etag, (before.body or {})["meta"].keys()) == ('"v1"', {"lastUpdated"})

    after = {**(before.body or {}), "email": "ada@example.org"}
    after.pop("firstName")
    changed = sink.update("Contact/1", after, before.etag, before=before.body)
    assert (changed.outcome, changed.etag) == (Outcome.LANDED, '"v2"')
    held = stored(crm)[0]
    assert held.items() >= {"lastName": "Okafor", "email": "ada@example.org", "externalId": "ours"}.items()
    assert "firstName" not in held
    assert sink.update("Contact/1", after, before.etag).outcome is Outcome.CONFLICT
    assert sink.read("Contact/99").outcome is Outcome.ABSENT


def test_a_merge_sends_what_changed_and_keeps_what_others_wrote(crm: launch.Running) -> None:
    sink = sink_of(crm, {**UPSERT, "version": "none"})
    before = sink.create({**ADA, "address": {"city": "Boston", "state": "MA"}}, "ours").body or {}
    requests.patch(f"{crm.base_url}/contacts/1", json={"ownerNote": "VIP"}, timeout=10).raise_for_status()
    after = {**before, "address": {"city": "Salem", "state": "MA"}}
    assert sink.update("Contact/1", after, None, before=before).outcome is Outcome.LANDED
    assert stored(crm)[0].items() >= {"ownerNote": "VIP", "address": {"city": "Salem", "state": "MA"}}.items()


@pytest.mark.parametrize("contact", [UPSERT, POST_ONCE])
@pytest.mark.parametrize("kind", ["drop_answer", "html", "empty", "no_id", "infinite_body", "hang"])
def test_a_repeat_after_a_lost_answer_makes_no_second(crm: launch.Running, contact: dict[str, Any], kind: str) -> None:
    sink = sink_of(crm, contact)
    faults(crm, on="*  *", kind=kind, commit=True)
    assert sink.create(ADA, "ours").outcome is Outcome.UNKNOWN
    assert len(stored(crm)) == 1
    assert sink.find("Contact", "ours").ref == "Contact/1"
    assert sink.create(ADA, "ours").ref == "Contact/1"
    assert len(stored(crm)) == 1


def test_a_sink_that_cannot_tell_repeats_says_so(crm: launch.Running) -> None:
    assert sink_of(crm, PLAIN_POST).capabilities.at_least_once
    assert sink_of(crm, PLAIN_POST).find("Contact", "ours").cause == "not_searchable"
    assert not sink_of(crm, {**PLAIN_POST, "search_param": "externalId"}).capabilities.at_least_once
    assert not sink_of(crm, UPSERT).capabilities.at_least_once
    denied = {"entity_types": ["patient"], "capabilities": {"at_least_once": False, "search": True}}
    assert sink_of(crm, PLAIN_POST, sink=denied).capabilities.at_least_once
    capabilities = sink_of(crm, UPSERT).capabilities
    assert (capabilities.client_id, capabilities.patch, capabilities.if_match) == (False, True, 412)
    assert sink_of(crm, PLAIN_POST).capabilities.if_match is None


def test_duplicates_are_searched_by_what_is_known(crm: launch.Running) -> None:
    sink = sink_of(crm)
    sink.create(ADA, "a")
    sink.create({**ADA, "birthDate": "1990-01-01"}, "b")
    found = sink.candidates({**ADA, "lastName": "OKAFOR"})
    assert ([item["id"] for item in found.resources], found.reply.ref) == (["1"], "Contact/1")
    assert sink.candidates({**ADA, "lastName": "Obi"}).reply.outcome is Outcome.ABSENT
    nameless = {"resourceType": "Contact", "lastName": "Okafor"}
    assert sink.candidates(nameless).reply.cause == "nothing_to_search_by"
    faults(crm, on="GET contacts", kind="html")
    assert sink.candidates(ADA).reply.outcome is Outcome.UNKNOWN


def test_a_search_by_an_ignored_parameter_proves_nothing(crm: launch.Running) -> None:
    sink = sink_of(crm, {**POST_ONCE, "search_param": "unheard_of"})
    assert sink.find("Contact", "ours").outcome is Outcome.ABSENT
    sink_of(crm).create(ADA, "theirs")
    found = sink.find("Contact", "ours")
    assert (found.outcome, found.cause) == (Outcome.UNKNOWN, "search_parameter_ignored")


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "reset"}, Outcome.UNKNOWN),
        ({"kind": "error_in_200", "code": "SOMETHING"}, Outcome.UNKNOWN),
        ({"kind": "error_in_200", "code": "EXISTS"}, Outcome.POISON),
        ({"kind": "redirect"}, Outcome.AUTH),
        ({"kind": "expired_token"}, Outcome.AUTH),
        ({"kind": "status", "status": 403}, Outcome.AUTH),
        ({"kind": "status", "status": 403, "code": "DAILY"}, Outcome.QUOTA),
        ({"kind": "status", "status": 429, "retry_after": 7}, Outcome.REFUSED),
        ({"kind": "status", "status": 503}, Outcome.UNKNOWN),
        ({"kind": "status", "status": 500}, Outcome.UNKNOWN),
        ({"kind": "status", "status": 409}, Outcome.CONFLICT),
        ({"kind": "status", "status": 409, "code": "EXISTS", "where": "externalId"}, Outcome.POISON),
        ({"kind": "status", "status": 422}, Outcome.POISON),
    ],
)
def test_answers_to_a_write(crm: launch.Running, fault: dict[str, Any], outcome: Outcome) -> None:
    faults(crm, on="PUT contacts", **fault)
    reply = sink_of(crm).create(ADA, "ours")
    assert reply.outcome is outcome
    assert reply.where == fault.get("where", "")
    assert reply.retry_after_s == fault.get("retry_after")


def test_the_allowance_is_read(crm: launch.Running) -> None:
    requests.put(f"{crm.switchboard}/limits", json={"rate": 1, "burst": 9}, timeout=10).raise_for_status()
    pace = sink_of(crm).create(ADA, "ours").pace
    assert pace == Pace(9, 8, 1.0)


@pytest.mark.parametrize(("shown", "etag"), [({"etags": True}, '"v1"'), ({"etags": False}, None)])
def test_without_versions_none_is_stated(crm: launch.Running, shown: dict[str, bool], etag: str | None) -> None:
    requests.put(f"{crm.switchboard}/behaviour", json=shown, timeout=10).raise_for_status()
    assert sink_of(crm).create(ADA, "ours").etag == etag


def test_the_write_credential_is_for_writes_alone(crm: launch.Running) -> None:
    seen: list[str] = []

    def reveal(reference: str) -> str:
        seen.append(reference)
        return "x"

    sink = {"entity_types": ["patient"], "write_auth": {"kind": "bearer", "token": "env:WRITE"}}
    settings = settings_of(crm.base_url, auth={"kind": "bearer", "token": "env:READ"}, sink=sink)
    opened = RestSink(Opening(HTTP(Settings(http_allow=("127.0.0.1",))), reveal), settings)
    opened.find("Contact", "ours")
    opened.create(ADA, "ours")
    opened.read("Contact/1")
    opened.update("Contact/1", {**ADA, "id": "1"}, None)
    assert seen == ["env:READ", "env:WRITE", "env:READ", "env:WRITE"]


def test_an_id_cannot_leave_its_place_in_a_path(crm: launch.Running) -> None:
    sink_of(crm).read("Contact/../../_sandbox/reset?x=1")
    assert journal(crm)[-1]["path"].startswith("/api/contacts/")


def test_a_nested_record_with_a_version_field() -> None:
    from connector_runner.connectors.rest import records

    settings = settings_of(
        "http://crm.example",
        {**UPSERT, "body_field": "properties", "version": "field", "version_field": "rev", "id_field": "sys.id"},
    )
    record = settings.records["Contact"]
    document = {"sys": {"id": 7}, "rev": 3, "properties": {"lastName": "A"}, "updatedAt": "2026-01-01T00:00:00Z"}
    resource = records.resource_of("Contact", record, document)
    assert resource == {
        "resourceType": "Contact", "id": "7", "lastName": "A", "meta": {"lastUpdated": "2026-01-01T00:00:00Z"},
    }  # fmt: skip
    assert records.version_of(record, document, {"ETag": "x"}) == "3"
    sent = records.wrapped(record, records.sendable(record, {**(resource or {}), "lastName": "B"}), "3")
    assert sent == {"properties": {"lastName": "B"}, "rev": 3}
    assert records.resource_of("Contact", record, {"properties": {}, "sys": {"id": "a/b"}}) is None
    assert records.resource_of("Contact", record, {"properties": [], "sys": {"id": 1}}) is None


class Saying:
    """In the place of HTTP: one answer to everything, and what was sent."""

    def __init__(self, document: Any, status: int = 200) -> None:
        self._answer = Answer(status, {}, json.dumps(document).encode(), "")
        self.sent: list[Any] = []

    def request(self, method: str, url: str, *, data: bytes | None = None, **kwargs: Any) -> Answer:
        self.sent.append(json.loads(data or b"null"))
        return self._answer


def told(http: Any, contact: dict[str, Any]) -> RestSink:
    return RestSink(Opening(http, str), settings_of("http://crm.example", contact))


@pytest.mark.parametrize("contact", [UPSERT, {**UPSERT, "create": "idempotent_post"}])
def test_another_record_in_the_place_of_ours_is_not_taken_for_it(contact: dict[str, Any]) -> None:
    theirs = {"id": 9, "externalId": "theirs", "lastName": "Obi"}
    replies = [told(Saying(theirs), UPSERT).find("Contact", "ours"), told(Saying(theirs), contact).create(ADA, "ours")]
    assert [(reply.outcome, reply.cause, reply.ref, reply.body) for reply in replies] == [
        (Outcome.UNKNOWN, "other_record", None, None)
    ] * 2
    ours = told(Saying({**theirs, "externalId": "ours"}), contact).create(ADA, "ours")
    unsaid = told(Saying({"id": 9}), contact).create(ADA, "ours")
    assert (ours.ref, unsaid.ref) == ("Contact/9", "Contact/9")


@pytest.mark.parametrize("dots", [".", ".."])
def test_an_id_that_is_a_step_in_a_path_is_none(dots: str) -> None:
    reply = told(Saying({"id": dots}, 201), UPSERT).create(ADA, "ours")
    assert (reply.outcome, reply.cause) == (Outcome.UNKNOWN, "no_id")


def test_what_only_the_api_writes_is_not_sent_wherever_it_is() -> None:
    contact = {**POST_ONCE, "read_only": ["audit.createdAt", "score"], "updated_field": "properties.audit.changed"}
    http = Saying({"id": "7", "properties": {}})
    sink = told(http, {**contact, "body_field": "properties"})
    held = {"createdAt": "2026-01-01", "changed": "2026-01-02"}
    sink.update("Contact/7", {**ADA, "id": "7", "score": 3, "audit": {**held, "by": "x"}}, None)
    sink.update("Contact/7", {**ADA, "id": "7", "score": 3, "audit": held, "none": {}}, None)
    plain = {name: value for name, value in ADA.items() if name != "resourceType"}
    assert http.sent == [{"properties": {**plain, "audit": {"by": "x"}}}, {"properties": {**plain, "none": {}}}]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"records": {}}, "settings.records"),
        ({"records": {"contact": UPSERT}}, "settings.records"),
        ({"records": {"Contact": {**UPSERT, "upsert_path": None}}}, "settings.records.Contact"),
        ({"records": {"Contact": {**UPSERT, "upsert_path": "x/{id}"}}}, "settings.records.Contact.upsert_path"),
        ({"records": {"Contact": {**UPSERT, "path": "../x y"}}}, "settings.records.Contact.path"),
        ({"records": {"Contact": {**UPSERT, "version": "field"}}}, "settings.records.Contact"),
        ({"records": {"Contact": {**UPSERT, "tail": 1}}}, "settings.records.Contact.tail"),
        ({"records": {"Contact": {**UPSERT, "external_id_field": None}}}, "settings.records.Contact"),
        ({"errors": {"outcomes": {"OK": "landed"}}}, "settings.errors.outcomes"),
        ({"errors": {"outcomes": {"OK": "fine"}}}, "settings.errors.outcomes.OK"),
        ({"resources": ["Contact"]}, "settings"),
        ({"base_url": "ftp://x"}, "settings.base_url"),
        ({"base_url": "http://u:p@x"}, "settings.base_url"),
        ({"mapping": ""}, "settings"),
        ({"sink": {"entity_types": ["patient"], "client_id": True}}, "settings.sink.client_id"),
        ({"sink": {"entity_types": ["patient"], "capabilities": {"transaction": True}}}, "settings.sink"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_their_key(change: dict[str, Any], key: str) -> None:
    document = {
        "base_url": "http://crm.example",
        "mapping": "crm",
        "records": {"Contact": UPSERT},
        "sink": {"entity_types": ["patient"]},
        **change,
    }
    with pytest.raises(Misconfigured) as refused:
        parse(RestSettings, document, file="crm.yaml", at="settings")
    assert refused.value.where == f"crm.yaml: {key}"


def test_a_kind_of_record_without_settings_is_refused(crm: launch.Running) -> None:
    with pytest.raises(Misconfigured):
        sink_of(crm).create({"resourceType": "Deal"}, "ours")
    with pytest.raises(Misconfigured):
        sink_of(crm).transact([])
    assert journal(crm) == []
