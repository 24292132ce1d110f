"""Find codes for what rules alone could not translate."""

from __future__ import annotations

from typing import Any

from connector_runner.infra.queue import TRANSLATE
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import after_translation
from tasks.process import runner


@app.task(base=RunnerTask, name=TRANSLATE, follow_ups=staticmethod(after_translation))
def translate(workspace_id: str) -> Any:
    """Answer a batch of requests: by a language model where one may be asked, else by putting them before a person."""
    return runner().deciding.work_off(workspace_id)
