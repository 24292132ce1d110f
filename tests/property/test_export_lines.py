"""Pieces of an NDJSON stream: whole lines, all of them, once, however the bytes arrive."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connector_runner.intake.bulk.lines import LineCutter, lines_of, patients_of

LINES = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b" ")), max_size=30)


def _arriving(content: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(content[at : at + size])
        at += size
    return [*pieces, content[at:]]


@given(LINES, st.lists(st.integers(1, 30), max_size=40), st.integers(1, 60), st.booleans())
def test_every_line_once_and_a_piece_can_be_resumed_behind(
    lines: list[bytes], sizes: list[int], at_least: int, ended: bool
) -> None:
    content = b"\n".join(lines) + (b"\n" if ended else b"")
    cutter = LineCutter(1000)
    given_so_far = b""
    for data in _arriving(content, sizes):
        cutter.feed(data)
        piece = cutter.take(at_least)
        given_so_far += piece
        assert not piece or piece.endswith(b"\n")
        assert given_so_far == content[: cutter.consumed]
        assert cutter.lines == len(list(lines_of(given_so_far)))
    given_so_far += cutter.rest()
    assert given_so_far == content
    assert cutter.consumed == len(content)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=12), st.lists(st.integers(1, 90), max_size=40))
def test_a_line_that_is_too_long_is_cut_and_those_around_it_are_whole(lengths: list[int], sizes: list[int]) -> None:
    lines = [bytes([65 + n % 26]) * length for n, length in enumerate(lengths)]
    content = b"\n".join(lines) + b"\n"
    cutter = LineCutter(50)
    pieces = []
    for data in _arriving(content, sizes):
        cutter.feed(data)
        pieces.append(cutter.take(1))
        assert content[: cutter.consumed].endswith(b"\n") or cutter.consumed == 0
    pieces.append(cutter.rest())
    found = b"".join(pieces).split(b"\n")[:-1]
    # One that came whole in a single read is left to the parser, which refuses it by its length.
    assert [line[:51] for line in found] == [line[:51] for line in lines]
    assert cutter.consumed == len(content)


def test_patients_are_found_however_they_are_written() -> None:
    piece = (
        b'{"resourceType":"Patient","id":"a"}\n{"id": "b", "resourceType": "Patient"}\n'
        b'{"resourceType":"Observation","id":"c"}\nnot json\n\n{"resourceType": "Patient", "id": "d", "active": true}'
    )
    assert list(patients_of(piece)) == ["a", "b", "d"]
