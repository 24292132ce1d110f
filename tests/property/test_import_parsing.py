"""Streaming parsers against json: the same entries, whatever the layout, key order and reads."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from connector_runner.intake.imports.content import Content, parser_for, recognise
from connector_runner.intake.imports.items import Entry, Fault, Item
from connector_runner.intake.imports.text import end_of_value
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import BadRecord

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
SCALAR = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | TEXT | st.sampled_from(['"}', "\\", "[{", '\\"'])
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
RESOURCE = st.dictionaries(TEXT.filter(lambda key: key not in ("resourceType", "id")), VALUE, max_size=3).map(
    lambda rest: {"resourceType": "Basic", "id": "b"} | rest
)
ENTRY = st.permutations(["fullUrl", "resource", "request", "link"]).flatmap(
    lambda keys: st.fixed_dictionaries(
        {},
        optional={
            key: {"fullUrl": st.just("urn:uuid:x"), "resource": RESOURCE, "request": st.just({"method": "PUT"})}.get(
                key, VALUE
            )
            for key in keys
        },
    )
)


def parse(data: bytes, *, name: str = "x.json", step: int = 1 << 20, state: dict[str, Any] | None = None,
          items: int | None = None, max_bytes: int = 1 << 24) -> tuple[list[Item], dict[str, Any]]:  # fmt: skip
    """What a parser finds, reading ``step`` bytes at a time, and its checkpoint; at most ``items`` lists of it."""
    content = Content(lambda: io.BytesIO(data))
    found: list[Item] = []
    with content.open() as raw:
        read = content.from_byte(state["byte"] if state else 0, raw)
        parser = parser_for(recognise(name, content.head()), lambda _: read(step), max_bytes=max_bytes, state=state)
        for number, group in enumerate(parser.items(), 1):
            found += group
            if number == items:
                break
        return found, parser.checkpoint()


@st.composite
def bundles(draw: st.DrawFn) -> tuple[list[Any], bytes]:
    """Entries, and a Bundle of them in some layout."""
    entries = draw(st.lists(ENTRY, max_size=6))
    members = [("resourceType", "Bundle"), ("type", "batch"), ("total", draw(SCALAR)), ("entry", entries)]
    bundle = dict(draw(st.permutations(members)))
    indent, ascii_only = draw(st.sampled_from([None, 1, "\t"])), draw(st.booleans())
    text = json.dumps(bundle, indent=indent, ensure_ascii=ascii_only)
    return entries, draw(st.sampled_from([b"", b"\xef\xbb\xbf", b" \n"])) + text.encode()


def is_found(entry: Any, item: Item) -> bool:
    resource = entry.get("resource")
    assert isinstance(item, Entry), item
    raw = json.loads(item.raw) if item.raw else None
    return item.resource == resource == raw and item.full_url == entry.get("fullUrl")


@settings(max_examples=300, deadline=None)
@given(bundles(), st.integers(1, 400), st.booleans())
def test_a_bundle_gives_the_entries_that_json_sees(bundle: tuple[list[Any], bytes], step: int, packed: bool) -> None:
    entries, data = bundle
    found, _ = parse(gzip.compress(data) if packed else data, step=step)
    found = [item for item in found if not (isinstance(item, Fault) and item.notice)]
    assert len(found) == len(entries)
    assert all(is_found(entry, item) for entry, item in zip(entries, found, strict=True))


@settings(max_examples=150, deadline=None)
@given(bundles(), st.data())
def test_parsing_resumes_behind_any_entry(bundle: tuple[list[Any], bytes], data: st.DataObject) -> None:
    _, body = bundle
    whole, _ = parse(body)
    if not whole:
        return
    cut = data.draw(st.integers(1, len(whole)))
    first, state = parse(body, items=cut, step=data.draw(st.integers(1, 300)))
    rest, _ = parse(body, state=exact_json.loads(exact_json.dumps(state)))
    assert first + rest == whole


@settings(max_examples=150, deadline=None)
@given(bundles(), st.data())
def test_a_cut_bundle_gives_its_complete_entries_and_says_where_it_ends(
    bundle: tuple[list[Any], bytes], data: st.DataObject
) -> None:
    entries, body = bundle
    cut = data.draw(st.integers(body.index(b"{") + 1, len(body) - 1))
    found, _ = parse(body[:cut], step=data.draw(st.integers(1, 300)))
    whole = [item for item in found if isinstance(item, Entry)]
    assert len(whole) <= len(entries)
    assert all(is_found(entry, item) for entry, item in zip(entries, whole, strict=False))
    assert any(isinstance(item, Fault) for item in found)


@settings(max_examples=200, deadline=None)
@given(st.lists(RESOURCE, max_size=5), st.integers(1, 200), st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans())
def test_lines_give_the_resources_that_json_sees(resources: list[Any], step: int, newline: str, array: bool) -> None:
    if array:
        data, name = json.dumps(resources, indent=1).encode(), "x.json"
    else:
        data, name = newline.join(json.dumps(r) for r in resources).encode(), "x.ndjson"
    if not data:
        return
    found, _ = parse(data, name=name, step=step)
    assert [item.resource for item in found if isinstance(item, Entry)] == resources
    assert [json.loads(item.raw) for item in found] == resources


@settings(max_examples=300, deadline=None)
@given(st.lists(VALUE, max_size=3) | st.dictionaries(TEXT, VALUE, max_size=3), TEXT)
def test_the_end_of_a_value_is_where_json_sees_it(value: Any, behind: str) -> None:
    text = json.dumps(value)
    assert end_of_value(text + behind, 0) == len(text)
    assert end_of_value(text[:-1], 0) is None


@settings(max_examples=300, deadline=None)
@given(bundles(), st.data())
def test_damage_never_gets_out_and_is_always_told(bundle: tuple[list[Any], bytes], data: st.DataObject) -> None:
    _, body = bundle
    at = data.draw(st.integers(0, len(body) - 1))
    noise = data.draw(st.binary(max_size=3))
    damaged = body[:at] + noise + body[at + data.draw(st.integers(0, 3)) :]
    try:
        found, _ = parse(damaged, step=data.draw(st.integers(1, 300)))
    except BadRecord as refusal:
        event(refusal.code)
        return
    try:
        json.loads(damaged.decode("utf-8-sig", "replace"))
    except ValueError:
        assert found
