"""Services for the length of a block, in a temporary home of their own."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

import psutil

from connector_runner.infra.embedded import Services, admin_url, ensure, erase_services
from connector_runner.infra.embedded.home import is_alive

_PREFIX = "connector_runner-ephemeral-"


class EphemeralServices:
    """Starts what it is not given a URL of, and erases it at the end.

        with EphemeralServices() as ephemeral:
            ephemeral.services.database_url

    What a killed process left behind is erased by the next one to begin.
    """

    services: Services
    home: Path

    def __init__(self, database_url: str | None = None, redis_url: str | None = None) -> None:
        self._given = (database_url, redis_url)

    def __enter__(self) -> EphemeralServices:
        _erase_orphans()
        self.home = Path(tempfile.mkdtemp(prefix=_PREFIX))
        owner = {"pid": os.getpid(), "since": psutil.Process().create_time()}
        (self.home / "owner.json").write_text(json.dumps(owner))
        try:
            self.services = ensure(self.home, *self._given)
        except BaseException:
            self._erase()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._erase()

    @property
    def admin_url(self) -> str:
        """Superuser URL of the Postgres that was started."""
        return admin_url(self.home)

    def _erase(self) -> None:
        erase_services(self.home)
        shutil.rmtree(self.home)


def _erase_orphans() -> None:
    for home in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if home.stat().st_uid != os.geteuid():
                continue
            owner = json.loads((home / "owner.json").read_text())
        except (FileNotFoundError, ValueError):
            continue  # being made right now, or erased by another who looks
        if not is_alive(owner.get("pid"), owner.get("since")):
            erase_services(home)
            shutil.rmtree(home, ignore_errors=True)
