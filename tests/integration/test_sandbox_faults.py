"""Bad answers to order: what a hostile or a broken system sends, and whether it did what was asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from connector_runner.sandbox import launch

PATIENT = {"resourceType": "Patient", "gender": "female"}


@pytest.fixture(scope="module")
def running() -> Iterator[launch.Running]:
    with launch.start("store", patients=0) as system:
        yield system


@pytest.fixture
def board(running: launch.Running) -> str:
    requests.post(f"{running.switchboard}/reset", json={"empty": True}, timeout=10).raise_for_status()
    return running.switchboard


def order(board: str, **fault: Any) -> None:
    requests.put(f"{board}/faults", json=[{"on": "*  *", "next": 1, **fault}], timeout=10).raise_for_status()


def post(running: launch.Running, **more: Any) -> requests.Response:
    return requests.post(f"{running.base_url}/Patient", json=PATIENT, timeout=10, allow_redirects=False, **more)


def stored(board: str) -> int:
    return int(requests.get(f"{board}/resources?type=Patient", timeout=10).json()["Patient"])


def test_wrong_etag_is_done_with_the_version_of_another(running: launch.Running, board: str) -> None:
    order(board, kind="wrong_etag")
    answer = post(running)
    assert (answer.status_code, answer.headers["ETag"], answer.json()["meta"]["versionId"]) == (201, 'W/"0"', "1")
    assert stored(board) == 1


def test_no_id_is_done_and_says_not_what(running: launch.Running, board: str) -> None:
    order(board, kind="no_id")
    answer = post(running)
    assert answer.status_code == 201
    assert answer.json() == PATIENT
    assert {"Location", "ETag"}.isdisjoint(answer.headers)
    assert stored(board) == 1


@pytest.mark.parametrize("commit", [False, True])
@pytest.mark.parametrize("kind", ["redirect", "error_in_200", "html", "empty"])
def test_done_or_not_as_ordered(running: launch.Running, board: str, kind: str, commit: bool) -> None:
    order(board, kind=kind, commit=commit)
    answer = post(running)
    assert stored(board) == int(commit)
    if kind == "redirect":
        assert (answer.status_code, answer.headers["Location"][:23]) == (307, "http://169.254.169.254/")
    if kind == "error_in_200":
        assert (answer.status_code, answer.json()["issue"][0]["severity"]) == (200, "error")


def test_an_infinite_body_goes_on(running: launch.Running, board: str) -> None:
    order(board, kind="infinite_body", commit=True)
    with post(running, stream=True) as answer:
        size = 0
        for piece in answer.iter_content(65_536):
            size += len(piece)
            if size > 20_000_000:
                break
    assert size > 20_000_000
    assert stored(board) == 1
    assert post(running).status_code == 201


@pytest.mark.parametrize(("entry", "expression"), [(1, ["Bundle.entry[1].resource"]), (None, None)])
def test_an_entry_fails_and_takes_the_others_along(
    running: launch.Running, board: str, entry: int | None, expression: list[str] | None
) -> None:
    order(board, kind="entry_fails", code="business-rule", **({} if entry is None else {"entry": entry}))
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": PATIENT, "request": {"method": "POST", "url": "Patient"}}] * 2,
    }
    answer = requests.post(running.base_url, json=bundle, timeout=10)
    issue = answer.json()["issue"][0]
    assert (answer.status_code, issue["code"], issue.get("expression")) == (422, "business-rule", expression)
    assert stored(board) == 0


def test_an_expired_token_says_so(running: launch.Running, board: str) -> None:
    order(board, kind="expired_token")
    answer = post(running)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert answer.json()["issue"][0]["code"] == "expired"
    assert stored(board) == 0


def test_a_status_with_the_code_and_the_place_ordered(running: launch.Running, board: str) -> None:
    order(board, kind="status", status=403, code="suppressed", where="Patient.name")
    issue = post(running).json()["issue"][0]
    assert (issue["code"], issue["expression"]) == ("suppressed", ["Patient.name"])


@pytest.mark.parametrize("fault", [{"kind": "entry_fails", "entry": "1"}, {"kind": "status", "code": 7}])
def test_a_wrong_order_is_refused(running: launch.Running, board: str, fault: dict[str, Any]) -> None:
    answer = requests.put(f"{board}/faults", json=[{"on": "POST Patient", **fault}], timeout=10)
    assert answer.status_code == 400
