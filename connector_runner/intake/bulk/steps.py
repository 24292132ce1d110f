"""The steps of an export job: from asking the server to the mark for the next one. Each is one look at one state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from connector_runner.connectors import directory, first_read_store, registry
from connector_runner.connectors import store as sources
from connector_runner.connectors.base import DataSource
from connector_runner.connectors.fhir.bulk.client import BulkClient, Busy, ExportLost, Ready, Running, Started
from connector_runner.connectors.fhir.bulk.manifest import Manifest, ManifestFile
from connector_runner.infra.database import Tx
from connector_runner.infra.http import AnswerLost
from connector_runner.infra.logging import get_logger
from connector_runner.intake.bulk import file_store, requesting, store
from connector_runner.intake.bulk.deleting import land_deletions
from connector_runner.intake.bulk.fetching import Fetcher
from connector_runner.intake.imports import store as imports
from connector_runner.intake.imports.registering import Deps as ImportDeps
from connector_runner.intake.opening import Deps as OpeningDeps
from connector_runner.intake.opening import opening_of, origin_of
from connector_runner.intake.read_gate import Turn
from connector_runner.kernel.clock import utc_now
from connector_runner.kernel.errors import Conflict, Misconfigured, RunnerError, Unavailable
from connector_runner.resilience.retry import Backoff

MOST_RESTARTS: Final = 3
MOST_UNLANDED: Final = 64 * 1024 * 1024
"""So much may be stored and not landed; then fetching waits."""
LOOK_AGAIN_S: Final = 1.0
_BUSY_S: Final = 60.0
_MOST_AHEAD: Final = timedelta(hours=1)
"""So far ahead of ours a server's clock may be; to ask since a later instant would miss what changes until then."""
_SET_BACK: Final = timedelta(minutes=1)
_MOST_PAGES: Final = 10_000

log = get_logger(__name__)


class Deps(ImportDeps, OpeningDeps, Protocol):
    """What exports work with."""


@dataclass(slots=True)
class Work:
    """One leased job with all that it takes to get on with it."""

    deps: Deps
    job: store.Job
    source: DataSource
    client: BulkClient
    owner: str
    deadline: float

    # -- asking

    def starting(self) -> None:
        """Ask the server for the export of this step."""
        job = self.job
        if job.scope == "group" and job.step == "main" and self._lacks_roster():
            members = self.client.members(job.group_id)
            if members is None and job.since is not None:
                self.save(step="roster", attempts=0)
                return
            if members is not None:
                self.write(lambda tx: store.add_roster(tx, job.workspace_id, job.export_id, members))
        # Noted before it is asked for: should no answer come, the export that runs then is ours.
        self.write(lambda tx: store.set_unanswered(tx, job, True))
        try:
            began = self._start()
        except (AnswerLost, Unavailable):
            raise
        except RunnerError:
            self.write(lambda tx: store.set_unanswered(tx, job, job.unanswered))
            raise
        if began.status_url is not None and (isinstance(began, Started) or job.unanswered):
            begun = {"status_url": began.status_url, "looks": 0, "attempts": 0, "unanswered": False}
            self.save(state="polling", **begun, error_code=None, **self._due(0))
        else:
            wait_s = max(_BUSY_S if began.wait_s is None else began.wait_s, LOOK_AGAIN_S)
            due_at = utc_now() + timedelta(seconds=wait_s)
            self.save(error_code="already_running", attempts=0, unanswered=False, due_at=due_at)

    def _lacks_roster(self) -> bool:
        with self.deps.database.begin(self.job.workspace_id) as tx:
            return not store.has_roster(tx, self.job.export_id)

    def _start(self) -> Started | Busy:
        job = self.job
        if job.step != "newcomers":
            return self.client.start(requesting.export_of(job, self.source))
        with self.deps.database.begin(job.workspace_id) as tx:
            patients = store.newcomers(tx, job)
        try:
            return self.client.start(requesting.export_of(job, self.source, patients=patients))
        except Misconfigured as error:
            if not error.code.startswith("http_"):
                raise
            # A server that exports no single patients: everything of everybody, which holds them.
            return self.client.start(requesting.export_of(job, self.source))

    # -- following

    def polling(self) -> None:
        """Look whether the export is ready."""
        job = self.job
        answer = self.client.poll(job.status_url or "")
        manifests = answer if isinstance(answer, Running) else self._manifests(answer)
        if isinstance(manifests, Running):
            progress = job.progress if manifests.progress is None else manifests.progress
            self.save(progress=progress, looks=job.looks + 1, attempts=0, error_code=None, **self._due_after(manifests))
            return
        first = manifests[0]
        transaction_time = first.transaction_time
        if transaction_time is None:
            self.note({"code": "no_transaction_time", "step": job.step}, lacking=True)
        elif transaction_time > utc_now() + _MOST_AHEAD:
            self.note({"code": "transaction_time_ahead", "step": job.step}, lacking=True)
            transaction_time = None
        elif job.since is not None and job.since - transaction_time > _SET_BACK:
            # What changes until its clock is there again would be older than what is asked since: all is, next time.
            self.note({"code": "clock_set_back", "step": job.step}, lacking=True)
            self.write(lambda tx: store.forget_marks(tx, job))
            transaction_time = None
        files = [_row(file) for manifest in manifests for file in manifest.files]

        def begin(tx: Tx) -> None:
            file_store.drop(tx, job)
            file_store.add(tx, job, files)

        self.write(begin)
        self.save(
            state="fetching",
            attempts=0,
            progress=100.0,
            requires_token=first.requires_token,
            transaction_time=transaction_time,
            expires_at=answer.expires_at if isinstance(answer, Ready) else None,
            due_at=utc_now(),
        )

    def _manifests(self, ready: Ready) -> list[Manifest] | Running:
        found = [ready.manifest]
        seen: set[str] = set()
        while (url := found[-1].next_page) is not None and url not in seen and len(found) < _MOST_PAGES:
            seen.add(url)
            page = self.client.page(url)
            if isinstance(page, Running):
                return page
            found.append(page)
        return found

    def _due_after(self, running: Running) -> dict[str, Any]:
        if running.wait_s is not None:
            return {"due_at": utc_now() + timedelta(seconds=max(running.wait_s, LOOK_AGAIN_S))}
        return self._due(self.job.looks + 1)

    def _due(self, looks: int) -> dict[str, Any]:
        bulk = requesting.settings_of(self.source).bulk
        backoff = Backoff(min(bulk.poll_s, bulk.most_poll_s), bulk.most_poll_s, floor=0.75)
        return {"due_at": utc_now() + timedelta(seconds=backoff.pause_s(looks + 1))}

    # -- fetching

    def fetching(self) -> None:
        """Fetch files for a slice."""
        job = self.job
        with self.deps.database.begin(job.workspace_id) as tx:
            unlanded = file_store.unlanded_bytes(tx, job.import_id)
            todo, due = file_store.todo(tx, job)
        if not todo:
            self.save(state="closing", attempts=0, due_at=utc_now())
            return
        if unlanded > MOST_UNLANDED:
            self.save(due_at=utc_now() + timedelta(seconds=LOOK_AGAIN_S))
            return
        if job.expires_at is not None and job.expires_at <= utc_now():
            raise ExportLost("the files of the export have expired", code="file_expired")
        connections = requesting.settings_of(self.source).bulk.connections
        fetched = Fetcher(self.deps, self.source, self.client, job, self.owner, self.deadline, connections).run()
        if fetched.fatal is not None:
            raise fetched.fatal
        if fetched.lost is not None:
            raise fetched.lost
        with self.deps.database.begin(job.workspace_id) as tx:
            todo, due = file_store.todo(tx, job)
        self.save(due_at=due if todo and due is not None else utc_now(), error_code=None)

    # -- ending

    def closing(self) -> None:
        """When all has landed: deletes, the end of the server's job, and the next step or the end of ours."""
        job = self.job
        with self.deps.database.begin(job.workspace_id) as tx:
            unlanded, _ = imports.open_files(tx, job.import_id, utc_now())
        if unlanded:
            self.save(due_at=utc_now() + timedelta(seconds=LOOK_AGAIN_S))
            return
        opening = opening_of(self.deps, self.source, turn=Turn.RECONCILE)
        reader = registry.open_source(self.source, opening)
        origin = origin_of(self.source)
        land_deletions(self.deps, self.source, origin, reader, job, now=utc_now, hold=self._hold)
        self.end_on_server()
        if job.step == "roster":
            self.save(step="main", **_AGAIN, due_at=utc_now())
            return
        next_since = job.transaction_time if job.step == "main" else job.next_since
        if job.step == "main" and job.scope == "group" and job.since is not None and self._newcomers():
            self.save(step="newcomers", **_AGAIN, next_since=next_since, due_at=utc_now())
            return
        self._complete(next_since)

    def _landed(self, tx: Tx, now: datetime) -> None:
        """Note it of the types of a complete export of the source's own scope; what changed meanwhile is asked for."""
        job, settings = self.job, self.source.settings
        if (job.scope, job.group_id) != requesting.scope_of(self.source, None, None):
            return
        ids = (job.workspace_id, job.data_source_id)
        for name, item in settings.resources.items():
            if job.types and name not in job.types:
                continue
            whole = job.since is None or (item.full_sync_every_s is None and item.full_every is None)
            if first_read_store.landed(tx, *ids, [name], whole=whole):
                sources.make_due(tx, *ids, now, resource_type=name, full=False)

    def _newcomers(self) -> bool:
        with self.deps.database.begin(self.job.workspace_id) as tx:
            return bool(store.newcomers(tx, self.job))

    def end_on_server(self) -> None:
        """Ask the server to forget the export: a courtesy, so a failure is only told of."""
        if self.job.status_url is None:
            return
        try:
            self.client.end(self.job.status_url)
        except RunnerError as error:
            log.warning("export.not_forgotten", export_id=self.job.export_id, code=error.code)

    def _complete(self, next_since: datetime | None) -> None:
        job = self.job

        def complete(tx: Tx) -> None:
            now = utc_now()
            self._hold(tx)
            if given_up := file_store.not_landed(tx, job.import_id):
                store.note(tx, job.export_id, {"code": "not_landed", "files": given_up}, lacking=True)
            stands = store.job(tx, job.export_id)
            whole = stands is not None and stands.complete
            if whole and next_since is not None:
                store.mark(tx, job, next_since)
            if whole:
                self._landed(tx, now)
            if whole and store.has_roster(tx, job.export_id):
                store.keep_members(tx, job)
            imports.end_job(tx, job.import_id, now)
            store.forget_details(tx, job.export_id)
            if whole:
                directory.record_ok(tx, self.source, now)
            else:
                detail = "an export ended and something of it could not be had; the next one asks for it again"
                directory.record_error(tx, self.source, "export_incomplete", detail, now)
            store.save(tx, job, state="completed", finished_at=now, next_since=next_since, error_code=None)

        self.deps.database.retrying(job.workspace_id, complete)

    # -- what goes wrong

    def restart(self, error: ExportLost) -> None:
        """The server lost it: ask anew, since when it was asked for. What landed stays and says nothing new."""
        job = self.job
        if job.restarts >= MOST_RESTARTS:
            self.fail(error)
            return
        self.note({"code": error.code, "step": job.step}, lacking=False)
        self.write(lambda tx: file_store.drop(tx, job))
        self.end_on_server()
        self.save(**_AGAIN, restarts=job.restarts + 1, error_code=error.code, **self._due(job.restarts))

    def fail(self, error: RunnerError) -> None:
        """Nothing more can be done until somebody does something, or the next export is due."""
        job = self.job
        self.end_on_server()

        def fail(tx: Tx) -> None:
            now = utc_now()
            self._hold(tx)
            imports.end_job(tx, job.import_id, now)
            store.forget_details(tx, job.export_id)
            directory.record_error(tx, self.source, error.code, str(error), now)
            store.save(tx, job, state="failed", finished_at=now, error_code=error.code)

        self.deps.database.retrying(job.workspace_id, fail)

    # -- writing

    def _hold(self, tx: Tx) -> None:
        if not store.hold(tx, self.job, utc_now()):
            raise Conflict("another worker has taken this export over", code="lease_lost")

    def write(self, step: Callable[[Tx], Any]) -> None:
        """Run a step in a transaction that proves the lease."""

        def held(tx: Tx) -> None:
            self._hold(tx)
            step(tx)

        self.deps.database.retrying(self.job.workspace_id, held)

    def note(self, problem: dict[str, Any], *, lacking: bool) -> None:
        """Add a problem to the job."""
        self.write(lambda tx: store.note(tx, self.job.export_id, problem, lacking=lacking))

    def save(self, **changes: Any) -> None:
        """Change the job and give the lease back."""
        with self.deps.database.begin(self.job.workspace_id) as tx:
            if not store.save(tx, self.job, **changes):
                raise Conflict("another worker has taken this export over", code="lease_lost")


_AGAIN: Final[dict[str, Any]] = {
    "state": "starting", "status_url": None, "progress": None, "looks": 0, "attempts": 0, "unanswered": False,
    "transaction_time": None, "expires_at": None,
}  # fmt: skip


def _row(file: ManifestFile) -> tuple[str, str, str, int | None]:
    return file.kind, file.resource_type, file.url, file.count
