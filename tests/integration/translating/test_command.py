"""``outbound translate`` as it is typed, and the task that asks the model, with the settings of the product."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connector_runner.bootstrap import Addresses, Runner
from connector_runner.cli.main import app
from connector_runner.infra.database import rows
from connector_runner.infra.queue import RELEASE, TRANSLATE
from connector_runner.settings import Settings
from tasks import translate
from tasks.follow_ups import after_translation
from tests.integration.llm_server import Model, serving
from tests.integration.outbound_stack import KEY, Clinic, System
from tests.integration.translating.stack import SAID, held, patient, set_up


@pytest.fixture
def server() -> Iterator[Model]:
    with serving() as model:
        yield model


@pytest.fixture(autouse=True)
def environment(database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a process of the product."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("CONNECTOR_RUNNER_ENCRYPTION_KEY", base64.b64encode(KEY).decode())
    monkeypatch.setenv("CONNECTOR_RUNNER_HTTP_ALLOW", "127.0.0.1")
    monkeypatch.setenv("CONNECTOR_RUNNER_MAPPINGS", str(tmp_path / "wait-True"))


def run(clinic: Clinic, *arguments: str, code: int = 0) -> Any:
    """The JSON of a command."""
    done = CliRunner().invoke(app, ["outbound", "translate", *arguments, "--workspace", clinic.workspace, "--json"])
    assert done.exit_code == code, f"{done.output} {done.exception!r}"
    return json.loads(done.stdout) if code == 0 else None


def test_a_person_reads_the_list_and_sets_a_code(clinic: Clinic, ehr: System, tmp_path: Path) -> None:
    set_up(clinic, ehr, tmp_path, "wait")
    patient(clinic)
    clinic.flow("ehr")
    [one] = run(clinic)["translations"]
    assert (one["vocabulary"], one["text"], one["state"], one["entities"]) == ("marital_status", SAID, "asked", 1)
    assert one["candidates"]
    assert SAID in CliRunner().invoke(app, ["outbound", "translate", "--workspace", clinic.workspace]).stdout
    assert run(clinic, one["id"], "M") == {"code": "M", "entities": 1, "id": one["id"]}
    assert run(clinic)["translations"] == []
    clinic.flow("ehr")
    assert held(ehr)["coding"][0]["code"] == "M"
    with clinic.database.begin(clinic.workspace) as tx:
        reads = rows(tx, "SELECT 1 FROM audit_read WHERE action = 'translation.list'")
    assert len(reads) == 3


@pytest.mark.parametrize("arguments", [["abc"], ["abc", "M", "--none"], ["--none"]])
def test_half_an_answer_is_bad_usage(clinic: Clinic, arguments: list[str], tmp_path: Path, ehr: System) -> None:
    set_up(clinic, ehr, tmp_path, "wait")
    run(clinic, *arguments, code=2)


def test_the_task_asks_the_model_of_the_settings(
    clinic: Clinic, ehr: System, server: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str,
    redis_url: str,
) -> None:  # fmt: skip
    server.says("M")
    monkeypatch.setenv("CONNECTOR_RUNNER_LLM_BASE_URL", server.base_url)
    monkeypatch.setenv("CONNECTOR_RUNNER_LLM_MODEL", "small-1")
    monkeypatch.setenv("CONNECTOR_RUNNER_LLM_API_KEY", "env:MODEL_KEY")
    monkeypatch.setenv("MODEL_KEY", "sk-quatermass")
    runner = Runner(Settings(), Addresses(database_url, redis_url))
    monkeypatch.setattr(translate, "runner", lambda: runner)
    set_up(clinic, ehr, tmp_path, "wait")
    patient(clinic)
    clinic.flow("ehr")
    done = translate.translate.run(workspace_id=clinic.workspace)
    assert done.outcomes == {"decided": 1}
    hints = list(after_translation(done, {"workspace_id": clinic.workspace}))
    assert [hint.task for hint in hints] == [RELEASE]
    done.more = True
    assert [hint.task for hint in after_translation(done, {"workspace_id": clinic.workspace})] == [RELEASE, TRANSLATE]
    assert server.headers[0]["authorization"] == "Bearer sk-quatermass"
    clinic.flow("ehr")
    assert held(ehr)["coding"][0]["code"] == "M"
    assert list(after_translation(translate.translate.run(workspace_id=clinic.workspace), {})) == []


def test_a_preview_asks_for_nothing(clinic: Clinic, ehr: System, tmp_path: Path) -> None:
    set_up(clinic, ehr, tmp_path, "wait")
    entity = patient(clinic)
    done = CliRunner().invoke(
        app, ["outbound", "preview", entity, "--sink", "ehr", "--workspace", clinic.workspace, "--json"]
    )
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert (shown["action"], shown["reason"], shown["detail"]) == ("wait", "translation_pending", "marital_status")
    assert clinic.count("translation") == 0
