"""Beat over Postgres: an entry for each polled resource and a few fixed ones, rebuilt while it runs.

Its memory is only when it last hinted what. Whether a resource is due, and who polls it, is decided by the
claim of its row; so a second beat, or none, changes nothing but how soon.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from celery.beat import ScheduleEntry, Scheduler
from celery.schedules import schedule as every

from beat_schedule import ENTRIES
from connector_runner.bootstrap import Runner
from connector_runner.infra import schedule
from connector_runner.infra.logging import get_logger
from connector_runner.infra.queue import POLL, QUEUE_OF
from connector_runner.intake import polling
from connector_runner.intake.schedule import EARLY
from connector_runner.kernel.errors import RunnerError
from tasks.process import owner, runner, tell_counters

log = get_logger(__name__)

REBUILD_S = 60.0
LOOK_S = 2.0
TOGETHER_S = 0.5
"""Record types of one source that are due so soon after each other get one hint: who polls one goes on with the others.

No longer than a poll may come early, so that the first of them finds the others ready.
"""


def entries_of(process: Runner) -> dict[str, dict[str, Any]]:
    """Beat's entries as they should be now: name, task, period in seconds, arguments, when a polled one is due.

    Raises Unavailable when Postgres cannot be asked.
    """
    with process.database.sweep() as tx:
        schedule.ensure(tx, {name: every_s for name, (_, every_s) in ENTRIES.items()})
        polled = polling.entries(tx)
    found: dict[str, dict[str, Any]] = {
        name: {"task": task, "schedule": every_s, "kwargs": {}} for name, (task, every_s) in ENTRIES.items()
    }
    for row in polled:
        found[f"poll:{row['workspace']}:{row['source']}:{row['resource_type']}"] = {
            "task": POLL,
            "schedule": row["cadence_s"],
            "due_at": row["due_at"],
            "kwargs": {key: str(row[key]) for key in ("workspace_id", "data_source_id", "resource_type")},
        }
    return found


class PostgresScheduler(Scheduler):  # type: ignore[misc]
    """Celery's scheduler with entries from Postgres and hints in place of messages that must arrive."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._rebuilt_at = self._looked_at = float("-inf")
        self._seen_mark: datetime | None = None
        self._hinted: dict[str, float] = {}
        super().__init__(*args, **kwargs)

    @property
    def producer(self) -> None:
        """None: hints have a sender of their own, which does not wait for Redis."""

    def setup_schedule(self) -> None:
        """Begin with what Postgres says, or with nothing until it can be asked."""
        self._refresh()

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One turn; entries are brought up to date first when that is due."""
        self._refresh()
        tell_counters()
        return float(super().tick(*args, **kwargs))

    def schedules_equal(self, *_: object) -> bool:
        """True: who replaces entries says so. To compare them all at each turn would cost more than all hints."""
        return True

    def apply_entry(self, entry: ScheduleEntry, producer: object = None) -> None:
        """Hint. A fixed entry is claimed first, so that of two beats one sends it."""
        try:
            if entry.name in ENTRIES:
                with runner().database.sweep() as tx:
                    # A beat that looks a little early must not skip its turn.
                    if not schedule.claim(tx, [entry.name], owner(), late_s=-0.2):
                        return
            elif self._goes_along(entry):
                return
            sent = runner().publisher.hint(entry.task, queue=QUEUE_OF[entry.task], **entry.kwargs)
            if sent and "data_source_id" in entry.kwargs:
                self._hinted[entry.kwargs["data_source_id"]] = time.monotonic()
        except RunnerError as error:
            log.warning("beat.postponed", entry=entry.name, code=error.code)

    def _goes_along(self, entry: ScheduleEntry) -> bool:
        """Whether a hint that was sent just now makes this one be polled as well."""
        within_s: float = min(entry.schedule.run_every.total_seconds() * EARLY, TOGETHER_S)
        return time.monotonic() - self._hinted.get(entry.kwargs["data_source_id"], float("-inf")) < within_s

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        try:
            with runner().database.sweep() as tx:
                mark = schedule.last_run(tx, "refresh_config")
            if mark != self._seen_mark or now - self._rebuilt_at >= REBUILD_S:
                self._replace(entries_of(runner()))
                self._seen_mark, self._rebuilt_at = mark, now
        except RunnerError as error:
            log.warning("beat.entries_kept", code=error.code)

    def _replace(self, wanted: dict[str, dict[str, Any]]) -> None:
        """Take over ``wanted``; entries that stay keep the time of their last run.

        A polled resource is hinted when its row is due: a hint before that finds nothing, and one after it is late.
        """
        present: dict[str, ScheduleEntry] = self.schedule
        for name in present.keys() - wanted.keys():
            del present[name]
        for name, fields in wanted.items():
            due_at = fields.pop("due_at", None)
            entry = self.Entry(
                name=name, app=self.app, **fields | {"schedule": every(fields["schedule"], app=self.app)}
            )
            known = present.get(name)
            if due_at is not None:
                entry.last_run_at = due_at - entry.schedule.run_every
                entry.total_run_count = 0 if known is None else known.total_run_count
                present[name] = entry
            elif known is None:
                # Never run: due at once, as the row says when it really is.
                entry.last_run_at = entry.default_now() - entry.schedule.run_every
                present[name] = entry
            elif known != entry:
                entry.last_run_at, entry.total_run_count = known.last_run_at, known.total_run_count
                present[name] = entry
        self._hinted.clear()
        self._heap = None
