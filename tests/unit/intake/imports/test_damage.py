"""Every kind of bad input: what is kept, what is told, and where."""

from __future__ import annotations

import gzip
import io
import json

import pytest

from connector_runner.intake.imports.content import DOCUMENTS, LINES, Content, parser_for, recognise
from connector_runner.intake.imports.items import KEPT_OF_A_FAULT, Entry, Fault, Item
from connector_runner.intake.imports.records import record_of
from connector_runner.kernel.errors import BadRecord

ADA, BEN = (f'{{"fullUrl":"urn:uuid:{n}","resource":{{"resourceType":"Patient","id":"{n}"}}}}' for n in "ab")


def bundle(*entries: str) -> bytes:
    return ('{"resourceType":"Bundle","type":"batch","entry":[' + ",".join(entries) + "]}").encode()


def parse(data: bytes, name: str = "x.json", max_bytes: int = 1 << 24, step: int = 1 << 18) -> list[Item]:
    content = Content(lambda: io.BytesIO(data))
    kind = recognise(name, content.head())
    with content.open() as raw:
        read = content.from_byte(0, raw)
        parser = parser_for(kind, lambda _: read(step), max_bytes=max_bytes, state=None)
        return [item for group in parser.items() for item in group]


def told(items: list[Item]) -> list[tuple[str, str]]:
    """Place and code of each fault, place and id of each entry."""
    return [(i.place, i.code if isinstance(i, Fault) else i.resource["id"]) for i in items]


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ('{"resource":{"a":tru}}', "not_json"),
        ('{"resource":{"a":NaN}}', "not_json"),
        ('{"resource":{"a":1,}}', "not_json"),
        ('{"resource":{"a":"x}}', "not_json"),
        ('{"resource":{"a":[1}}', "not_json"),
        ('{"resource":{"a":{"b":1}', "not_json"),
        ('{"resource":{"a":"\x00"}}', "not_json"),
        ('{"resource":{"a":' + "9" * 5000 + "}}", "not_json"),
        ('{"resource":{"a":' + "[" * 2000 + "]" * 2000 + "}}", "too_deep"),
        ('{"resource":{"a":' + "[" * 300 + "]" * 300 + "}}", "too_deep"),
        ('{"resource":{"a":"\\u0000"}}', "bad_text"),
        ('{"resource":{"a":"\\ud800"}}', "bad_text"),
        ('"text"', "wrong_type"),
        ("null", "wrong_type"),
        ("[]", "wrong_type"),
    ],
)
@pytest.mark.parametrize("step", [1 << 18, 7])
def test_a_damaged_entry_is_set_aside_and_its_neighbours_are_read(entry: str, code: str, step: int) -> None:
    items = parse(bundle(ADA, entry, BEN), step=step)
    assert told(items) == [("entry[0]", "a"), ("entry[1]", code), ("entry[2]", "b")]
    body = items[1].raw.decode()
    assert body in entry
    assert body


def test_bytes_that_are_not_text_are_given_back_as_they_came() -> None:
    items = parse(bundle(ADA, BEN, ADA).replace(b'"id":"b"', b'"id":"\xff\xe9"'))
    assert told(items) == [("entry[0]", "a"), ("entry[1]", "not_utf8"), ("entry[2]", "a")]
    assert items[1].raw == b'{"resourceType":"Patient","id":"\xff\xe9"}'


def test_a_cut_bundle_tells_the_byte_at_which_it_ends() -> None:
    data = bundle(ADA, BEN)[:-20]
    items = parse(data)
    assert told(items) == [("entry[0]", "a"), ("entry[1]", "truncated")]
    assert isinstance(items[1], Fault)
    assert f"at byte {len(data)};" in items[1].message


def test_a_cut_gzip_gives_what_could_be_unpacked() -> None:
    packed = gzip.compress(bundle(*[ADA] * 20_000))
    content = Content(lambda: io.BytesIO(packed[: len(packed) // 2]))
    with content.open() as raw:
        parser = parser_for(DOCUMENTS, content.from_byte(0, raw), max_bytes=1 << 24, state=None)
        items = [item for group in parser.items() for item in group]
    assert content.damage == "the compressed data ends early"
    assert len(items) > 1000
    assert [item.code for item in items if isinstance(item, Fault)] == ["truncated"]


@pytest.mark.parametrize("name", ["x.json", "x.ndjson"])
def test_a_resource_beyond_the_limit_is_passed_over_in_bounded_memory(name: str) -> None:
    huge = json.dumps({"resourceType": "Patient", "id": "h", "a": ["x" * 50] * 20_000})
    ada = '{"resourceType":"Patient","id":"a"}'
    data = bundle(ADA, f'{{"resource":{huge}}}', BEN) if name == "x.json" else f"{ada}\n{huge}\n{ada}".encode()
    items = parse(data, name, max_bytes=200_000)
    assert [isinstance(item, Fault) for item in items] == [False, True, False]
    assert told(items)[1][1] == "too_large"
    assert len(items[1].raw) <= KEPT_OF_A_FAULT


def test_a_single_resource_beyond_the_limit_is_refused() -> None:
    data = json.dumps({"resourceType": "Patient", "id": "h", "a": "x" * 500_000}).encode()
    assert told(parse(data, max_bytes=100_000)) == [("", "too_large")]


def test_lines_are_read_one_by_one_and_faults_name_their_line() -> None:
    ada = b'{"resourceType":"Patient","id":"a"}'
    items = parse(b"\xef\xbb\xbf" + ada + b'\r\n\n{"resourceType":"Pat\n' + ada + b"\n" + ada[:9], "x.ndjson")
    assert told(items) == [("line 1", "a"), ("line 3", "not_json"), ("line 4", "a"), ("line 5", "truncated")]


def test_a_missing_and_a_needless_comma_are_told_and_cost_nothing() -> None:
    assert told(parse(bundle(ADA, "", BEN))) == [("entry[0]", "a"), ("entry[1]", "not_json"), ("entry[1]", "b")]
    assert told(parse(bundle(ADA + BEN))) == [("entry[0]", "a"), ("entry[1]", "not_json"), ("entry[1]", "b")]


def test_a_list_resource_is_no_bundle_wherever_its_entries_stand() -> None:
    for text in (
        '{"resourceType":"List","id":"l","entry":[{"item":{"reference":"Patient/a"}}]}',
        '{"entry":[{"item":{"reference":"Patient/a"}}],"id":"l","resourceType":"List"}',
    ):
        assert told(parse(text.encode())) == [("", "l")]


def test_documents_that_are_none() -> None:
    assert told(parse(b"hello world")) == [("", "not_json")]
    assert told(parse(b'{"resourceType":"Bundle","entry":{}}')) == [("entry", "wrong_type")]
    assert told(parse(b'{"resourceType":"Bundle","entry":[null]}')) == [("entry[0]", "wrong_type")]
    assert told(parse(b'{"resourceType":"Bundle"}')) == [("", "empty_bundle")]


@pytest.mark.parametrize(
    ("name", "head", "code"),
    [
        ("x.csv", b"a,b\n1,2", "unsupported_format"),
        ("x.zip", b"PK\x03\x04..", "unsupported_format"),
        ("x.xml", b"<Bundle/>", "unsupported_format"),
        ("x.json", b" \n", "empty_file"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(name: str, head: bytes, code: str) -> None:
    with pytest.raises(BadRecord) as caught:
        recognise(name, head)
    assert caught.value.code == code


def test_lines_are_recognised_without_their_suffix() -> None:
    assert recognise("export", b'{"a":1}\n{"a":2}\n') == LINES
    assert recognise("export", b'{\n"a":1}\n') == DOCUMENTS
    assert recognise("export.ndjson.gz", b'{"a":') == LINES


PATIENT = {"resourceType": "Patient"}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (Entry("", {**PATIENT, "id": "7"}, b""), ("Patient", "7")),
        (Entry("", PATIENT, b"", full_url="urn:uuid:0A-b"), ("Patient", "0a-b")),
        (Entry("", PATIENT, b"", full_url="https://h/fhir/Patient/9"), ("Patient", "9")),
        (Entry("", PATIENT, b"", request={"method": "PUT", "url": "Patient/8"}), ("Patient", "8")),
        (Entry("", PATIENT, b"", full_url="https://h/fhir/Device/9"), "no_id"),
        (Entry("", PATIENT, b""), "no_id"),
        (Entry("", {**PATIENT, "id": 7}, b""), "bad_id"),
        (Entry("", {"id": "7"}, b""), "no_resource_type"),
        (Entry("", {"resourceType": ["Patient"], "id": "7"}, b""), "no_resource_type"),
        (Entry("", "text", b""), "wrong_type"),
        (Entry("", None, b"", request={"method": "DELETE", "url": "Patient/8"}), ("Patient", "8")),
        (Entry("", None, b"", request={"method": "DELETE", "url": "Patient?identifier=1"}), "delete_unnamed"),
        (Entry("", {**PATIENT, "id": "7"}, b"", request={"method": "PATCH"}), "patch_not_supported"),
    ],
)
def test_which_record_an_entry_is_about(entry: Entry, expected: object) -> None:
    found = record_of(entry)
    assert not isinstance(found, str)
    said = found.code if isinstance(found, Fault) else (found.resource_type, found.record_id)
    assert said == expected


def test_entries_that_say_nothing_are_named() -> None:
    assert record_of(Entry("", None, b"", request={"method": "GET", "url": "Patient"})) == "read_request"
    assert record_of(Entry("", None, b"", response={"status": "201"})) == "no_resource"
    outcome = {"resourceType": "OperationOutcome", "id": "o"}
    assert record_of(Entry("", outcome, b"", search_mode="outcome")) == "search_outcome"


@pytest.mark.parametrize("head", [b"", b"\n", b"\xef\xbb\xbf"])
def test_lines_of_which_there_is_none_are_a_file_all_the_same(head: bytes) -> None:
    assert recognise("Location.ndjson.gz", head) == LINES
