"""Whatever the code puts on record is in the table of actions, and whatever is in the table is put on record."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from connector_runner.audit.actions import ACTIONS, markdown
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
