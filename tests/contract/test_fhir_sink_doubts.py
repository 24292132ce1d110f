"""A FHIR sink before answers about other records than it asked for, or about none that has a name."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.connectors.fhir.sink import IDENTIFIER_SYSTEM, FHIRSink
from connector_runner.connectors.sinks import Capabilities, Outcome
from connector_runner.infra.http import Answer
from connector_runner.kernel import exact_json

ADA = {"resourceType": "Patient", "name": [{"family": "Okafor"}]}
OURS = {"resourceType": "Patient", "identifier": [{"system": IDENTIFIER_SYSTEM, "value": "ours"}]}


class Answering:
    """A client whose server has one answer."""

    def __init__(self, document: Any) -> None:
        self._body = exact_json.dumps(document).encode()

    def request(self, *args: Any, **more: Any) -> Answer:
        return Answer(200, {}, self._body, "")


def test_others_in_the_place_of_ours_prove_no_absence() -> None:
    listed = {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient", "id": "1"}}]}
    reply = FHIRSink(Answering(listed), Capabilities(client_id=False)).find("Patient", "ours")
    assert (reply.outcome, reply.cause) == (Outcome.UNKNOWN, "search_parameter_ignored")


@pytest.mark.parametrize("named", [{}, {"id": ""}, {"id": 7}, {"id": ".."}, {"id": "a/b"}, {"id": "a?b"}])
def test_what_is_found_has_a_name(named: dict[str, Any]) -> None:
    sink = FHIRSink(
        Answering({"resourceType": "Bundle", "entry": [{"resource": {**OURS, **named}}]}), Capabilities(client_id=False)
    )
    replies = [sink.find("Patient", "ours"), sink.candidates(OURS).reply]
    assert {(reply.outcome, reply.cause, reply.ref) for reply in replies} == {(Outcome.UNKNOWN, "no_id", None)}


@pytest.mark.parametrize(
    ("made", "cause"),
    [
        ({"resourceType": "Patient", "id": "../../admin"}, "no_id"),
        ({"resourceType": "Observation", "id": "7"}, "other_record"),
        ({**OURS, "id": "7", "identifier": [{"system": IDENTIFIER_SYSTEM, "value": "theirs"}]}, "other_record"),
    ],
)
def test_another_record_is_not_taken_for_the_one_that_was_made(made: dict[str, Any], cause: str) -> None:
    reply = FHIRSink(Answering(made), Capabilities(client_id=False)).create(ADA, "ours")
    assert (reply.outcome, reply.cause, reply.ref) == (Outcome.UNKNOWN, cause, None)


@pytest.mark.parametrize(
    ("shown", "cause"),
    [
        ({**ADA, "id": "7"}, "identity_dropped"),
        ({**ADA, "id": "7", "identifier": [{"system": "urn:mrn", "value": "7"}]}, "identity_dropped"),
        ({**OURS, **ADA, "id": "7"}, "success"),
        ({"resourceType": "Patient", "id": "7"}, "success"),
    ],
)
def test_a_server_that_keeps_all_but_our_identifier_is_told(shown: dict[str, Any], cause: str) -> None:
    capabilities = Capabilities(client_id=False, conditional_create=False)
    reply = FHIRSink(Answering(shown), capabilities).create(ADA, "ours")
    assert (reply.outcome, reply.cause) == (Outcome.LANDED, cause)
