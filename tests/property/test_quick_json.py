"""The quick values and texts are the exact ones, whatever they are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector_runner.infra import quick_json
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
_FRACTIONS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
_LEAVES = st.none() | st.booleans() | st.integers() | st.integers(-(2**70), 2**70) | _FRACTIONS.map(Decimal) | _TEXT
VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4))


@given(VALUES)
@example({"b": Decimal("1.00"), "a": Decimal("1E+2"), "é": "\u2028", "\x7f": '\x1f\b\f\n\r\t"\\/', "n": -0})
@example([2**63, 2**64, -(2**63) - 1])
def test_a_quick_digest_is_the_exact_one(value: Any) -> None:
    parsed = exact_json.loads(exact_json.dumps(value))
    assert quick_json.digest(parsed) == exact_json.digest(parsed)


@given(VALUES)
@example({"dose": Decimal("1.00"), "text": "\x7f é \\"})
@example([10**30])
def test_a_quick_text_says_the_same_with_the_same_digits(value: Any) -> None:
    parsed = exact_json.loads(exact_json.dumps(value))
    assert exact_json.dumps(exact_json.loads(quick_json.compact(parsed))) == exact_json.dumps(parsed)


def test_what_is_no_json_is_refused() -> None:
    for write in (quick_json.compact, quick_json.digest):
        with pytest.raises(TypeError):
            write({"a": {1, 2}})


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """JSON, mostly: values with tokens of numbers as they may come, and a byte too many or too few."""
    text = exact_json.dumps(draw(VALUES)).encode()
    for number in draw(st.lists(_FRACTIONS, max_size=2)):
        text = b"[%s,%s]" % (text, number.encode())
    if draw(st.booleans()):
        text = json.dumps(json.loads(text), ensure_ascii=False).encode()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.binary(max_size=2)) + text[at + draw(st.integers(0, 2)) :]
    return text


def outcome(read: Callable[[bytes], Any], data: bytes) -> tuple[str, ...]:
    """What came of it, types of numbers and order of keys included."""
    try:
        return ("value", repr(read(data)))
    except BadRecord as error:
        return ("refused", error.code, error.message)


@settings(max_examples=500)
@given(documents() | st.binary(max_size=20))
@example(b'{"dose":1.00,"n":[-0,-0.0,1e5,1E+2,0.1e-5,123456789.10]}')
@example(b"[%s]" % (b"9" * 50))
@example(b"[%s]" % (b"9" * 5000))
@example(b"[0.%s]" % (b"1" * 5000))
@example(b"[1e400,1e-400]")
@example(b"[1e9999999999999999999]")
@example(b'["\\ud800"]')
@example(b'["\\ud83d\\ude00","\\u0000"]')
@example(b'["\xed\xa0\x80"]')
@example(b'"\xff"')
@example(b"\xef\xbb\xbf{}")
@example(b'{"a":1,"b":2,"a":3}')
@example(b"[NaN]")
@example(b"[01]")
@example(b"[1.]")
@example(b'["\x01"]')
@example(b"[" * 200 + b"]" * 200)
@example(b"[" * 201 + b"]" * 201)
@example(b"[" * 100_000)
@example(b"{}{}")
@example(b"")
def test_a_document_is_read_and_refused_alike(data: bytes) -> None:
    assert outcome(quick_json.loads, data) == outcome(exact_json.loads, data)


def test_deep_in_a_long_list_is_as_deep() -> None:
    long = b"[%s]" % b",".join([b"{}"] * 500)
    assert outcome(quick_json.loads, long)[0] == "value"
