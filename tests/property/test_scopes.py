"""Scopes of SMART: read back as written, never narrower in the other version, compared letter by letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_runner.auth import scopes
from connector_runner.auth.scopes import ALL, Granted, Scope
from connector_runner.kernel.errors import Misconfigured

KINDS = ("Patient", "Observation", "Appointment", "Coverage")


def letters() -> st.SearchStrategy[str]:
    return st.sets(st.sampled_from(ALL), min_size=1).map(lambda found: "".join(x for x in ALL if x in found))


SCOPES = st.builds(
    Scope, st.sampled_from(["system", "user", "patient"]), st.sampled_from([*KINDS, "*"]), letters(),
    st.sampled_from(["", "category=laboratory", "status=final&category=vital-signs"]),
)  # fmt: skip
PLAIN = SCOPES.map(lambda scope: Scope(scope.context, scope.kind, scope.letters))


@given(SCOPES)
def test_what_is_written_in_version_2_reads_back(scope: Scope) -> None:
    assert scopes.read(scopes.written(scope, "v2")) == scope
    assert scopes.version_of(scopes.written(scope, "v2")) == "v2"


@given(SCOPES)
def test_version_1_reaches_as_far_or_refuses(scope: Scope) -> None:
    if scope.query:
        with pytest.raises(Misconfigured, match="version 1"):
            scopes.written(scope, "v1")
        return
    text = scopes.written(scope, "v1")
    back = scopes.read(text)
    assert back is not None
    assert set(back.letters) >= set(scope.letters)
    assert (back.kind, back.context) == (scope.kind, scope.context)
    assert scopes.version_of(text) == "v1"
    narrower = [access for access in ("rs", "cud") if set(access) >= set(scope.letters)]
    assert not narrower or back.letters == narrower[0], "no wider than it has to be"


@given(st.lists(SCOPES), st.frozensets(st.sampled_from(["v1", "v2"])))
def test_scopes_are_changed_only_for_a_server_of_one_version(
    wanted: list[Scope], known: frozenset[scopes.Version]
) -> None:
    texts = [scopes.written(Scope(w.context, w.kind, w.letters), "v2") for w in wanted] + ["openid"]
    asked = scopes.asked(texts, known)
    assert "openid" in asked
    assert len(set(asked)) == len(asked)
    if known == {"v1"}:
        assert all(scopes.version_of(text) in ("v1", None) for text in asked)
    else:
        assert list(asked) == list(dict.fromkeys(texts))


@given(st.lists(PLAIN, min_size=1), st.lists(PLAIN, min_size=1))
def test_what_is_missing_is_what_is_not_allowed(wanted: list[Scope], given_: list[Scope]) -> None:
    asked = " ".join(scopes.written(scope, "v2") for scope in wanted)
    granted = " ".join(scopes.written(scope, "v2") for scope in given_)
    held = Granted.of(granted)
    lost = {(kind, letter) for text in scopes.missing(asked, granted) for kind, _, rest in [text.partition(".")]
            for letter in rest}  # fmt: skip
    for scope in wanted:
        for letter in scope.letters:
            allowed = held.allows(scope.kind, letter)
            assert ((scope.kind, letter) in lost) is not allowed
    assert scopes.missing(asked, asked) == ()
    assert scopes.missing(asked, None) == ()


def test_a_grant_of_some_records_of_a_type_is_not_all_that_was_asked() -> None:
    part = "system/Observation.rs?category=laboratory"
    assert scopes.missing("system/Observation.rs system/Patient.rs", f"{part} system/Patient.rs") == ("Observation.rs",)
    assert scopes.missing("system/*.rs", part) == ("*.rs",)
    assert scopes.missing(part, part) == ()
    assert scopes.missing(part, "system/*.rs") == ()
    assert scopes.missing(part, "system/Observation.rs?category=vital-signs") == ("Observation.rs",)


@pytest.mark.parametrize(
    ("asked", "granted", "all_shown"),
    [
        ("system/*.rs", "system/Patient.rs system/Observation.rs", True),
        ("system/*.rs", "system/Observation.rs?category=laboratory system/Patient.rs", False),
        ("system/Observation.read", "system/Observation.rs?category=laboratory", False),
        ("system/Observation.rs?a=1 system/Observation.rs?a=2", "system/Observation.rs?a=1", False),
        ("system/Observation.rs?a=1", "system/Observation.rs?a=1 system/Patient.rs", True),
        ("system/Observation.cruds", "system/Observation.rs", True),
        ("system/Observation.rs", None, True),
        ("", "system/Observation.rs?a=1", True),
    ],
)
def test_a_type_is_shown_whole_where_nothing_of_it_was_withheld(
    asked: str, granted: str | None, all_shown: bool
) -> None:
    assert scopes.shows_all(asked, granted, "Observation") is all_shown


@given(st.lists(PLAIN, min_size=1))
def test_the_same_access_in_the_other_version_misses_nothing(wanted: list[Scope]) -> None:
    asked = " ".join(scopes.written(scope, "v2") for scope in wanted)
    granted = " ".join(scopes.written(scope, "v1") for scope in wanted)
    assert scopes.missing(asked, granted) == ()
    assert not scopes.nothing_left(asked, granted)


@given(st.text(max_size=40))
def test_any_text_is_a_scope_or_none(text: str) -> None:
    found = scopes.read(text)
    assert found is None or (found.letters and set(found.letters) <= set(ALL))


@pytest.mark.parametrize(
    "text", ["system/Patient.dus", "system/Patient.", "system/Patient.read?x=1", "Patient.read", "system/patient.read"]
)
def test_letters_out_of_order_and_other_errors_are_no_scopes(text: str) -> None:
    assert scopes.read(text) is None


def test_nothing_is_left_only_when_no_letter_is() -> None:
    assert scopes.nothing_left("system/Patient.rs", "system/Basic.rs")
    assert not scopes.nothing_left("system/Patient.rs system/Basic.rs", "system/Basic.r")
    assert not scopes.nothing_left("openid", "system/Basic.r")


def test_usual_scopes_follow_what_the_server_knows() -> None:
    assert scopes.usual(["Observation", "Patient"], write=False, known=frozenset({"v2"})) == (
        "system/Observation.rs", "system/Patient.rs",
    )  # fmt: skip
    assert scopes.usual(["Patient"], write=False, known=frozenset()) == ("system/Patient.read",)
    assert scopes.usual(["Patient"], write=True, known=frozenset({"v1"})) == ("system/*.*",)
    assert scopes.usual([], write=False, known=frozenset({"v1", "v2"})) == ("system/*.rs",)
