"""One adapter and the simulated system that it is held against."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connector_runner.auth.credentials import OpenCredential
from connector_runner.connectors import registry
from connector_runner.connectors.base import DataSource, Opening, Source, SourceRecord
from connector_runner.connectors.fhir.profile import Measured
from connector_runner.connectors.gate import Gate
from connector_runner.connectors.settings import parse
from connector_runner.connectors.sinks import Json, Sink
from connector_runner.infra.http import HTTP
from connector_runner.kernel.errors import RunnerError
from connector_runner.sandbox import launch
from connector_runner.settings import Settings

MARK = "urn:test:mark"


@dataclass(frozen=True, slots=True)
class Write:
    """A record that the adapter writes. ``change`` edits one that was read; None where the vendor takes no update."""

    resource_type: str
    body: Callable[[Clinic], Json]
    change: Callable[[Json], Json] | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that goes wrong there: how to bring it about, what is asked for, and the error that it must be."""

    name: str
    arrange: Callable[[Clinic], None]
    act: Callable[[Clinic], object]
    error: type[RunnerError]
    code: str


@dataclass(frozen=True, slots=True)
class Adapter:
    """What the suite must know of an adapter. ``settings`` makes its settings from the origin of the simulator.

    ``reads`` are record types that are read whole and anew; ``shows`` whether a record of the simulator is one that
    this vendor shows (an appointment without a patient is in nobody's roster). ``refuses`` are bodies that the vendor
    would not take: the sink must not even send them. ``ready`` turns the simulator before writes; ``own_ids``: a create
    is a PUT to an id of ours, unless ``create_calls`` say what creates a type. ``dated`` moves a record to where the
    adapter looks at each poll, where that is not everywhere; ``looks`` says where that is. ``auth``: "smart" where the
    simulator asks for tokens.
    """

    name: str
    settings: Callable[[str], dict[str, Any]]
    source_type: str = "ehr"
    vendor: str = ""
    system: str = "ehr"
    reads: tuple[str, ...] = ("Patient", "Observation", "Condition")
    writes: tuple[Write, ...] = ()
    refuses: tuple[Write, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    shows: Callable[[Json], bool] = lambda record: True
    patients: int = 12
    ready: Callable[[Clinic], None] = lambda clinic: None
    own_ids: bool = False
    create_calls: Mapping[str, str] = field(default_factory=dict)
    dated: Callable[[Json], Json] = lambda record: record
    looks: str = ""
    auth: str = ""

    def create_call(self, write: Write, client_ref: str) -> str:
        """The request that creates a record, as faults are ordered for it."""
        if write.resource_type in self.create_calls:
            return self.create_calls[write.resource_type]
        return f"PUT {write.resource_type}" if self.own_ids else f"POST {write.resource_type}"


class Listed:
    """The patients that a source is known to have, as intake would tell."""

    def __init__(self, ids: list[str]) -> None:
        self._ids = sorted(ids)

    def patients(self, after: str | None, limit: int) -> list[str]:
        """In the order of ids."""
        return [one for one in self._ids if after is None or one > after][:limit]


@dataclass
class Clinic:
    """A running simulator with the adapter's source and sink."""

    adapter: Adapter
    running: launch.Running
    measured: Mapping[str, Measured] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    workspace_id: str = "w"
    data_source_id: str = "s"
    open_credential: OpenCredential | None = None

    def data_source(self, **more: Any) -> DataSource:
        """The data source with its settings; ``more`` over those of the adapter."""
        document = {**self.adapter.settings(self.running.origin), **self.more, **more}
        kind = registry.source_type(self.adapter.source_type, document)
        settings = parse(kind.settings, document)
        return DataSource(self.workspace_id, self.data_source_id, self.adapter.name, self.adapter.source_type, settings)

    def opening(self, gate: Gate | None = None) -> Opening:
        """What a connector is given."""
        known = Listed([record["id"] for record in self.records("Patient")])
        http = HTTP(Settings(http_allow=("127.0.0.1",)))
        return Opening(
            http,
            lambda reference: reference,
            measured=self.measured,
            roster=known,
            open_credential=self.open_credential,
            gate=gate,
        )

    def source(self, **more: Any) -> Source:
        """The inbound side."""
        return registry.open_source(self.data_source(**more), self.opening())

    def sink(self, **more: Any) -> Sink:
        """The outbound side."""
        return registry.open_sink(self.data_source(**more), self.opening())

    def switch(self, method: str, path: str, body: Any = None) -> Any:
        """Turn something in the simulator, or look."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.running.switchboard}/{path}", data, method=method)  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own server
            return json.loads(answer.read())

    def vendor(self, **settings: Any) -> None:
        """Turn a setting of the vendor's quirks."""
        self.switch("PUT", "vendor", settings)

    def behave(self, **settings: Any) -> None:
        """Turn a setting of the plain system."""
        self.switch("PUT", "behaviour", settings)

    def fault(self, on: str, kind: str, **more: Any) -> None:
        """Let one kind of fault befall."""
        self.switch("PUT", "faults", [{"on": on, "kind": kind, **more}])

    def records(self, resource_type: str) -> list[Json]:
        """What there is of a type, whatever the vendor shows of it."""
        found: list[Json] = self.switch("GET", f"records?type={resource_type}")
        return found

    def shown(self, resource_type: str) -> dict[str, Json]:
        """Those that this vendor shows, by id."""
        return {record["id"]: record for record in self.records(resource_type) if self.adapter.shows(record)}

    def put(self, *resources: Json) -> None:
        """Write as the people do who work with the system."""
        self.switch("PUT", "records", list(resources))

    def delete(self, reference: str) -> None:
        """Delete as they do."""
        self.switch("POST", "delete", {"resource": reference})

    def marked(self, record: Json, mark: str) -> Json:
        """A record with a change that every system shows."""
        return {**self.adapter.dated(record), "extension": [{"url": MARK, "valueString": mark}]}

    def journal(self) -> list[Json]:
        """Every request so far, but for those that only ask where tokens are to be had."""
        found: list[Json] = self.switch("GET", "journal")
        return [one for one in found if "/.well-known/" not in one["path"]]

    def any_patient(self) -> str:
        """The id of some patient."""
        return str(self.records("Patient")[0]["id"])


def read_all(
    source: Source, resource_type: str, *, full: bool = True
) -> tuple[dict[str, SourceRecord], dict[str, Any]]:
    """Every record of a window by id, the newest of each, and the cursor behind it."""
    return read_on(source, resource_type, {}, full=full)


def read_on(
    source: Source, resource_type: str, cursor: dict[str, Any], *, full: bool = False
) -> tuple[dict[str, SourceRecord], dict[str, Any]]:
    """What a window from ``cursor`` on gives; the cursor passes through JSON as it does between two polls."""
    found: dict[str, SourceRecord] = {}
    for page in source.pages(resource_type, json.loads(json.dumps(cursor)), full=full):
        for record in page.records:
            before = found.get(record.record_id)
            if before is None or not _older(record, before):
                found[record.record_id] = record
        assert not page.bad, [bad.code for bad in page.bad]
        cursor = page.cursor
    return found, json.loads(json.dumps(cursor))


def _older(one: SourceRecord, other: SourceRecord) -> bool:
    return one.last_updated is not None and other.last_updated is not None and one.last_updated < other.last_updated


def mark_of(record: SourceRecord) -> str | None:
    """The mark that ``Clinic.marked`` left on a record."""
    extensions = (record.body or {}).get("extension", [])
    return next((one["valueString"] for one in extensions if one.get("url") == MARK), None)
