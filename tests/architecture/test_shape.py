"""The shape of the tree: imports only look down, files and bodies stay small, and no drawer for odds and ends."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from connector_runner.settings import PROJECT_ROOT

SOURCES = sorted([*PROJECT_ROOT.glob("connector_runner/**/*.py"), *PROJECT_ROOT.glob("tasks/*.py")])
TASK_MODULES = sorted(PROJECT_ROOT.glob("tasks/*.py"))


def _name(path: Path) -> str:
    return str(path.relative_to(PROJECT_ROOT))


def test_the_import_contracts_hold() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_no_file_is_longer_than_400_lines() -> None:
    assert SOURCES
    long = {_name(path): n for path in SOURCES if (n := len(path.read_text().splitlines())) > 400}
    assert long == {}


@pytest.mark.parametrize("word", ["util", "utils", "helper", "helpers", "common", "misc"])
def test_nothing_is_named_for_being_left_over(word: str) -> None:
    assert [_name(path) for path in SOURCES if word in (path.stem, path.parent.name)] == []


def _bodies() -> dict[str, int]:
    """Lines of each task's body without its docstring, by ``file:function``."""
    found = {}
    for path in TASK_MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any("app.task" in ast.unparse(d) for d in node.decorator_list):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                found[f"{path.name}:{node.name}"] = (body[-1].end_lineno or 0) - body[0].lineno + 1
    return found


def test_task_bodies_are_thin() -> None:
    bodies = _bodies()
    assert len(bodies) >= 9
    assert {name: lines for name, lines in bodies.items() if lines > 10} == {}
