"""The FHIR source against servers that behave as the real ones do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from connector_runner.connectors.base import Opening, Page, WindowLost
from connector_runner.connectors.fhir.client import FHIRClient, outcome_codes, retry_after_s
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.fhir.source import FHIRSource
from connector_runner.connectors.fhir.window import moment
from connector_runner.connectors.settings import parse
from connector_runner.infra.http import HTTP
from connector_runner.kernel.errors import BadRecord, Forbidden, Misconfigured, RateLimited, TokenExpired, Unavailable
from connector_runner.settings import Settings
from tests.contract.scripted import LATER, Query, ScriptedServer, bundle, patient, scripted_server

T1, T2, T3 = (f"2026-01-0{day}T00:00:00.000Z" for day in (1, 2, 3))
SORTED = "http://x/Patient?_sort=_lastUpdated"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


def source_of(server: ScriptedServer, **settings: Any) -> FHIRSource:
    typed = parse(FHIRSettings, {"base_url": server.base_url, "overlap_s": 60, **settings})
    http = HTTP(Settings(http_allow=("127.0.0.1",)))
    return FHIRSource(FHIRClient(Opening(http, lambda reference: f"value-of-{reference}"), typed))


def read_all(source: FHIRSource, cursor: dict[str, Any] | None = None, *, full: bool = False) -> list[Page]:
    return list(source.pages("Patient", cursor or {}, full=full))


def ids(pages: list[Page]) -> list[str]:
    return [record.record_id for page in pages for record in page.records]


def test_next_links_are_followed_as_they_are_and_a_relative_one_too(server: ScriptedServer) -> None:
    links = {
        "Patient": f"{server.origin}/FHIR/Other?sessionID=12-a%2Fb",
        "/FHIR/Other": "Patient?page=3",
    }

    def script(path: str, query: Query) -> tuple[int, Any]:
        if query.get("page") == ["3"]:
            return 200, bundle(patient("c"))
        return 200, bundle(patient(f"of-{path.strip('/').replace('/', '-')}"), next_link=links[path])

    server.script = script
    assert ids(read_all(source_of(server))) == ["of-Patient", "of-FHIR-Other", "c"]
    assert server.asked[1] == ("/FHIR/Other", {"sessionID": ["12-a/b"]})


def test_a_link_to_another_origin_is_refused_and_gets_no_credential(server: ScriptedServer) -> None:
    with scripted_server() as other:
        server.script = lambda path, query: (200, bundle(patient("a"), next_link=f"{other.origin}/fhir/Patient?p=2"))
        source = source_of(server, auth={"kind": "bearer", "token": "env:TOKEN"})
        with pytest.raises(Misconfigured) as caught:
            read_all(source)
        assert caught.value.code == "foreign_link"
        assert other.asked == []
    assert server.authorizations == ["Bearer value-of-env:TOKEN"]


def test_entries_that_are_no_matches_are_skipped_and_unusable_ones_kept_with_their_place(
    server: ScriptedServer,
) -> None:
    warning = {"entry": {"search": {"mode": "outcome"}, "resource": {"resourceType": "OperationOutcome", "issue": []}}}
    bare_warning = {"resourceType": "OperationOutcome", "issue": []}
    included = {"entry": {"search": {"mode": "include"}, "resource": {"resourceType": "Practitioner", "id": "p"}}}
    no_id = {"resourceType": "Patient"}
    wrong = {"resourceType": "Group", "id": "g"}
    server.script = lambda path, query: (
        200,
        bundle(warning, bare_warning, included, patient("ok"), no_id, wrong, {"entry": "text"}, {"entry": {}}),
    )
    (page,) = read_all(source_of(server))
    assert ids([page]) == ["ok"]
    assert [(bad.place, bad.code) for bad in page.bad] == [
        ("Patient page 1 entry 4", "no_id"),
        ("Patient page 1 entry 5", "wrong_type"),
        ("Patient page 1 entry 6", "entry_not_object"),
        ("Patient page 1 entry 7", "no_resource"),
    ]


def test_one_poisoned_entry_spoils_only_itself(server: ScriptedServer) -> None:
    deep = b'{"resource":{"resourceType":"Patient","id":"deep","extension":' + b"[" * 2000 + b"]" * 2000 + b"}}"
    half = b'{"resource":{"resourceType":"Patient","id":"half","x":"\\ud800 }] "}}'
    latin = b'{"resource":{"resourceType":"Patient","id":"latin","x":"\xe9"}}'
    good = b'{"resource":{"resourceType":"Patient","id":"%s","multipleBirthInteger":1.00,"x":"a \\"]} b"}}'
    entries = b",".join([good % b"one", deep, half, latin, good % b"two"])
    server.script = lambda path, query: (
        200,
        b'{"resourceType":"Bundle","link":[],"entry":[' + entries + b'],"total":5}',
    )
    (page,) = read_all(source_of(server))
    assert ids([page]) == ["one", "two"]
    assert b"1.00" in page.records[0].raw
    assert [(bad.place.rpartition(" ")[2], bad.code) for bad in page.bad] == [
        ("1", "too_deep"),
        ("2", "bad_text"),
        ("3", "not_utf8"),
    ]
    assert page.bad[2].raw == latin


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"<html>", "not_json"), (b'{"resourceType":"Bundle","entry":[{"resource"', "not_json"), (b"[]", "not_a_bundle"),
     (b'{"resourceType":"OperationOutcome"}', "not_a_bundle")],
)  # fmt: skip
def test_an_answer_that_is_no_bundle_is_an_error_and_not_an_empty_page(
    server: ScriptedServer, body: bytes, code: str
) -> None:
    server.script = lambda path, query: (200, body)
    with pytest.raises(Unavailable) as caught:
        read_all(source_of(server))
    assert caught.value.code == code


def test_the_cursor_is_the_largest_stamp_seen_and_the_next_window_overlaps_it(server: ScriptedServer) -> None:
    server.script = lambda path, query: (200, bundle(patient("a", T2), patient("b", T1), self_link=SORTED))
    source = source_of(server)
    (page,) = read_all(source)
    assert page.last
    assert page.whole
    assert page.cursor["since"] == T2
    (page,) = read_all(source, page.cursor)
    assert not page.whole
    assert server.asked[1][1] == {
        "_count": ["200"],
        "_lastUpdated": ["ge2026-01-01T23:59:00.000Z"],
        "_sort": ["_lastUpdated"],
    }


def test_the_cursor_never_passes_the_servers_time_when_the_window_was_opened(server: ScriptedServer) -> None:
    """What changed after its page was read stands below the newest stamp of a later page."""
    dates = iter(["Thu, 01 Jan 2026 12:00:00 GMT", "Fri, 02 Jan 2026 12:00:00 GMT"])

    def script(path: str, query: Query) -> tuple[int, Any, dict[str, str]]:
        more = None if "p" in query else f"{server.base_url}/Patient?p=2"
        stamp = T3 if "p" in query else T1
        return 200, bundle(patient(stamp, stamp), next_link=more), {"Date": next(dates)}

    server.script = script
    assert read_all(source_of(server))[-1].cursor["since"] == "2026-01-01T12:00:00.000Z"


def test_in_the_middle_of_a_window_the_cursor_moves_only_where_the_order_is_proved(server: ScriptedServer) -> None:
    since = {"since": T1}

    def serve(first: dict[str, Any], second: dict[str, Any], date: str = LATER) -> list[Any]:
        server.script = lambda path, query: (200, second if "p" in query else first, {"Date": date})
        return [page.cursor["since"] for page in read_all(source_of(server), dict(since))]

    link = f"{server.base_url}/Patient?p=2"
    in_order = bundle(patient("a", T2), next_link=link, self_link=SORTED)
    assert serve(in_order, bundle(patient("b", T3))) == [T2, T3]
    assert serve(bundle(patient("a", T3), next_link=link), bundle(patient("b", T2))) == [T1, T3]
    claimed_only = bundle(patient("a", T3), next_link=link, self_link=SORTED)
    broken_order = bundle(patient("b", T2), next_link=f"{server.base_url}/Patient?p=3")
    server.script = lambda path, query: (
        200,
        {None: claimed_only, "2": broken_order, "3": bundle()}[query.get("p", [None])[0]],
    )
    assert [page.cursor["since"] for page in read_all(source_of(server), dict(since))] == [T3, T1, T3]
    unsorted = bundle(patient("a", T2), next_link=link)
    assert serve(unsorted, bundle(patient("b", T3)), date="") == [T1, T2]


def test_many_records_with_one_stamp_are_all_read(server: ScriptedServer) -> None:
    def script(path: str, query: Query) -> tuple[int, Any]:
        number = int(query.get("p", ["0"])[0])
        more = f"{server.base_url}/Patient?p={number + 1}" if number < 9 else None
        return 200, bundle(*(patient(f"{number}-{n}", T1) for n in range(50)), next_link=more, self_link=SORTED)

    server.script = script
    pages = read_all(source_of(server), {"since": T1})
    assert len(set(ids(pages))) == 500
    assert pages[-1].cursor["since"] == T1


def test_a_window_goes_on_from_its_next_link_in_another_process(server: ScriptedServer) -> None:
    link = f"{server.base_url}/Patient?p=2"
    server.script = lambda path, query: (
        200,
        bundle(patient("b", T2)) if "p" in query else bundle(patient("a", T1), next_link=link, self_link=SORTED),
    )
    first = next(iter(source_of(server).pages("Patient", {}, full=False)))
    rest = read_all(source_of(server), first.cursor)
    assert ids(rest) == ["b"]
    assert rest[0].window == first.window
    assert rest[0].cursor == {"since": T2}


def test_an_expired_link_begins_again_from_the_checkpoint(server: ScriptedServer) -> None:
    link = f"{server.base_url}/Patient?p=2"
    server.script = lambda path, query: (410, {}) if "p" in query else (200, bundle(patient("a", T1), next_link=link))
    source = source_of(server)
    pages = source.pages("Patient", {}, full=False)
    first = next(pages)
    with pytest.raises(WindowLost):
        next(pages)
    server.script = lambda path, query: (410, {}) if "p" in query else (200, bundle(patient("a", T1), patient("b", T2)))
    again = read_all(source, first.cursor)
    assert ids(again) == ["a", "b"]
    assert again[0].window != first.window


@pytest.mark.parametrize("same_link", [True, False])
def test_pages_that_go_round_in_a_circle_are_noticed(server: ScriptedServer, same_link: bool) -> None:
    def script(path: str, query: Query) -> tuple[int, Any]:
        number = 1 if same_link else len(server.asked)
        name = str(len(server.asked)) if same_link else "same"
        return 200, bundle(patient(name), next_link=f"{server.base_url}/Patient?p={number}")

    server.script = script
    with pytest.raises(WindowLost) as caught:
        read_all(source_of(server))
    assert caught.value.code == "paging_loop"
    assert len(server.asked) <= 3


def test_empty_pages_with_a_next_link_are_no_end(server: ScriptedServer) -> None:
    def script(path: str, query: Query) -> tuple[int, Any]:
        number = int(query.get("p", ["0"])[0])
        if number == 4:
            return 200, bundle(patient("late"))
        return 200, bundle(next_link=f"{server.base_url}/Patient?p={number + 1}")

    server.script = script
    assert ids(read_all(source_of(server))) == ["late"]


def test_a_source_without_stamps_is_read_whole_each_time(server: ScriptedServer) -> None:
    server.script = lambda path, query: (200, bundle(patient("a", None), patient("b", T1)))
    source = source_of(server)
    (page,) = read_all(source, {"since": T1})
    assert page.cursor["since"] is None
    (page,) = read_all(source, page.cursor)
    assert page.whole
    assert "_lastUpdated" not in server.asked[-1][1]


def test_parameters_that_the_server_refuses_are_left_out_and_remembered(server: ScriptedServer) -> None:
    def script(path: str, query: Query) -> tuple[int, Any]:
        if "_sort" in query or "_lastUpdated" in query:
            return 400, {"resourceType": "OperationOutcome", "issue": [{"code": "not-supported"}]}
        return 200, bundle(patient("a", T1))

    server.script = script
    source = source_of(server)
    (page,) = read_all(source, {"since": T1})
    assert page.whole
    assert page.cursor["refused"] == ["_sort", "_lastUpdated"]
    asked = len(server.asked)
    read_all(source, page.cursor)
    assert len(server.asked) == asked + 1


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [(401, TokenExpired, "unauthorized"), (403, Forbidden, "forbidden"), (404, Misconfigured, "http_404"),
     (429, RateLimited, "rate_limited"), (500, Unavailable, "http_500"), (503, Unavailable, "http_503"),
     (302, Misconfigured, "http_302")],
)  # fmt: skip
def test_refusals_are_named_and_quote_no_diagnostics(
    server: ScriptedServer, status: int, error: type[Exception], code: str
) -> None:
    issue = {
        "code": "processing",
        "diagnostics": "Zebedee Canary",
        "details": {"text": "Canary", "coding": [{"code": "59204"}]},
    }
    body = {"resourceType": "OperationOutcome", "issue": [issue, {"diagnostics": "no code"}]}
    server.script = lambda path, query: (status, body, {"Retry-After": "7"})
    with pytest.raises(error) as caught:
        read_all(source_of(server))
    assert getattr(caught.value, "code", None) == code
    assert "Canary" not in str(caught.value)
    assert "processing, 59204" in str(caught.value)
    if status in (429, 503):
        assert getattr(caught.value, "retry_after_s", None) == 7


def test_a_direct_read_tells_gone_from_unknown_from_forbidden(server: ScriptedServer) -> None:
    answers: dict[str, tuple[int, Any]] = {
        "Patient/here": (200, patient("here")),
        "Patient/gone": (410, {}),
        "Patient/unknown": (404, {}),
        "Patient/secret": (403, {}),
        "Patient/merged": (200, patient("survivor")),
    }
    server.script = lambda path, query: answers[path]
    source = source_of(server)
    here, gone = source.read("Patient", "here"), source.read("Patient", "gone")
    assert here is not None
    assert not here.deleted
    assert gone is not None
    assert gone.deleted
    assert source.read("Patient", "unknown") is None
    with pytest.raises(Forbidden):
        source.read("Patient", "secret")
    with pytest.raises(BadRecord):
        source.read("Patient", "merged")


STATEMENT = {
    "resourceType": "CapabilityStatement",
    "rest": [{"resource": [{"type": "Patient", "interaction": [{"code": "history-type"}]}]}],
}


def deletion(record_id: str, modified: str | None) -> dict[str, Any]:
    response = {"status": "204", **({"lastModified": modified} if modified else {})}
    return {"entry": {"request": {"method": "DELETE", "url": f"Patient/{record_id}"}, "response": response}}


def test_history_tells_of_deletes_unless_something_newer_is_known(server: ScriptedServer) -> None:
    history = bundle(
        patient("back", T3),
        deletion("back", T2),
        deletion("gone", T3),
        deletion("undated", None),
        deletion("alive", None),
    )
    answers: dict[str, tuple[int, Any]] = {
        "metadata": (200, STATEMENT),
        "Patient/_history": (200, history),
        "Patient/undated": (410, {}),
        "Patient/alive": (200, patient("alive")),
    }
    server.script = lambda path, query: answers[path]
    (page,) = source_of(server).deletions("Patient", {"since": T2})
    assert [(record.record_id, record.deleted) for record in page.records] == [("gone", True), ("undated", True)]
    assert page.cursor == {"since": T2, "history": True, "deletes_since": T3}
    assert server.asked[1] == ("Patient/_history", {"_since": ["2026-01-01T23:59:00.000Z"], "_count": ["200"]})


def test_a_delete_of_the_future_hides_no_later_one(server: ScriptedServer) -> None:
    """A server that does not tell the time: ours bounds how far its history counts as read."""
    history = bundle(deletion("gone", "2095-01-01T00:00:00.000Z"))
    server.script = lambda path, query: (200, STATEMENT if path == "metadata" else history, {"Date": ""})
    (page,) = source_of(server).deletions("Patient", {"since": T2})
    reached = moment(page.cursor["deletes_since"])
    assert reached is not None
    assert reached <= datetime.now(UTC)


@pytest.mark.parametrize("status", [403, 404, 501])
def test_a_history_that_is_not_there_is_not_asked_for_again(server: ScriptedServer, status: int) -> None:
    server.script = lambda path, query: (200, STATEMENT) if path == "metadata" else (status, {})
    source = source_of(server)
    (page,) = source.deletions("Patient", {"since": T1})
    assert page.records == ()
    assert list(source.deletions("Patient", page.cursor)) == []
    assert len(server.asked) == 2


def test_a_history_that_fails_is_an_error(server: ScriptedServer) -> None:
    server.script = lambda path, query: (200, STATEMENT) if path == "metadata" else (500, {})
    with pytest.raises(Unavailable):
        list(source_of(server).deletions("Patient", {"since": T1}))


def test_retry_after_is_a_number_or_a_date() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after_s({"Retry-After": "2.5"}, now) == 2.5
    assert retry_after_s({"Retry-After": "Thu, 01 Jan 2026 00:00:30 GMT"}, now) == 30
    assert retry_after_s({"Retry-After": "Wed, 31 Dec 2025 00:00:00 GMT"}, now) == 0
    assert retry_after_s({"Retry-After": "soon"}, now) is None
    assert retry_after_s({"Retry-After": "1e9"}, now) == 3600
    assert retry_after_s({}, now) is None


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1]", b'{"issue":{"code":"x"}}', b'{"issue":[7,{"code":["a"]}]}', b"[" * 9999]
)
def test_an_outcome_that_is_none_has_no_codes(body: bytes) -> None:
    assert outcome_codes(body) == ()
