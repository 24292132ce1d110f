"""Import registered files, a slice at a time.

From a Python shell::

    from tasks.imports import import_bundle
    import_bundle.delay("bundle.json", workspace="demo", source="partner")

registers the import first, streams a local file into storage that workers reach, and sends its ids only.
"""

from __future__ import annotations

from typing import Any

from kombu.exceptions import OperationalError

from connector_runner.infra.queue import IMPORT
from tasks.app import app
from tasks.base import RunnerTask
from tasks.follow_ups import after_import
from tasks.process import owner, runner


class ImportTask(RunnerTask):
    """A task that may also be sent by what is to be imported: ``path_or_url, workspace=…, source=…``."""

    abstract = True

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Register and send; the result's id is the import's. What is registered runs even if Redis is down."""
        return self.apply_async(args, kwargs)

    def apply_async(self, args: Any = None, kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        """As ``delay`` when given a path or URL, as any task when given ids."""
        kwargs = dict(kwargs or {})
        if "import_id" in kwargs:
            return super().apply_async(args, kwargs, **options)
        workspace_id, import_id = _register(*(args or ()), **kwargs)
        ids = {"workspace_id": workspace_id, "import_id": import_id}
        try:
            return super().apply_async(None, ids, **options | {"task_id": import_id})
        except OperationalError:
            # The row is there, and the sweep finds it: a hint may be lost.
            return self.AsyncResult(import_id)


def _register(path_or_url: str, workspace: str, source: str, mapping: str | None = None) -> tuple[str, str]:
    from connector_runner.intake.imports import registering

    return registering.register(runner(), workspace, source, path_or_url, mapping)


@app.task(base=ImportTask, name=IMPORT, follow_ups=staticmethod(after_import))
def import_bundle(workspace_id: str, import_id: str) -> Any:
    """Work for a slice on an import, whatever there is left of it."""
    from connector_runner.intake.imports import running

    return running.run(runner(), workspace_id, import_id, owner=owner())
