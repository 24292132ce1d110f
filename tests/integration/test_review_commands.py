"""``review`` as it is typed: one document for programs, words for people, exit codes 0, 1, 2."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connector_runner.cli.main import app
from connector_runner.infra.database import Database, execute
from connector_runner.kernel.clock import utc_now
from connector_runner.review import items, policy_store
from tests.integration.review_desk import KEY, ReviewDesk


@pytest.fixture(autouse=True)
def environment(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a process of the product."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("CONNECTOR_RUNNER_ENCRYPTION_KEY", base64.b64encode(KEY).decode())


@pytest.fixture
def desk(database: Database, workspace: str) -> ReviewDesk:
    desk = ReviewDesk(database, workspace)
    desk.judge.otherwise = "unclear"
    with database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0, "least_labels": 1}, actor="test", now=utc_now())
    return desk


def run(desk: ReviewDesk, *arguments: str, code: int = 0, group: str = "review") -> Any:
    """The JSON of a command."""
    done = CliRunner().invoke(app, [group, *arguments, "--workspace", desk.workspace, "--json"])
    assert done.exit_code == code, f"{done.output} {done.exception!r}"
    return json.loads(done.stdout)


def told(desk: ReviewDesk, *arguments: str, code: int = 0) -> str:
    """What a command says to people."""
    done = CliRunner().invoke(app, ["review", *arguments, "--workspace", desk.workspace])
    assert done.exit_code == code, f"{done.output} {done.exception!r}"
    return done.output


def asked(desk: ReviewDesk, many: int) -> list[str]:
    for _ in range(many):
        desk.say()
    desk.run()
    return [item.id for item in desk.items(status=["pending"])]


def test_pages_of_items_have_the_shape_of_the_platform(desk: ReviewDesk) -> None:
    asked(desk, 3)
    first = run(desk, "list", "--limit", "2")
    assert (first["total"], first["has_more"], first["continuation_token"]) == (3, True, 2)
    last = run(desk, "list", "--limit", "2", "--offset", "2")
    assert (len(last["items"]), last["has_more"], last["continuation_token"]) == (1, False, None)
    assert {
        "id", "workspace_id", "session_id", "event_ids", "entity_id", "entity_type", "priority", "reason", "status",
        "judge_analysis", "assigned_to", "completed_action", "completed_at", "created_at",
    } <= last["items"][0].keys()  # fmt: skip
    assert {word["path"] for word in last["items"][0]["judge_analysis"]["fields"]} == {"name", "telecom"}
    assert run(desk, "list", "--type", "appointment")["items"] == []
    assert "unclear" in told(desk, "list")
    told(desk, "list", "--status", "lost", code=2)


def test_batches_and_what_is_mine(desk: ReviewDesk) -> None:
    one, other, third = asked(desk, 3)
    run(desk, "claim", one, "--actor", "omar")
    assert [item["id"] for item in run(desk, "my-queue", "--actor", "omar")["items"]] == [one]
    assert run(desk, "my-queue", "--actor", "ruth")["items"] == []
    result = run(desk, "batch-approve", one, other, "--actor", "ruth", code=1)
    assert result["succeeded"] == [other]
    assert [(each["item_id"], each["code"]) for each in result["failed"]] == [(one, "claimed_by_other")]
    assert "claimed_by_other" in told(desk, "batch-reject", one, third, "--reason", "no", "--actor", "ruth", code=1)
    run(desk, "unclaim", one, "--actor", "omar")
    history = run(desk, "history")
    assert [(item["id"], item["status"]) for item in history["items"]] == [(third, "rejected"), (other, "completed")]
    stats = run(desk, "stats")
    assert (stats["pending"], stats["completed"], stats["rejected"], stats["queue_depth"]) == (1, 1, 1, 1)


def test_how_the_queue_goes_at_a_glance_by_person_and_by_day(desk: ReviewDesk) -> None:
    items_asked = asked(desk, 4)
    run(desk, "claim", items_asked[0], "--actor", "omar")
    run(desk, "approve", items_asked[0], "--actor", "omar")
    run(desk, "batch-reject", *items_asked[1:3], "--reason", "no", "--actor", "ruth")
    found = run(desk, "dashboard")
    assert (found["stats"]["pending"], found["stats"]["completed"], found["stats"]["rejected"]) == (1, 1, 2)
    assert found["completion_rate_24h"] == 0.75
    assert found["pending_by_reason"] == [{"reason": "unclear", "count": 1}]
    assert [each["id"] for each in found["recent_completed"]] == [*reversed(items_asked[1:3]), items_asked[0]]
    found = run(desk, "performance", "--days", "7")
    assert (found["decided"], found["approved"], found["rejected"], found["corrected"]) == (3, 1, 2, 0)
    assert [(each["reviewer"], each["decided"]) for each in found["by_reviewer"]] == [("ruth", 2), ("omar", 1)]
    assert [each["avg_claimed_minutes"] is None for each in found["by_reviewer"]] == [True, False]
    with desk.database.begin(desk.workspace) as tx:
        execute(tx, "UPDATE review_item SET created_at = created_at - interval '2 days' WHERE id = :id",
                id=items_asked[3])  # fmt: skip
    days = run(desk, "trends", "--days", "3")["days"]
    assert [(day["created"], day["decided"], day["rejected"]) for day in days] == [(1, 0, 0), (0, 0, 0), (3, 3, 2)]
    for command in ("dashboard", "performance", "trends"):
        assert "ruth" in told(desk, command) or command == "trends"
    told(desk, "trends", "--days", "0", code=2)


def test_an_item_is_shown_with_all_it_takes_and_that_is_noted(desk: ReviewDesk) -> None:
    (item,) = asked(desk, 1)
    shown = run(desk, "show", item, "--actor", "ruth")
    assert shown["events"][0]["data"]["name"]["family"] == "Okafor"
    assert shown["events"][0]["review_status"] == "flagged"
    assert shown["entity"]["display_name"] == "Ada Okafor"
    reads = desk.rows("SELECT action, object FROM audit_read WHERE action LIKE 'review.%'")
    assert [(row["action"], row["object"]) for row in reads] == [("review.show", item)]
    told(desk, "show", desk.workspace, code=1)


def test_an_event_is_answered_by_its_own_id(desk: ReviewDesk) -> None:
    said = desk.say()
    desk.run()
    found = run(desk, "approve", said["id"], "--field", "name")
    assert found["verdict"] == "approved"
    item = desk.item()
    assert list(item.asked.values()) == [["telecom[phone|home]"]], "the item goes on with the rest"
    told(desk, "approve", item.id, "--field", "name", code=2)
    run(desk, "reject", said["id"], "--reason", "wrong", "--field", "telecom")
    assert desk.item().status == "expired"


def test_the_judge_is_measured_and_a_category_given_back(desk: ReviewDesk) -> None:
    with desk.database.begin(desk.workspace) as tx:
        policy_store.save(tx, desk.workspace, {"sample": 1, "least_labels": 1}, actor="test", now=utc_now())
    desk.judge.otherwise = "supported"
    (item,) = asked(desk, 1)
    run(desk, "reject", item, "--reason", "not hers")
    found = run(desk, "calibration")
    assert {(row["category"], row["precision"], row["suspended"]) for row in found["judge"]} == {
        ("contact", 0, True), ("identity", 0, True),
    }  # fmt: skip
    assert run(desk, "stats")["suspended_categories"] == ["contact", "identity"]
    alerts = run(desk, "list", group="alerts")["alerts"]
    assert {(each["source"], each["kind"], each["subject"], each["code"]) for each in alerts} == {
        ("", "review", "contact", "review_category_suspended"), ("", "review", "identity", "review_category_suspended"),
    }  # fmt: skip
    assert alerts[0]["detail"] == "0.000 of 1 answers bear the judge out, 0.950 must"
    run(desk, "acknowledge", alerts[0]["alert_id"], group="alerts")
    run(desk, "restore", "contact", "--reason", "mended", "--actor", "ruth")
    assert [each["subject"] for each in run(desk, "list", group="alerts")["alerts"]] == ["identity"]
    assert len(run(desk, "list", "--ended", group="alerts")["alerts"]) == 2
    assert run(desk, "calibration")["suspended"] == ["identity"]
    assert "scripted-1" in told(desk, "calibration")
    told(desk, "restore", "contact", "--reason", "again", code=1)


def test_a_policy_is_set_from_a_file(desk: ReviewDesk, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"people": ["identity"], "sample": 0.25}))
    assert run(desk, "policy", str(file))["people"] == ["identity"]
    assert run(desk, "policy")["sample"] == 0.25
    file.write_text(json.dumps({"people": ["nobody"]}))
    told(desk, "policy", str(file), code=1)
    assert run(desk, "policy")["people"] == ["identity"]


def test_two_records_are_told_apart_for_good(desk: ReviewDesk, tmp_path: Path) -> None:
    one, other = (desk.say()["entity_id"] for _ in range(2))
    with desk.database.begin(desk.workspace) as tx:
        item = items.ask(
            tx, desk.workspace, kind="match", entity_id=one, other_id=other, entity_type="patient",
            reason="possible_match", priority=40, now=utc_now(),
        )  # fmt: skip
    shown = run(desk, "show", item)
    assert {shown["entity"]["id"], shown["other"]["id"]} == {one, other}
    file = tmp_path / "correction.json"
    for text, error in (("{}", "data_missing"), ('{"gender": "male"}', "not_correctable")):
        file.write_text(text)
        assert run(desk, "correct", item, str(file), code=1)["error"] == error
    assert run(desk, "reject", item, "--reason", "cousins", "--actor", "ruth")["status"] == "rejected"
    label = desk.one("SELECT kind, holds, actor, reason FROM label")
    assert label == {"kind": "match", "holds": False, "actor": "ruth", "reason": "cousins"}
