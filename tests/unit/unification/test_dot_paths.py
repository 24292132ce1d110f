"""Dot-paths over JSON."""

from __future__ import annotations

from typing import Any

import pytest

from connector_runner.kernel.errors import Misconfigured
from connector_runner.kernel.paths import compile_path

RECORD = {
    "id": "1",
    "name": [{"given": ["Ada", "May"]}, {"given": ["Addie"]}],
    "telecom": [{"system": "email", "value": "e"}, {"system": "phone", "value": "p"}, {"system": "phone"}],
    "category": [{"coding": [{"code": "x"}, {"code": "laboratory"}]}],
    "flags": [{"on": False, "n": 1, "v": "off"}, {"on": True, "n": 2, "v": "on"}],
    "extension": [{"url": "http://example.org/a.b/c", "valueCode": "F"}],
    "period": {"start": "2024"},
    "empty": [],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("id", "1"),
        ("period.start", "2024"),
        ("name.given", ["Ada", "May"]),
        ("name[0].given[1]", "May"),
        ("name[1].given[0]", "Addie"),
        ("name[2].given", None),
        ("telecom[system=phone].value", "p"),
        ("telecom[system=fax].value", None),
        ("category[coding.code=laboratory].coding[1].code", "laboratory"),
        ("flags[on=true].v", "on"),
        ("flags[n=1].v", "off"),
        ("extension[url=http://example.org/a.b/c].valueCode", "F"),
        ("empty.x", None),
        ("id.x", None),
        ("missing.x[0]", None),
    ],
)
def test_what_stands_at_a_path(path: str, found: Any) -> None:
    assert compile_path(path)(RECORD) == found


@pytest.mark.parametrize("path", ["", ".", "a..b", "a.", ".a", "a[", "a[]", "a[=b]", "a[b=]", "a b", "a[0][1]", "*"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        compile_path(path)
    assert caught.value.code == "path"
