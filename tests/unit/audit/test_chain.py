"""What an entry's hash covers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from connector_runner.audit.chain import Entry, Read, entry_hash, genesis, normalised, reads_digest

WORKSPACE = "00000000-0000-7000-8000-000000000001"
AT = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
ENTRY = Entry(1, AT, "someone", "source.apply", "ehr", {"a": 1}, 77)


@pytest.mark.parametrize(
    "changed",
    [
        {"n": 2}, {"at": AT + timedelta(microseconds=1)}, {"actor": "other"}, {"action": "x"}, {"object": "y"},
        {"detail": {"a": 2}}, {"txid": 78},
    ],
)  # fmt: skip
def test_every_field_counts(changed: dict[str, object]) -> None:
    start = genesis(WORKSPACE)
    assert entry_hash(WORKSPACE, start, replace(ENTRY, **changed)) != entry_hash(WORKSPACE, start, ENTRY)


def test_workspace_and_predecessor_count() -> None:
    other = WORKSPACE[:-1] + "2"
    assert genesis(WORKSPACE) != genesis(other)
    assert entry_hash(other, genesis(WORKSPACE), ENTRY) != entry_hash(WORKSPACE, genesis(WORKSPACE), ENTRY)
    assert entry_hash(WORKSPACE, b"\0" * 32, ENTRY) != entry_hash(WORKSPACE, genesis(WORKSPACE), ENTRY)


def test_the_zone_of_an_instant_does_not_count() -> None:
    there = replace(ENTRY, at=AT.astimezone(timezone(timedelta(hours=5))))
    assert entry_hash(WORKSPACE, b"", there) == entry_hash(WORKSPACE, b"", ENTRY)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (1e16, 10000000000000000), (Decimal("1E+5"), 100000), (Decimal("1.00"), Decimal("1.00")),
        (-0.0, Decimal("0.0")), ((1, 2), [1, 2]), ({1: None}, {"1": None}), (True, True), (0.1, Decimal("0.1")),
    ],
)  # fmt: skip
def test_numbers_read_as_jsonb_gives_them_back(given: object, kept: object) -> None:
    assert normalised(given) == kept
    assert str(normalised(given)) == str(kept)


@pytest.mark.parametrize("value", [float("nan"), Decimal("Infinity")])
def test_numbers_without_a_value_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="finite"):
        normalised({"x": value})


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError, match="bytes"):
        normalised({"x": b"1"})


def test_a_digest_of_reads_does_not_depend_on_their_order() -> None:
    reads = [Read(str(n), AT, "a", "read", "entity", {}) for n in range(3)]
    assert reads_digest(WORKSPACE, reads) == reads_digest(WORKSPACE, reads[::-1])
    assert reads_digest(WORKSPACE, reads) != reads_digest(WORKSPACE, reads[:2])
    assert reads_digest(WORKSPACE, reads) != reads_digest(WORKSPACE, [replace(reads[0], actor="b"), *reads[1:]])
