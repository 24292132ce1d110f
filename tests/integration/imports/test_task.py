"""What a shell sends, what a worker gets, and the command line."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import typer
from typer.testing import CliRunner

from connector_runner.cli import imports as command
from connector_runner.infra.database import Database, one
from connector_runner.intake.imports import running
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Misconfigured
from connector_runner.settings import PROJECT_ROOT

PATIENT = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Quillfeather"}]}


@pytest.fixture
def stack(database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """The environment of a process of the product; its Redis."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


def shell(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a person would in a shell of the project."""
    code = f"import sys\nfrom tasks.imports import import_bundle\n{code}"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60)


DELAY = "print(import_bundle.delay(sys.argv[1], workspace=sys.argv[2], source='partner').id)"
WORK = "import_bundle(workspace_id=sys.argv[1], import_id=sys.argv[2])"


def messages(client: redis.Redis) -> bytes:
    """All that stands in Redis."""
    found = b""
    for key in client.scan_iter():
        kind = client.type(key)
        found += key + (b"".join(client.lrange(key, 0, -1)) if kind == b"list" else repr(client.dump(key)).encode())
    return found


@pytest.fixture
def slug(database: Database, workspace: str) -> str:
    with database.begin(workspace) as tx:
        row = one(tx, "SELECT slug FROM workspace")
    assert row is not None
    return str(row["slug"])


def test_a_shell_registers_first_and_sends_ids_only(
    stack: redis.Redis, database: Database, workspace: str, slug: str, tmp_path: Path
) -> None:
    path = tmp_path / "Quillfeather_Ida.json"
    path.write_text(json.dumps(PATIENT))
    sent = shell(DELAY, str(path), slug)
    path.unlink()
    assert sent.returncode == 0, sent.stderr
    import_id = sent.stdout.strip()
    with database.begin(workspace) as tx:
        assert one(tx, "SELECT import_id, status FROM import_job") == {"import_id": import_id, "status": "pending"}
    queued = stack.lrange("cr:imports", 0, -1)
    assert len(queued) == 1
    assert b"Quillfeather" not in messages(stack)
    assert str(tmp_path).encode() not in messages(stack)
    body = base64.b64decode(json.loads(queued[0])["body"])
    assert json.loads(body)[:2] == [[], {"workspace_id": workspace, "import_id": import_id}]
    worked = shell(WORK, workspace, import_id)
    assert worked.returncode == 0, worked.stderr
    assert "Quillfeather" not in worked.stdout + worked.stderr
    with database.begin(workspace) as tx:
        assert one(tx, "SELECT status FROM import_job") == {"status": "completed"}
        assert one(tx, "SELECT count(*) AS n FROM event") == {"n": 1}


@pytest.mark.usefixtures("stack")
def test_what_is_registered_while_redis_is_away_is_found_by_the_sweep(
    database: Database, workspace: str, slug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(PATIENT))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    sent = shell(DELAY, str(path), slug)
    assert sent.returncode == 0, sent.stderr
    with database.sweep() as tx:
        assert (workspace, sent.stdout.strip()) in running.overdue(tx, utc_now())


@pytest.mark.usefixtures("stack")
def test_a_shell_is_told_what_is_wrong(slug: str, tmp_path: Path) -> None:
    missing = shell(DELAY, str(tmp_path / "nothing.json"), slug)
    assert "Misconfigured: location: there is no such file or folder" in missing.stderr
    refused = shell("import_bundle.apply_async(kwargs={'workspace_id': 'a/b', 'import_id': '../x'})")
    assert "BadRecord: " in refused.stderr


@pytest.mark.usefixtures("stack")
def test_the_command_line_prints_one_document(
    new_workspace: Callable[[], str], slug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.ndjson").write_text(json.dumps(PATIENT) + '\n{"resourceType":"Pat')
    program = typer.Typer()
    program.command("import")(command.import_files)
    program.command("other")(lambda: None)
    call = ["import", str(tmp_path), "--workspace", slug, "--source", "partner", "--json"]
    first = CliRunner().invoke(program, call)
    assert first.exit_code == 0, first.output
    outcome = json.loads(first.stdout)
    assert {"events_created", "events_updated", "events_skipped", "entities_created", "entities_updated",
            "quarantined", "errors", "resources", "seconds"} <= outcome.keys()  # fmt: skip
    assert (outcome["events_created"], outcome["quarantined"], len(outcome["errors"])) == (1, 1, 1)
    assert json.loads(CliRunner().invoke(program, call).stdout)["events_created"] == 0
    assert CliRunner().invoke(program, [*call[:1], str(tmp_path / "none"), *call[2:]]).exit_code == 2
    plain = CliRunner().invoke(program, call[:-1])
    assert "records that said nothing new" in plain.stdout
    new_workspace()
    several = CliRunner().invoke(program, ["import", str(tmp_path), "--source", "partner"])
    assert isinstance(several.exception, Misconfigured)
    (tmp_path / "x.csv").write_text("a,b\n")
    assert CliRunner().invoke(program, [*call[:1], str(tmp_path / "x.csv"), *call[2:]]).exit_code == 1
