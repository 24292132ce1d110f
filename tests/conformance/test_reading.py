"""What every adapter must do when it reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from connector_runner.kernel.errors import RunnerError
from tests.conformance.clinic import Clinic, mark_of, read_all, read_on
from tests.conformance.conftest import Say


def test_every_record_is_read_once(reading: Clinic, say: Say) -> None:
    for resource_type in reading.adapter.reads:
        found, _ = read_all(reading.source(), resource_type)
        assert found.keys() == reading.shown(resource_type).keys(), resource_type
        assert found, resource_type
    say(reading, "reads everything", note=", ".join(reading.adapter.reads))


def test_what_changes_is_found_at_the_next_poll(reading: Clinic, say: Say) -> None:
    for resource_type in reading.adapter.reads:
        _, cursor = read_all(reading.source(), resource_type)
        before = list(reading.shown(resource_type).values())
        reading.put(reading.marked(before[0], "first"), reading.marked(before[-1], "last"))
        if resource_type != "Patient":
            reading.put({**reading.marked(before[0], "new"), "id": "brand-new"})
        found, cursor = read_on(reading.source(), resource_type, cursor)
        assert mark_of(found[before[0]["id"]]) == "first", resource_type
        assert mark_of(found[before[-1]["id"]]) == "last", resource_type
        assert resource_type == "Patient" or mark_of(found["brand-new"]) == "new"
        again, _ = read_on(reading.source(), resource_type, cursor)
        assert all(again[key].raw == found[key].raw for key in again.keys() & found.keys())
    note = "; ".join(filter(None, (", ".join(reading.adapter.reads), reading.adapter.looks)))
    say(reading, "finds what changed", note=note)


def test_a_poll_goes_on_where_the_last_one_was_cut_off(reading: Clinic, say: Say) -> None:
    for resource_type in reading.adapter.reads:
        wanted = reading.shown(resource_type).keys()
        seen: set[str] = set()
        cursor: dict[str, Any] = {}
        for _ in range(len(wanted) + 50):
            page = next(iter(reading.source().pages(resource_type, json.loads(json.dumps(cursor)), full=not cursor)))
            seen |= {record.record_id for record in page.records}
            cursor = page.cursor
            if page.last:
                break
        assert page.last
        assert seen == wanted, resource_type
    say(reading, "goes on after a cut")


def test_a_record_that_was_deleted_is_told_from_one_that_is_withheld(reading: Clinic, say: Say) -> None:
    resource_type = reading.adapter.reads[-1]
    gone, kept = list(reading.shown(resource_type))[:2]
    source = reading.source()
    reading.delete(f"{resource_type}/{gone}")
    proof = source.read(resource_type, gone)
    assert proof is None or proof.deleted
    alive = source.read(resource_type, kept)
    assert alive is not None
    assert not alive.deleted
    reading.fault(f"GET {resource_type}/{kept}", "status", status=403)
    with pytest.raises(RunnerError):
        source.read(resource_type, kept)
    say(reading, "proves a delete by a direct read")


def test_what_is_deleted_is_missing_from_a_whole_window(reading: Clinic, say: Say) -> None:
    resource_type = reading.adapter.reads[-1]
    gone = next(iter(reading.shown(resource_type)))
    reading.delete(f"{resource_type}/{gone}")
    pages = list(reading.source().pages(resource_type, {}, full=True))
    assert gone not in {record.record_id for page in pages for record in page.records}
    assert all(page.whole for page in pages)
    say(reading, "says when everything was read")


def test_trouble_is_named_by_what_to_do_next(reading: Clinic, say: Say) -> None:
    for trouble in reading.adapter.troubles:
        reading.switch("POST", "reset", {})
        trouble.arrange(reading)
        with pytest.raises(trouble.error) as caught:
            trouble.act(reading)
        assert caught.value.code == trouble.code, trouble.name
    troubles = ", ".join(trouble.name for trouble in reading.adapter.troubles)
    say(reading, "names errors by what to do", "yes" if troubles else "unknown", troubles)
