"""Bundles that are not as R4 has them: what they stand for is read, or the page fails; nothing is passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector_runner.connectors.base import Opening, WindowLost
from connector_runner.connectors.fhir.bulk.client import BulkClient
from connector_runner.connectors.fhir.client import FHIRClient
from connector_runner.connectors.fhir.paging import entry_id, parse_page
from connector_runner.connectors.fhir.settings import FHIRSettings
from connector_runner.connectors.fhir.source import FHIRSource
from connector_runner.connectors.fhir.stepping import numbered
from connector_runner.infra.http import HTTP
from connector_runner.kernel.errors import Misconfigured, Unavailable
from connector_runner.settings import Settings
from tests.contract.scripted import bundle, patient
from tests.fhir_server import FHIRServer


def page_of(body: dict[str, Any]) -> Any:
    return parse_page(json.dumps(body).encode(), "Patient", place="Patient page 1")


def test_a_list_of_one_without_its_brackets_is_a_list_of_one() -> None:
    body = bundle(patient("p1")) | {"link": {"relation": "next", "url": "http://x/Patient?page=2"}}
    page = page_of(body | {"entry": body["entry"][0]})
    assert [record.record_id for record in page.records] == ["p1"]
    assert page.next_link == "http://x/Patient?page=2"


@pytest.mark.parametrize("key", ["entry", "link"])
@pytest.mark.parametrize("value", ["", "none", 7, True])
def test_what_should_be_a_list_and_is_none_is_no_empty_page(key: str, value: Any) -> None:
    with pytest.raises(Unavailable) as caught:
        page_of(bundle(patient("p1")) | {key: value})
    assert caught.value.code == "not_a_bundle"


def test_a_next_link_that_is_only_a_query_is_one_of_the_same_type() -> None:
    assert page_of(bundle(patient("p1"), next_link="?page=2")).next_link == "Patient?page=2"


def test_a_next_link_to_nowhere_is_the_end() -> None:
    assert page_of(bundle(patient("p1"), next_link=" ")).next_link is None
    assert page_of(bundle() | {"entry": None, "link": None}).records == ()


def test_links_that_are_no_urls_are_none() -> None:
    """As documentation has them, with the address left to be filled in."""
    blank = "http://[base]/Patient"
    page = page_of(bundle(patient("p1"), self_link=f"{blank}?_sort=_lastUpdated"))
    assert (len(page.records), page.sorted_by) == (1, None)
    assert entry_id({"fullUrl": f"{blank}/7", "request": {"method": "DELETE", "url": "Patient/7"}}, "Patient") == "7"
    assert not numbered(f"{blank}?page=2", {"_count"})


@pytest.mark.parametrize("url", ["http://[base]/Patient?page=2", "http://x:port/Patient?page=2"])
def test_a_next_link_that_is_no_url_is_told_of(url: str) -> None:
    settings = FHIRSettings(base_url="http://127.0.0.1:9/fhir")
    client = FHIRClient(Opening(HTTP(Settings()), lambda reference: ""), settings)
    with pytest.raises(Misconfigured) as caught:
        client.address(url)
    assert caught.value.code == "foreign_link"


@pytest.mark.parametrize("url", ["http://[base]/file", "http://x:port/file"])
def test_a_file_of_an_export_without_an_address_is_told_of(url: str) -> None:
    settings = FHIRSettings(base_url="http://127.0.0.1:9/fhir")
    client = BulkClient(Opening(HTTP(Settings()), lambda reference: ""), settings)
    with pytest.raises(Misconfigured) as caught:
        client.fetch(url, authorized=False, position=0, etag=None, begin=lambda arriving: lambda data: None)
    assert caught.value.code == "bad_url"


class Turning(FHIRServer):
    """Shows the same three pages again and again, each time under another link."""

    def _page(self, *what: Any) -> dict[str, Any]:
        number = len(self.asked)
        return bundle(*(patient(f"{number % 3}-{n}") for n in range(2)), next_link=f"Patient?token={number}x")


def test_several_pages_that_come_again_under_other_links_are_a_circle() -> None:
    server = Turning()
    with pytest.raises(WindowLost) as caught:
        list(FHIRSource(server).pages("Patient", {}, full=True))  # type: ignore[arg-type]
    assert (caught.value.code, len(server.asked)) == ("paging_loop", 4)


def told(severity: Any, code: str | None) -> dict[str, Any]:
    issue = {"severity": severity, **({"code": code} if code else {})}
    return {"entry": {"resource": {"resourceType": "OperationOutcome", "issue": [issue]}}}


class Telling(FHIRServer):
    """Tells of something beside its records."""

    says: dict[str, Any] = told("warning", "incomplete")

    def _page(self, *what: Any) -> dict[str, Any]:
        page = super()._page(*what)
        return {**page, "entry": [*page["entry"], self.says["entry"]]}


def read(says: dict[str, Any]) -> Any:
    server = Telling()
    server.says = says
    server.touch("p0")
    (page,) = FHIRSource(server).pages("Patient", {}, full=True)  # type: ignore[arg-type]
    return page


@pytest.mark.parametrize("code", ["timeout", "incomplete", "throttled", "transient"])
def test_a_search_that_failed_in_part_moves_no_cursor(code: str) -> None:
    with pytest.raises(Unavailable) as caught:
        read(told("error", code))
    assert caught.value.code == "search_incomplete"


@pytest.mark.parametrize(("severity", "code"), [("error", None), ("fatal", "suppressed"), ("error", "too-costly")])
def test_a_search_with_another_error_proves_nothing_gone(severity: str, code: str | None) -> None:
    page = read(told(severity, code))
    assert (len(page.records), page.last, page.proves) == (1, True, False)


@pytest.mark.parametrize("severity", [None, {}, ["error"], 7])
def test_a_severity_that_is_none_is_no_error(severity: Any) -> None:
    assert read(told(severity, "timeout")).proves


def test_a_warning_is_a_warning() -> None:
    page = read(told("warning", "incomplete"))
    assert (len(page.records), page.last, page.proves, page.warnings) == (1, True, True, ("incomplete",))
