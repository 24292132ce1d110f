"""Bulk Data exports of a simulated FHIR server: kick-off, status, manifest, files, deletes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from .bundle_pages import Behaviour
from .dates import http_date, instant, interval
from .fhir_json import Json, dumps, loads
from .messages import Answer, Pairs, Request, json_answer
from .outcomes import FhirError, outcome
from .resource_types import RESOURCE_TYPES
from .store import Store, Version, wall_clock_ms

_STATUS, _FILE = "$export-status", "$export-file"
_DELETES_A_BUNDLE = 100


@dataclass(slots=True)
class Job:
    """One export, of the state in which the store was when it was asked for."""

    id: str
    epoch: str
    transaction_ms: int
    url: str
    looks: int
    made_ms: int
    files: list[tuple[str, str, list[bytes]]] = field(default_factory=list)
    """List of the manifest, record type, lines."""


class Exports:
    """The exports of one system. ``Behaviour.export_*`` says how they go."""

    def __init__(self, store: Store, behaviour: Behaviour) -> None:
        self._store, self._behaviour = store, behaviour
        self._jobs: dict[str, Job] = {}

    def perform(self, request: Request) -> Answer | None:
        """The answer to a request about exports; None for one that is about something else."""
        match request.path.split("/"):
            case ["$export"]:
                return self._kick_off(request, None, everything=True)
            case ["Patient", "$export"]:
                return self._kick_off(request, None, everything=False)
            case ["Group", group, "$export"]:
                return self._kick_off(request, self._members(group), everything=False)
            case [name, job_id] if name == _STATUS:
                return self._status(request, self._job(job_id))
            case [name, job_id, number] if name == _FILE and number.isdecimal():
                return self._file(request, self._job(job_id), int(number))
        return None

    # -- kick-off

    def _kick_off(self, request: Request, members: set[str] | None, *, everything: bool) -> Answer:
        wanted = {"POST"} if self._behaviour.export_post_only else {"GET", "POST"}
        if request.method not in wanted:
            raise FhirError(405, f"{request.method} of an export is not supported")
        if "respond-async" not in request.headers.get("prefer", ""):
            raise FhirError(400, "Prefer: respond-async is wanted")
        running = next((job for job in self._jobs.values() if job.looks > 0 and job.epoch == self._store.epoch), None)
        if running is not None and not self._behaviour.export_parallel:
            answer = json_answer(429, outcome("throttled", "another export of this client is running"))
            answer.headers["Retry-After"] = "1"
            if self._behaviour.export_tells_running:
                answer.headers["Content-Location"] = running.url
            return answer
        asked = _parameters(request)
        patients = {text.rpartition("/")[2] for name, text in asked if name == "patient"}
        if patients and not self._behaviour.export_patient_parameter:
            raise FhirError(400, "the parameter patient is not supported", code="not-supported")
        if patients:
            members = patients if members is None else members & patients
        job = self._job_of(request, asked, members, everything=everything)
        self._jobs[job.id] = job
        return Answer(202, headers={"Content-Location": job.url})

    def _members(self, group: str) -> set[str]:
        version = self._store.current("Group", group)
        if version is None or version.raw is None:
            raise FhirError(404, f"Group/{group} is not known")
        listed = version.resource().get("member", [])
        return {member["entity"]["reference"].rpartition("/")[2] for member in listed}

    def _job_of(self, request: Request, asked: Pairs, members: set[str] | None, *, everything: bool) -> Job:
        job_id = uuid.uuid4().hex
        now, looks = wall_clock_ms(), self._behaviour.export_looks
        url = f"{request.base_url}/{_STATUS}/{job_id}"
        job = Job(job_id, self._store.epoch, now, url, looks, now)
        since = max([interval(text)[0] for name, text in asked if name == "_since"], default=None)
        types = {part for name, text in asked if name == "_type" for part in text.split(",") if part}
        unknown = types - RESOURCE_TYPES
        if unknown:
            raise FhirError(400, "an unknown resource type", code="value")
        for resource_type in sorted(types or set(self._store.counts())):
            rows = [
                version
                for version in self._store.live(resource_type)
                if (since is None or version.updated_ms >= since) and _belongs(version, members, everything)
            ]
            most = max(self._behaviour.export_file_lines, 1)
            for at in range(0, len(rows), most):
                job.files.append(("output", resource_type, [version.raw or b"" for version in rows[at : at + most]]))
        if since is not None:
            self._add_deletes(job, since, types)
        self._add_issues(job)
        return job

    def _add_deletes(self, job: Job, since: int, types: set[str]) -> None:
        gone: dict[str, Version] = {}
        for version in self._store.log:
            current = self._store.current(version.resource_type, version.id)
            deleted = version.raw is None and version.updated_ms >= since and current is version
            if deleted and (not types or version.resource_type in types):
                gone[version.reference] = version
        listed = list(gone.values())
        lines = []
        for at in range(0, len(listed), _DELETES_A_BUNDLE):
            some = listed[at : at + _DELETES_A_BUNDLE]
            bundle: Json = {"resourceType": "Bundle", "id": f"deletes-{at}", "type": "transaction"}
            if self._behaviour.export_dates_deletes:
                bundle["meta"] = {"lastUpdated": instant(max(version.updated_ms for version in some))}
            bundle["entry"] = [{"request": {"method": "DELETE", "url": version.reference}} for version in some]
            lines.append(dumps(bundle))
        if lines:
            job.files.append(("deleted", "Bundle", lines))

    def _add_issues(self, job: Job) -> None:
        issues = [outcome("exception", f"resource {n} could not be read") for n in range(self._behaviour.export_issues)]
        if issues:
            issues.append(outcome("informational", "all else went well", severity="information"))
            job.files.append(("error", "OperationOutcome", [dumps(issue) for issue in issues]))

    # -- afterwards

    def _job(self, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        life_ms = self._behaviour.export_life_ms
        if job is None or job.epoch != self._store.epoch or (life_ms and wall_clock_ms() > job.made_ms + life_ms):
            raise FhirError(404, "no such export")
        return job

    def _status(self, request: Request, job: Job) -> Answer:
        if request.method == "DELETE":
            del self._jobs[job.id]
            return Answer(202)
        if job.looks > 0:
            job.looks -= 1
            done = 100 - 100 * job.looks // max(self._behaviour.export_looks, 1)
            return Answer(
                202, headers={"X-Progress": f"{min(done, 99)}% of the records of our patients", "Retry-After": "1"}
            )
        answer = json_answer(200, self._manifest(request, job))
        answer.content_type = "application/json"
        life_ms = self._behaviour.export_life_ms
        if life_ms:
            answer.headers["Expires"] = http_date(job.made_ms + life_ms)
        return answer

    def _manifest(self, request: Request, job: Job) -> Json:
        lists: dict[str, list[Json]] = {"output": [], "deleted": [], "error": []}
        for n, (name, resource_type, lines) in enumerate(job.files):
            url = f"{request.base_url}/{_FILE}/{job.id}/{n}"
            count = len(lines) + self._behaviour.export_miscounts
            lists[name].append({"type": resource_type, "url": url, "count": count})
        return {
            "transactionTime": instant(job.transaction_ms),
            "request": f"{request.base_url}/$export",
            "requiresAccessToken": bool(self._behaviour.token or self._behaviour.auth),
            **lists,
        }

    def _file(self, request: Request, job: Job, number: int) -> Answer:
        if number >= len(job.files):
            raise FhirError(404, "no such file")
        body = b"\n".join(job.files[number][2]) + b"\n"
        if self._behaviour.export_cuts > 0:
            self._behaviour.export_cuts -= 1
            body = body[: len(body) * 2 // 3]
        tag = f'"{job.id}-{number}"'
        answer = Answer(200, body, {"ETag": tag}, content_type="application/fhir+ndjson")
        asked = request.headers.get("range", "")
        if not self._behaviour.export_ranges or not asked or request.headers.get("if-range", tag) != tag:
            return answer
        start = int(asked.removeprefix("bytes=").partition("-")[0])
        if start >= len(body):
            return Answer(416, headers={"Content-Range": f"bytes */{len(body)}"})
        answer.status, answer.body = 206, body[start:]
        answer.headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return answer


def _parameters(request: Request) -> Pairs:
    if request.method == "GET":
        return request.pairs
    content = loads(request.body)
    if not isinstance(content, dict) or content.get("resourceType") != "Parameters":
        raise FhirError(400, "Parameters are wanted", code="structure")
    return [(str(item.get("name")), _value(item)) for item in content.get("parameter", [])]


def _value(item: dict[str, Any]) -> str:
    for name, value in item.items():
        if name == "valueReference":
            return str(value.get("reference"))
        if name.startswith("value"):
            return str(value)
    return ""


def _belongs(version: Version, members: set[str] | None, everything: bool) -> bool:
    if everything and members is None:
        return True
    if version.resource_type == "Patient":
        return members is None or version.id in members
    patients = version.index.get("patient", ())
    return bool(patients) if members is None else any(one.rpartition("/")[2] in members for one in patients)
