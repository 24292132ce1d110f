"""The quick texts are the exact ones, whatever the value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector_runner.infra import quick_json
from connector_runner.kernel import exact_json

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
