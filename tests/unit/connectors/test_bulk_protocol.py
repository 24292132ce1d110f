"""Bulk Data as values: what is asked for, manifests, lists of deletes, issues (HL7 Bulk Data Access IG)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connector_runner.connectors.fhir.bulk.client import _per_cent
from connector_runner.connectors.fhir.bulk.manifest import deletions_on, issue_on, parse_manifest
from connector_runner.connectors.fhir.bulk.request import Export
from connector_runner.connectors.fhir.bulk.settings import BulkSettings
from connector_runner.connectors.settings import parse
from connector_runner.kernel.errors import BadRecord, Misconfigured, Unavailable
from connector_runner.settings import PROJECT_ROOT

SINCE = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)
EXAMPLES = sorted(Path(PROJECT_ROOT.parent, "shared/data/bulk-ndjson/manifests").glob("BulkDataManifest*.json"))


@pytest.mark.parametrize(
    ("export", "path"),
    [
        (Export("system"), "$export"),
        (Export("patient"), "Patient/$export"),
        (Export("group", "g1"), "Group/g1/$export"),
    ],
)
def test_places(export: Export, path: str) -> None:
    assert export.path == path


def test_a_query_lists_and_parameters_repeat() -> None:
    export = Export("system", "", ("Observation", "Patient"), ("Observation?category=laboratory",), SINCE)
    assert export.query() == [
        ("_since", "2026-03-04T05:06:07.890Z"),
        ("_type", "Observation,Patient"),
        ("_typeFilter", "Observation?category=laboratory"),
    ]
    said = json.loads(export.parameters())["parameter"]
    assert said == [
        {"name": "_since", "valueInstant": "2026-03-04T05:06:07.890Z"},
        {"name": "_type", "valueString": "Observation"},
        {"name": "_type", "valueString": "Patient"},
        {"name": "_typeFilter", "valueString": "Observation?category=laboratory"},
    ]


def test_patients_are_named_in_parameters_only() -> None:
    export = Export("group", "g1", patients=("p1",))
    assert export.needs_post
    assert json.loads(export.parameters())["parameter"] == [
        {"name": "patient", "valueReference": {"reference": "Patient/p1"}}
    ]


def test_a_manifest_of_versions_1_to_3() -> None:
    manifest = parse_manifest(
        json.dumps(
            {
                "transactionTime": "2026-01-01T00:00:00Z",
                "request": "https://ehr.example/$export",
                "requiresAccessToken": False,
                "output": [{"type": "Patient", "url": "https://ehr.example/1", "count": 7}],
                "deleted": [{"type": "Bundle", "url": "https://ehr.example/2"}],
                "error": [{"type": "OperationOutcome", "url": "https://ehr.example/3", "count": True}],
                "link": [{"relation": "next", "url": "https://ehr.example/m2"}],
            }
        ).encode()
    )
    assert manifest.transaction_time == datetime(2026, 1, 1, tzinfo=UTC)
    assert (manifest.requires_token, manifest.next_page) == (False, "https://ehr.example/m2")
    assert [(file.kind, file.resource_type, file.count) for file in manifest.files] == [
        ("output", "Patient", 7), ("deleted", "Bundle", None), ("outcome", "OperationOutcome", None),
    ]  # fmt: skip


@pytest.mark.skipif(not EXAMPLES, reason="the examples of the standard are not here")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_of_the_standard(path: Path) -> None:
    manifest = parse_manifest(path.read_bytes())
    assert manifest.transaction_time == datetime(2021, 1, 1, tzinfo=UTC)
    assert manifest.requires_token
    document = json.loads(path.read_bytes())
    listed = sum(len(document.get(name, ())) for name in ("output", "deleted", "outcome"))
    assert len(manifest.files) == listed
    assert (manifest.next_page is not None) == ("link" in document)


def test_a_token_is_due_unless_the_manifest_says_otherwise() -> None:
    assert parse_manifest(b'{"transactionTime":"2026-01-01T00:00:00Z","output":[]}').requires_token


def test_a_manifest_that_waits_for_its_next_page_has_none() -> None:
    said = b'{"output":[],"link":[{"relation":"next","url":"#pending"}]}'
    assert parse_manifest(said).next_page is None


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"output":[{"type":"Patient"}]}', b'{"output":[3]}'])
def test_what_is_no_manifest(body: bytes) -> None:
    with pytest.raises(Unavailable) as caught:
        parse_manifest(body)
    assert caught.value.code == "bad_manifest"


def test_a_delete_has_the_time_that_is_nearest_to_it() -> None:
    entries = [
        {"request": {"method": "DELETE", "url": "Patient/p1"}},
        {"request": {"method": "delete", "url": "https://ehr.example/fhir/Patient/p2"},
         "response": {"status": "204", "lastModified": "2026-01-01T00:00:00Z"}},
    ]  # fmt: skip
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    undated, dated = deletions_on(json.dumps(bundle).encode())
    assert (undated.record_id, undated.at, dated.record_id) == ("p1", None, "p2")
    assert dated.at == datetime(2026, 1, 1, tzinfo=UTC)
    bundle["meta"] = {"lastUpdated": "2026-02-02T00:00:00Z"}
    assert deletions_on(json.dumps(bundle).encode())[0].at == datetime(2026, 2, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "line",
    [
        b'{"resourceType":"Patient","id":"1"}',
        b'{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient"}}]}',
        b'{"resourceType":"Bundle","entry":[{"request":{"method":"PUT","url":"Patient/1"}}]}',
        b'{"resourceType":"Bundle","entry":[{"request":{"method":"DELETE","url":"Patient?identifier=x"}}]}',
        b'{"resourceType":"Bundle","entry":{}}',
        b"not json",
    ],
)
def test_nothing_else_is_a_delete(line: bytes) -> None:
    with pytest.raises(BadRecord):
        deletions_on(line)


@pytest.mark.parametrize(
    ("line", "grave", "codes"),
    [
        (
            b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"exception"}]}',
            True,
            ("exception",),
        ),
        (b'{"resourceType":"OperationOutcome","issue":[{"severity":"information"}]}', False, ()),
        (b'{"resourceType":"OperationOutcome","issue":[{"code":"not-found"}]}', True, ("not-found",)),
        (b'{"resourceType":"OperationOutcome","issue":[{"severity":["error"]}]}', True, ()),
        (b'{"resourceType":"Patient"}', True, ("not_an_outcome",)),
        (b"<html>", True, ("not_an_outcome",)),
    ],
)
def test_what_an_issue_comes_to(line: bytes, grave: bool, codes: tuple[str, ...]) -> None:
    assert (issue_on(line).grave, issue_on(line).codes) == (grave, codes)


@pytest.mark.parametrize(
    ("text", "number"),
    [("50%", 50.0), ("42.5 % done", 42.5), ("7", 7.0), ("in progress: 3 of 9", None), ("", None), (None, None),
     ("Ames, Ida 33%", 33.0), ("250%", 100.0)],
)  # fmt: skip
def test_of_the_progress_only_a_number_is_kept(text: str | None, number: float | None) -> None:
    assert _per_cent(text) == number


@pytest.mark.parametrize(
    "settings",
    [
        {"scope": "group"},
        {"group": "g1"},
        {"scope": "group", "group": "../Patient"},
        {"token_origins": ["http://files.example"]},
        {"token_origins": ["https://files.example/path"]},
        {"connections": 0},
    ],
)
def test_settings_that_cannot_work(settings: dict[str, object]) -> None:
    with pytest.raises(Misconfigured):
        parse(BulkSettings, settings)
