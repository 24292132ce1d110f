"""Lines that bring the bytes of last time are passed over unread, and only where reading them would say nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connector_runner.intake.imports import ndjson, running
from connector_runner.kernel.ids import canonical_id
from connector_runner.world import reading
from tests.integration.imports.stack import Parts


def line(record_id: str, family: str) -> str:
    text = json.dumps({"resourceType": "Patient", "id": record_id, "name": [{"family": family}]})
    assert ndjson._BEGINNING.match(text.encode())
    return text


def load(deps: Parts, workspace: str, path: Path, *lines: str) -> tuple[int, int, int, int]:
    """Import lines; events created, updated and skipped, and the resources."""
    path.write_text("\n".join(lines) + "\n")
    came = running.run_local(deps, workspace, "partner", [str(path)])
    assert came["errors_total"] == came["duplicates"], came["errors"]
    return came["events_created"], came["events_updated"], came["events_skipped"], came["resources"]


def family(deps: Parts, workspace: str, record_id: str) -> Any:
    with deps.database.begin(workspace) as tx:
        found = reading.row(tx, workspace, canonical_id("partner", "Patient", record_id))
    return found and found["state"]["name"]["family"]


def test_the_same_bytes_are_not_parsed_again(
    deps: Parts, workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line(f"p{n}", "Ames") for n in range(20)]
    assert load(deps, workspace, tmp_path / "a.ndjson", *lines) == (20, 0, 0, 20)
    parsed: list[bytes] = []
    loads = ndjson.quick_json.loads

    def watched(data: Any) -> Any:
        parsed.append(data)
        return loads(data)

    monkeypatch.setattr(ndjson.quick_json, "loads", watched)
    new = line("p3", "Byron")
    assert load(deps, workspace, tmp_path / "a.ndjson", *lines[:3], new, *lines[4:]) == (0, 1, 19, 20)
    assert [text for text in parsed if isinstance(text, bytes)] == [new.encode()]
    assert family(deps, workspace, "p3") == "Byron"


def test_old_bytes_are_news_once_the_record_has_changed(deps: Parts, workspace: str, tmp_path: Path) -> None:
    a, b = line("p1", "Ames"), line("p1", "Byron")
    assert load(deps, workspace, tmp_path / "1.ndjson", a) == (1, 0, 0, 1)
    assert load(deps, workspace, tmp_path / "2.ndjson", b) == (0, 1, 0, 1)
    assert load(deps, workspace, tmp_path / "3.ndjson", a) == (0, 1, 0, 1)
    assert family(deps, workspace, "p1") == "Ames"


def test_old_bytes_are_news_after_a_change_in_the_same_chunk(deps: Parts, workspace: str, tmp_path: Path) -> None:
    a, b = line("p1", "Ames"), line("p1", "Byron")
    assert load(deps, workspace, tmp_path / "1.ndjson", a) == (1, 0, 0, 1)
    assert load(deps, workspace, tmp_path / "2.ndjson", b, a) == (0, 2, 0, 2)
    assert family(deps, workspace, "p1") == "Ames"


def test_a_name_that_a_line_only_seems_to_have_does_no_harm(deps: Parts, workspace: str, tmp_path: Path) -> None:
    # Of two members of one name the last counts: this is p2, which begins like p1.
    odd = '{"resourceType": "Patient", "id": "p1", "name": [{"family": "Cole"}], "id": "p2"}'
    plain = line("p1", "Ames")
    assert load(deps, workspace, tmp_path / "1.ndjson", odd, plain) == (2, 0, 0, 2)
    assert load(deps, workspace, tmp_path / "2.ndjson", odd, plain) == (0, 0, 2, 2)
    assert (family(deps, workspace, "p1"), family(deps, workspace, "p2")) == ("Ames", "Cole")
