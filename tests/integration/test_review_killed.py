"""A process that is killed while it reviews: nothing is lost, and nothing is decided twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from connector_runner.audit import verifying
from connector_runner.infra.database import Database, execute
from connector_runner.kernel.clock import utc_now
from connector_runner.review import policy_store
from tests.integration.review_desk import ReviewDesk

ROOT = Path(__file__).parents[2]
KILLED = """
import sys, time
from connector_runner.infra.database import Database
from connector_runner.review import {module}
from tests.integration.review_desk import ReviewDesk

do = {module}.{name}
def stopped(*given, **named):
    {first}
    print("here", flush=True)
    time.sleep(60)
{module}.{name} = stopped
ReviewDesk(Database({url!r}), {workspace!r}).run()
"""


@pytest.fixture
def desk(database: Database, workspace: str) -> ReviewDesk:
    desk = ReviewDesk(database, workspace)
    with database.begin(workspace) as tx:
        policy_store.save(tx, workspace, {"sample": 0}, actor="test", now=utc_now())
    return desk


def killed(url: str, workspace: str, module: str, name: str, first: str) -> None:
    """A process that reviews, killed where it calls a function, or has called it (``first``)."""
    code = KILLED.format(module=module, name=name, first=first, url=url, workspace=workspace)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize(
    ("module", "name", "first"),
    [
        ("items", "ask_all", "pass"),  # what is believed is written and not committed
        ("pending_store", "settle", "do(*given, **named)"),  # so is all of the batch
        ("policy_store", "signed_off_types", "pass"),  # judged, and nothing is written yet
        ("pending_store", "due", "pass"),  # it was committed
    ],
)
def test_whoever_comes_after_decides_once(
    desk: ReviewDesk, database_url: str, module: str, name: str, first: str
) -> None:
    desk.judge.words = {"gender": "unclear"}
    for _ in range(3):
        desk.say()
    for _ in range(2):
        desk.say({"allergies": [{"code": {"text": "penicillin"}}]})
    killed(database_url, desk.workspace, module, name, first)
    assert not desk.run().entities or name == "due", "they are leased"
    with desk.database.begin(desk.workspace) as tx:
        execute(tx, "UPDATE pending_review SET due_at = now() - interval '1 second'")
    while desk.run().more:
        pass
    assert desk.pending() == 0
    found = desk.one(
        "SELECT count(*) AS n, count(DISTINCT facts->>'about') AS events FROM event"
        " WHERE event_type = 'review.approved'"
    )
    assert (found["n"], found["events"]) == (3, 3)
    assert len(desk.items()) == 2
    assert desk.actions().count("verdict.approved") == 3
    with desk.database.begin(desk.workspace) as tx:
        assert verifying.verify(tx, desk.workspace).broken is None
