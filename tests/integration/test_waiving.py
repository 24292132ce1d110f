"""What a workspace's policy lets a source say without review is put before nobody, and judged by nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from connector_runner.infra.database import Database
from connector_runner.kernel.clock import utc_now
from connector_runner.outbound.operating import policies
from connector_runner.policy.settings import PolicySettings
from connector_runner.review.judge.case import UNCLEAR
from connector_runner.world.confidence import CONVERSATION
from tests.integration.review_desk import ReviewDesk, Scripted


@pytest.fixture
def desk(database: Database, new_workspace: Callable[[], str]) -> ReviewDesk:
    """With a judge that is sure of nothing."""
    return ReviewDesk(database, new_workspace(), Scripted(otherwise=UNCLEAR))


def lay_down(desk: ReviewDesk, **without_review: Any) -> None:
    policy = PolicySettings.model_validate({"without_review": without_review})
    policies.apply(desk.database, desk.workspace, policy, actor="test", now=utc_now())


def test_what_needs_no_review_is_put_before_nobody(desk: ReviewDesk) -> None:
    lay_down(desk, voice_agent=["patient.telecom", "patient.language"])
    said = desk.say({"language": "es", "telecom": [{"system": "phone", "use": "home", "value": "+16175550101"}]})
    desk.run()
    assert (desk.items(), desk.judge.cases) == ([], [])
    assert set(desk.confidences(said["entity_id"]).values()) == {CONVERSATION}, "nobody vouched for it"


def test_what_else_the_source_says_is_asked_about(desk: ReviewDesk) -> None:
    lay_down(desk, voice_agent=["patient.language"])
    desk.say({"language": "es", "marital_status": {"code": "M"}})
    desk.run()
    assert [list(atoms) for atoms in desk.item().asked.values()] == [["marital_status"]]
    other = desk.say({"language": "es"}, source="text_agent")
    desk.run()
    assert other["entity_id"] in {item.entity_id for item in desk.items()}, "another source is not named"


def test_what_was_heard_of_a_field_of_safety_is_asked_about_all_the_same(desk: ReviewDesk) -> None:
    lay_down(desk, voice_agent=["patient"])
    desk.say({"language": "es", "birth_date": "1982-03-04"})
    desk.run()
    assert [list(atoms) for atoms in desk.item().asked.values()] == [["birth_date"]]
