"""Whatever the code puts on record is in the table of actions, and whatever is in the table is put on record."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import typer

from connector_runner.audit.actions import ACTIONS, markdown
from connector_runner.cli.main import app
from connector_runner.settings import PROJECT_ROOT

# What a call says of its action, and the actions that it stands for.
SAID = {
    ("auth/client_keys.py", "action"): {"client_key.created", "client_key.imported"},
    ("cli/entities.py", "f'entity.{action}'"): {"entity.show", "entity.timeline", "entity.history"},
    ("cli/outbound.py", "action"): {"outbound.preview", "outbound.log", "outbound.undo_shown"},
    ("outbound/gating/refusing.py", "REFUSED"): {"policy.refused"},
    ("outbound/operating/replay.py", "action"): {"quarantine.replay_asked", "quarantine.replayed"},
    ("outbound/planning/duplicate_search.py", "action"): {"outbound.adopted", "outbound.not_a_duplicate"},
    ("resolution/service.py", "action"): {"link.same", "link.different"},
    ("review/queue.py", "f'review.{answer.action}'"): {"review.approved", "review.rejected", "review.corrected"},
    ("review/verdicts.py", "f'verdict.{verdict.word}'"): {"verdict.approved", "verdict.rejected"},
}
BY_THE_DATABASE = {"outbound.write", "link.made", "link.parted"}
BY_THE_LOG = {"reads.sealed", "audit.anchored", "purge"}

# Each command, and what it puts on record.
ON_RECORD = {
    "alerts acknowledge": "alert.acknowledged", "api-key create": "api_key.created", "audit anchor": "audit.anchored",
    "audit export": "audit.export", "audit list": "audit.list", "clusters": "clusters.export",
    "entity explain": "entity.explain", "entity history": "entity.history", "entity list": "entity.list",
    "entity show": "entity.show", "entity timeline": "entity.timeline", "event append": "event.append",
    "import": "import.begun", "key create": "client_key.created", "key import": "client_key.imported",
    "key retire": "client_key.retired", "key rotate": "client_key.rotated", "link list": "link.list",
    "link make": "link.same", "link revert": "link.different", "outbound gaps": "outbound.gaps",
    "outbound log": "outbound.log", "outbound preview": "outbound.preview", "outbound retry": "outbound.retry",
    "outbound same": "outbound.adopted", "outbound steps": "outbound.steps",
    "outbound translate": "translation.decided", "outbound undo": "outbound.undo", "policy apply": "policy.applied",
    "policy check": "policy.check", "policy show": "policy.show", "quarantine discard": "quarantine.discarded",
    "quarantine replay": "quarantine.replay_asked", "quarantine show": "quarantine.show",
    "review approve": "review.approved", "review batch-approve": "review.approved",
    "review batch-reject": "review.rejected", "review claim": "review.claimed", "review correct": "review.corrected",
    "review correction-schema": "review.show", "review diff": "review.show", "review policy": "review.policy_changed",
    "review reject": "review.rejected", "review reopen": "review.reopened",
    "review restore": "review.category_restored", "review show": "review.show", "review unclaim": "review.unclaimed",
    "secret remove": "secret.removed", "secret set": "secret.set", "source apply": "source.apply",
    "source export": "source.export", "source rotate-secret": "push.secret_rotated", "source sync": "source.sync",
    "source test": "source.test", "transcript add": "material.added", "workspace create": "workspace.created",
}  # fmt: skip
# Ids, codes, figures and settings are shown, and nothing is changed.
NOBODYS_RECORD = {
    "alerts list", "audit actions", "audit verify", "key list", "outbound status", "quarantine list",
    "resolution report", "review calibration", "review dashboard", "review history", "review list", "review my-queue",
    "review performance", "review stats", "review trends", "secret list", "source capabilities", "source exports",
    "source list", "source show", "status", "workspace list",
}  # fmt: skip
# They run the product; what they do is on record by what does it.
PROCESSES = {"beat", "flower", "migrate", "services down", "services up", "services url", "up", "web", "worker"}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Each command as it is typed."""
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from commands(found, (*path, name))
        else:
            yield " ".join((*path, name))


def test_every_command_says_what_it_puts_on_record() -> None:
    known = ON_RECORD.keys() | NOBODYS_RECORD | PROCESSES
    found = set(commands(typer.main.get_command(app)))
    assert found - known == set(), "say here what these put on record, or that they show nothing and change nothing"
    assert known - found == set(), "there are no such commands"
    assert set(ON_RECORD.values()) <= ACTIONS.keys()


def calls() -> Iterator[tuple[str, ast.Call, ast.expr]]:
    """Each call that puts something on record, with what it says of the action."""
    root = PROJECT_ROOT / "connector_runner"
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = {keyword.arg: keyword.value for keyword in node.keywords}
                if node.func.attr in ("append", "record_read", "note") and {"action", "object"} <= named.keys():
                    yield str(path.relative_to(root)), node, named["action"]


def test_every_action_is_in_the_table_and_every_row_of_it_is_some_call() -> None:
    found = set(BY_THE_DATABASE | BY_THE_LOG)
    for path, _, action in calls():
        if isinstance(action, ast.Constant):
            found.add(str(action.value))
        else:
            assert (path, ast.unparse(action)) in SAID, f"{path}: say here which actions {ast.unparse(action)} is"
            found |= SAID[path, ast.unparse(action)]
    assert found - ACTIONS.keys() == set(), "not in audit/actions.py"
    assert ACTIONS.keys() - found == set(), "in audit/actions.py, and nobody does it"


def test_what_is_noted_is_told_apart_from_what_is_chained() -> None:
    for path, call, action in calls():
        assert isinstance(call.func, ast.Attribute)
        names = {str(action.value)} if isinstance(action, ast.Constant) else SAID[path, ast.unparse(action)]
        noted = call.func.attr != "append"
        assert {ACTIONS[name].noted for name in names} == {noted}, f"{path}: {names}"


def test_each_read_is_noted() -> None:
    assert [each.name for each in ACTIONS.values() if each.kind == "read" and not each.noted] == []


def test_the_document_shows_the_table() -> None:
    document = (PROJECT_ROOT / "docs/audit.md").read_text()
    assert markdown() in document, "put what `connector-runner audit actions --markdown` prints into docs/audit.md"
