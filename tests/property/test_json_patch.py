"""A patch of the difference turns one document into the other, and is refused by any third."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_runner.connectors.json_patch import difference
from connector_runner.kernel import exact_json
from connector_runner.sandbox.json_patch import patched
from connector_runner.sandbox.outcomes import FhirError

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["", "a", "~/", "a/b~1"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(["a", "b/c", "~d", "", "0"]), inner, max_size=3)
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.sampled_from(["a", "b/c", "~d", "x", "0"]), VALUES, max_size=5)


@given(before=DOCUMENTS, after=DOCUMENTS, tested=st.booleans())
def test_the_difference_leads_from_one_to_the_other(before: Any, after: Any, tested: bool) -> None:
    result = patched(exact_json.loads(exact_json.dumps(before)), difference(before, after, tested=tested))
    assert exact_json.dumps(result) == exact_json.dumps(after)


@given(document=DOCUMENTS)
def test_no_difference_is_no_operation(document: Any) -> None:
    assert difference(document, document, tested=True) == []


def test_a_value_that_moved_meanwhile_is_not_overwritten() -> None:
    patch = difference({"a": 1, "b": 2}, {"a": 3}, tested=True)
    for moved in ({"a": 9, "b": 2}, {"a": 1, "b": 9}):
        with pytest.raises(FhirError):
            patched(moved, patch)
    assert patched({"a": 1, "b": 2, "c": 4}, patch) == {"a": 3, "c": 4}
