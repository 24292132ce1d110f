"""The log as FHIR R4: what fhirclient's models take, for every action that there is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from fhirclient.models.auditevent import AuditEvent
from fhirclient.models.fhirabstractbase import FHIRValidationError
from fhirclient.models.provenance import Provenance

from connector_runner.audit import exporting
from connector_runner.audit.actions import ACTIONS, PROVENANCE
from connector_runner.audit.reading import Logged

NOW = datetime(2026, 3, 4, 5, 6, 7, 891234, tzinfo=UTC)
# Always the same: they name tests.
WORKSPACE, ENTITY, EVENT, CORRELATION = (f"019cb35e-0000-7000-8000-00000000000{n}" for n in range(4))
BY = {"who": "os:alice", "through": "review approve", "correlation_id": CORRELATION}


def logged(action: str, about: str = ENTITY, **detail: Any) -> Logged:
    return Logged("entry-000000000000000007", 7, False, NOW, "ruth", action, about, detail, b"h" * 32)


def resource(what: Logged) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(exporting.line(WORKSPACE, what, "fhir"))
    return found


@pytest.mark.parametrize("action", [*sorted(ACTIONS), "of.another.version"])
@pytest.mark.parametrize(
    "detail", [{}, {"by": BY, "event_id": EVENT, "ids": [EVENT], "fields": ["name"], "full": False}]
)
@pytest.mark.parametrize("about", [ENTITY, f"data_source/{ENTITY}", "secret:token", "audit"])
def test_every_action_is_a_resource_that_holds(action: str, detail: dict[str, Any], about: str) -> None:
    found = resource(logged(action, about, **detail))
    model = Provenance if action in ACTIONS and ACTIONS[action].kind in PROVENANCE else AuditEvent
    assert found["resourceType"] == model.resource_type
    assert model(found, strict=True).as_json() == found, "nothing that the model does not know"


def test_the_models_would_have_refused_it() -> None:
    found = resource(logged("entity.show"))
    with pytest.raises(FHIRValidationError):
        AuditEvent({**found, "agent": []} | {"source": None}, strict=True)


def test_a_read_says_who_looked_at_what_and_on_whose_authority() -> None:
    found = resource(logged("entity.show", by=BY))
    assert found["type"]["code"] == "110112"
    assert (found["action"], found["outcome"], found["recorded"]) == ("R", "0", "2026-03-04T05:06:07.891Z")
    [agent] = found["agent"]
    assert agent["who"]["identifier"]["value"] == "ruth"
    assert (agent["altId"], agent["name"], agent["requestor"]) == ("os:alice", "review approve", True)
    assert found["entity"][0]["what"] == {"reference": f"urn:uuid:{ENTITY}"}


def test_a_verdict_says_what_it_is_about_and_what_it_rests_on() -> None:
    found = resource(logged("verdict.approved", EVENT, entity_id=ENTITY, by=BY))
    assert found["target"] == [{"reference": f"urn:uuid:{EVENT}"}]
    assert found["entity"][0] == {"role": "source", "what": {"reference": f"urn:uuid:{ENTITY}"}}
    assert found["agent"][0]["onBehalfOf"]["identifier"]["value"] == "os:alice"
    assert found["activity"]["coding"][1]["code"] == "verdict.approved"


def test_what_was_not_done_says_so_and_nothing_stems_from_it() -> None:
    for outcome in ("unknown", "poison", "conflict", "not_sent"):
        found = resource(logged("outbound.write", sink_id=EVENT, outcome=outcome, code="http_422"))
        assert (found["resourceType"], found["outcome"], found["outcomeDesc"]) == ("AuditEvent", "4", "http_422")
        assert AuditEvent(found, strict=True).as_json() == found
    for outcome in ("landed", "existed"):
        assert resource(logged("outbound.write", outcome=outcome))["resourceType"] == "Provenance"
    found = resource(logged("policy.refused", reason="consent_withdrawn"))
    assert (found["outcome"], found["outcomeDesc"]) == ("4", "consent_withdrawn")
    assert resource(logged("review.refused", code="superseded"))["outcomeDesc"] == "superseded"


def test_a_line_of_ours_says_everything() -> None:
    found = json.loads(exporting.line(WORKSPACE, logged("source.apply", full=False), "ndjson"))
    assert found == {
        "workspace_id": WORKSPACE, "key": "entry-000000000000000007", "n": 7, "noted": False,
        "at": "2026-03-04T05:06:07.891234+00:00", "actor": "ruth", "action": "source.apply", "object": ENTITY,
        "detail": {"full": False}, "hash": (b"h" * 32).hex(),
    }  # fmt: skip
