"""The simulated clinic's documents are settings that can work."""

from __future__ import annotations

from typing import Any

from connector_runner.cli import demo
from connector_runner.connectors import registry
from connector_runner.connectors.base import Opening
from connector_runner.connectors.rest.settings import RestSettings
from connector_runner.connectors.rest.sink import RestSink
from connector_runner.connectors.settings import parse
from connector_runner.infra.http import Answer
from connector_runner.settings import PROJECT_ROOT
from connector_runner.unification.loader import load_mappings


def test_every_system_has_a_document_that_can_be_applied_and_written() -> None:
    documents = demo.documents({name: f"http://127.0.0.1:1/{name}" for name in demo.SYSTEMS})
    assert sorted(document["name"] for document in documents) == sorted(demo.SYSTEMS)
    mappings = load_mappings(PROJECT_ROOT / "mappings")
    for document in documents:
        kind = registry.source_type(document["source_type"], document["settings"])
        settings = parse(kind.settings, document["settings"], file=document["name"])
        assert kind.sink is not None
        assert settings.sink is not None
        assert not settings.sink_capabilities.at_least_once
        for entity_type in settings.sink.entity_types:
            mapping = mappings.outbound(settings.mapping, entity_type)
            assert mapping is not None, f"{document['name']}: {entity_type}"
            records = getattr(settings, "records", None)
            assert records is None or mapping.resource_type in records


def test_a_patient_without_an_email_address_is_searched_for_before_the_crm_gets_one() -> None:
    asked: list[Any] = []

    class Nobody:
        def request(self, method: str, url: str, *, params: Any = None, **more: Any) -> Answer:
            asked.append(dict(params))
            return Answer(200, {}, b'{"results": []}', url)

    documents = demo.documents({name: f"http://127.0.0.1:1/{name}" for name in demo.SYSTEMS})
    [crm] = [document["settings"] for document in documents if document["name"] == "crm"]
    http: Any = Nobody()
    sink = RestSink(Opening(http, str), parse(RestSettings, crm))
    reply = sink.candidates({"resourceType": "Contact", "lastName": "Okafor", "birthDate": "1982-03-04"}).reply
    assert (reply.cause, asked) == ("no_match", [{"lastName": "Okafor", "birthDate": "1982-03-04"}])
