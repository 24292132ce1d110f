"""The v1 API of athenahealth, as far as its clients show it.

Sources: metriport/metriport (packages/core, external/ehr/athenahealth: paths, forms, ``limit`` and ``next``,
``MM/DD/YYYY``, the 403 before a subscription, units of vital signs); eleanorhealth/go-athenahealth (rows, statuses);
the API reference as quoted in the AthenaSDK of ChrisReedIO (``leaveunprocessed``, ``showprocessed*datetime``, Eastern).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

from ..fhir_json import Json, loads
from ..messages import Answer, Request, json_answer
from ..store import Store, Version, wall_clock_ms

PRACTICE = "195900"
ZONE = ZoneInfo("America/New_York")
UNITS = {
    "VITALS.WEIGHT": ("29463-7", "g"),
    "VITALS.HEIGHT": ("8302-2", "cm"),
    "VITALS.TEMPERATURE": ("8310-5", "[degF]"),
    "VITALS.HEARTRATE": ("8867-4", "/min"),
    "VITALS.RESPIRATIONRATE": ("9279-1", "/min"),
}
_STATUS = {
    "booked": "f", "checked-in": "2", "arrived": "2", "fulfilled": "3", "cancelled": "x", "noshow": "x",
}  # fmt: skip
_NUMBER = re.compile(r"-(\d+)$")
_DATE = re.compile(r"(\d{2})/(\d{2})/(\d{4})")
_FORM = "application/x-www-form-urlencoded"
_NOT_SUBSCRIBED = "Changed messages require setup (subscription) that has not been done."


@dataclass(slots=True)
class Feed:
    """What one client was told of: up to which write, and which messages it took when."""

    kind: str
    rows: str
    subscribed: bool = False
    read_to: int = 0
    processed: list[tuple[int, int]] = field(default_factory=list)


class V1:
    """One practice's API. State beside the store: its subscriptions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._feeds: dict[str, Feed] = {}
        self.reset()

    def reset(self) -> None:
        """Nobody is subscribed."""
        self._feeds = {
            "patients/changed": Feed("Patient", "patients"),
            "appointments/changed": Feed("Appointment", "appointments"),
        }

    def perform(self, request: Request, settings: dict[str, Any]) -> Answer:
        """The answer to a request below ``/v1``."""
        practice, _, path = request.path.partition("/")
        if practice != PRACTICE:
            return _error(404, "no such practice")
        answer = self._answer(request, path, settings)
        answer.content_type = "application/json"
        return answer

    def _answer(self, request: Request, path: str, settings: dict[str, Any]) -> Answer:
        feed = self._feeds.get(path.removesuffix("/subscription"))
        asked = dict(request.pairs)
        if feed is not None and path.endswith("/subscription"):
            return self._subscribe(request, feed)
        if request.method == "GET":
            most = min(int(asked.get("limit", "100")), int(settings["rows"]))
            if feed is not None:
                return self._changed(feed, path, asked, most)
            return self._read(request, path, most)
        steps = path.split("/")
        if request.method == "POST" and len(steps) == 3 and steps[0] == "chart":
            if settings["refuse_writes"]:
                return json_answer(200, {"success": False, "errormessage": "the chart is closed"})
            makers: dict[str, Callable[[str, dict[str, str]], Answer]] = {
                "problems": self._problem,
                "vitals": self._vitals,
            }
            make = makers.get(steps[2])
            if make is not None:
                if not request.headers.get("content-type", "").startswith(_FORM):
                    return _error(400, "the body is not a form")
                return make(steps[1], dict(parse_qsl(request.body.decode(), keep_blank_values=True)))
        return _error(404, "no such resource")

    # Changed feeds

    def _subscribe(self, request: Request, feed: Feed) -> Answer:
        if request.method == "POST" and not feed.subscribed:
            feed.subscribed, feed.read_to = True, self._store.last_seq
        if request.method == "DELETE":
            feed.subscribed = False
        return json_answer(200, {"success": True})

    def _changed(self, feed: Feed, path: str, asked: dict[str, str], most: int) -> Answer:
        if not feed.subscribed:
            return _error(403, _NOT_SUBSCRIBED)
        start = asked.get("showprocessedstartdatetime")
        if start is not None:
            since, until = _eastern(start), _eastern(asked.get("showprocessedenddatetime", start))
            taken = [seq for at_ms, seq in feed.processed if since <= at_ms <= until]
            fresh = [version for version in self._store.log_of(feed.kind) if version.seq in taken]
            return self._page(path, feed.rows, self._rows(feed, fresh), most, int(asked.get("offset", "0")), asked)
        fresh = [version for version in self._store.log_of(feed.kind) if version.seq > feed.read_to]
        shown = fresh[:most]
        if asked.get("leaveunprocessed") != "true" and shown:
            feed.processed += [(wall_clock_ms(), version.seq) for version in shown]
            feed.read_to = shown[-1].seq
        document: Json = {feed.rows: self._rows(feed, shown), "totalcount": len(fresh)}
        if len(fresh) > most:
            document["next"] = f"/v1/{PRACTICE}/{path}?{urlencode({'limit': most})}"
        return json_answer(200, document)

    def _rows(self, feed: Feed, versions: list[Version]) -> list[Json]:
        latest = {version.id: version for version in versions if version.raw is not None}
        if feed.kind == "Appointment":
            return [row for row in (appointment_row(version.resource()) for version in latest.values()) if row]
        return [{"patientid": number_of(record_id)} for record_id in latest if number_of(record_id)]

    # Lists

    def _page(
        self, path: str, key: str, rows: list[Json], most: int, offset: int, asked: dict[str, str], more: str = ""
    ) -> Answer:
        document: Json = {key: rows[offset : offset + most], "totalcount": len(rows)}
        if offset + most < len(rows):
            kept = {name: value for name, value in asked.items() if name not in ("offset", "departmentid")}
            query = urlencode({**kept, "offset": offset + most})
            document["next"] = f"/v1/{PRACTICE}/{path}?{query}{more}"
        return json_answer(200, document)

    def _read(self, request: Request, path: str, most: int) -> Answer:
        asked = dict(request.pairs)
        offset = int(asked.get("offset", "0"))
        if path == "departments":
            rows = [{"departmentid": number_of(v.id)} for v in self._store.live("Location") if number_of(v.id)]
            return self._page(path, "departments", rows, most, offset, asked)
        if path == "appointments/booked/multipledepartment":
            wanted = [value for name, value in request.pairs if name == "departmentid"]
            first, last = _day(asked.get("startdate", "")), _day(asked.get("enddate", ""))
            if not wanted or first is None or last is None:
                return _error(400, "departmentid, startdate and enddate are needed, dates as MM/DD/YYYY")
            rows = [
                row
                for row in self._booked()
                if row["departmentid"] in wanted and first <= (_day(row["date"]) or "") <= last
            ]
            more = "".join(f"&departmentid={number}" for number in wanted)
            return self._page(path, "appointments", rows, most, offset, asked, more)
        kind, _, number = path.partition("/")
        if kind == "appointments" and number.isdigit():
            row = next((row for row in self._all() if row["appointmentid"] == number), None)
            return _error(404, "no such appointment") if row is None else json_answer(200, [row])
        return _error(404, "no such resource")

    def _all(self) -> list[Json]:
        rows = (appointment_row(version.resource()) for version in self._store.live("Appointment"))
        return [row for row in rows if row is not None]

    def _booked(self) -> list[Json]:
        return [row for row in self._all() if row["appointmentstatus"] in ("f", "2", "3", "4")]

    # Writes

    def _problem(self, patient: str, form: dict[str, str]) -> Answer:
        missing = [name for name in ("departmentid", "snomedcode", "startdate") if not form.get(name)]
        if missing or _day(form["startdate"]) is None:
            return _error(400, "departmentid, snomedcode and startdate (MM/DD/YYYY) are needed")
        number = self._next("Condition", "Problem")
        month, day, year = form["startdate"].split("/")
        resource = {
            "resourceType": "Condition",
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": form["snomedcode"]}]},
            "subject": {"reference": f"Patient/a-{PRACTICE}.E-{patient}"},
            "onsetDateTime": f"{year}-{month}-{day}",
        }
        self._store.put("Condition", f"a-{PRACTICE}.Problem-{number}", resource, "POST")
        return json_answer(200, {"success": True, "problemid": number})

    def _vitals(self, patient: str, form: dict[str, str]) -> Answer:
        made = []
        readings = [reading for group in loads(form.get("vitals", "[]")) for reading in group]
        if not form.get("departmentid") or not readings:
            return _error(400, "departmentid and vitals are needed")
        for reading in readings:
            element = reading["clinicalelementid"]
            if element not in UNITS or _day(reading["readingtaken"]) is None:
                return _error(400, "no such element, or a date that is not MM/DD/YYYY")
            number = self._next("Observation", "vitalamb")
            self._store.put("Observation", f"a-{PRACTICE}.vitalamb-{number}", _vital(patient, reading), "POST")
            made.append({"vitalid": number, "clinicalelementid": element})
        return json_answer(
            200, {"success": True, **({"vitalids": made} if form.get("returnvitalids") == "true" else {})}
        )

    def _next(self, kind: str, letters: str) -> str:
        prefix = f"a-{PRACTICE}.{letters}-"
        used = [int(one.removeprefix(prefix)) for one in self._store.ids(kind) if one.startswith(prefix)]
        return str(max(used, default=0) + 1)


def _vital(patient: str, reading: dict[str, str]) -> Json:
    code, unit = UNITS[reading["clinicalelementid"]]
    month, day, year = reading["readingtaken"].split("/")
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": f"Patient/a-{PRACTICE}.E-{patient}"},
        "effectiveDateTime": f"{year}-{month}-{day}",
        "valueQuantity": {"value": loads(reading["value"]), "unit": unit},
    }


def appointment_row(resource: Json) -> Json | None:
    """An appointment as v1 lists it; None for one without a patient, or without a number."""
    people: dict[str, str | None] = {}
    for participant in resource.get("participant", []):
        kind, _, record_id = participant.get("actor", {}).get("reference", "").partition("/")
        people.setdefault(kind, number_of(record_id))
    number, status = number_of(resource["id"]), _STATUS.get(resource.get("status", ""))
    if not number or not people.get("Patient") or status is None or "start" not in resource:
        return None
    local = datetime.fromisoformat(resource["start"]).astimezone(ZONE)
    return {
        "appointmentid": number,
        "appointmentstatus": status,
        "patientid": people["Patient"],
        "providerid": people.get("Practitioner"),
        "departmentid": people.get("Location"),
        "date": local.strftime("%m/%d/%Y"),
        "starttime": local.strftime("%H:%M"),
        "duration": resource.get("minutesDuration", 15),
        "patientappointmenttypename": resource.get("description", ""),
        **({"cancelreasonnoshow": True} if resource["status"] == "noshow" else {}),
    }


def number_of(record_id: str) -> str | None:
    """The number at the end of an id."""
    found = _NUMBER.search(record_id) if record_id.startswith("a-") else None
    return found[1] if found else None


def _day(text: str) -> str | None:
    """``MM/DD/YYYY`` in an order that can be compared; None for anything else."""
    found = _DATE.fullmatch(text)
    return f"{found[3]}{found[1]}{found[2]}" if found else None


def _eastern(text: str) -> int:
    moment = datetime.strptime(text, "%m/%d/%Y %H:%M:%S").replace(tzinfo=ZONE)
    return int((moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def _error(status: int, text: str) -> Answer:
    return json_answer(status, {"error": text})
