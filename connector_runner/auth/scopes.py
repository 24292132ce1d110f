"""SMART's scopes, versions 1 and 2: read, written in the other version, compared. Pure.

SMART App Launch 2.2, "Scopes for requesting FHIR Resources": v1 is ``system/Type.read|write|*``, v2
``system/Type.`` and letters of ``cruds`` in that order, with search parameters after a ``?``. v1's ``read`` is
``rs``, ``write`` is ``cud``, ``*`` all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from connector_runner.kernel.errors import Misconfigured

Version = Literal["v1", "v2"]
ALL: Final = "cruds"
_SCOPE: Final = re.compile(
    r"(?P<context>patient|user|system)/(?P<kind>\*|[A-Z][A-Za-z]*)\.(?P<access>[a-z]+|\*)(?:\?(?P<query>.+))?"
)
_V1: Final[Mapping[str, str]] = {"read": "rs", "write": "cud", "*": ALL}


@dataclass(frozen=True, slots=True)
class Scope:
    """Access to records of one type (``*``: all) in one context; ``query`` narrows it to some of them."""

    context: str
    kind: str
    letters: str
    query: str = ""

    def covers(self, kind: str, letter: str) -> bool:
        """Whether it may reach records of the type in this way; with a ``query``, some of them."""
        return self.kind in ("*", kind) and letter in self.letters

    def holds(self, wanted: Scope, letter: str, kind: str) -> bool:
        """Whether it reaches in this way what ``wanted`` does of records of the type, as far as parameters tell."""
        return self.covers(kind, letter) and self.query in ("", wanted.query)


def read(text: str) -> Scope | None:
    """One scope; None for what is none of these (``openid``, a server's own, letters out of order)."""
    found = _SCOPE.fullmatch(text)
    if found is None:
        return None
    access = found["access"]
    if access in _V1:
        return None if found["query"] else Scope(found["context"], found["kind"], _V1[access])
    in_order = "".join(letter for letter in ALL if letter in access)
    if access == "*" or access != in_order:
        return None
    return Scope(found["context"], found["kind"], access, found["query"] or "")


def version_of(text: str) -> Version | None:
    """Which version a scope is written in; None for what is none."""
    if read(text) is None:
        return None
    return "v1" if text.rpartition(".")[2] in _V1 else "v2"


def written(scope: Scope, version: Version) -> str:
    """The scope as a version writes it: the narrowest that reaches as far.

    Raises Misconfigured (``scope_not_v1``) for one with search parameters, which v1 has no words for.
    """
    if version == "v2":
        query = f"?{scope.query}" if scope.query else ""
        return f"{scope.context}/{scope.kind}.{scope.letters}{query}"
    if scope.query:
        raise Misconfigured(
            "the server knows only scopes of version 1, which have no search parameters",
            code="scope_not_v1",
            where="auth.scopes",
        )
    reads, writes = set(scope.letters) & set("rs"), set(scope.letters) & set("cud")
    access = "*" if reads and writes else "read" if reads else "write"
    return f"{scope.context}/{scope.kind}.{access}"


def versions_of(capabilities: Iterable[str]) -> frozenset[Version]:
    """The versions that a server states (``permission-v1``, ``permission-v2``); none where it states nothing."""
    stated = set(capabilities)
    known: tuple[Version, ...] = ("v1", "v2")
    return frozenset(version for version in known if f"permission-{version}" in stated)


def asked(scopes: Sequence[str], known: frozenset[Version]) -> tuple[str, ...]:
    """The scopes as the server takes them: as written, or in the only version that it states.

    What is no SMART scope stays as it is. Raises Misconfigured (``scope_not_v1``).
    """
    if len(known) != 1:
        return tuple(dict.fromkeys(scopes))
    (version,) = known
    made = []
    for text in scopes:
        scope = read(text)
        made.append(text if scope is None or version_of(text) == version else written(scope, version))
    return tuple(dict.fromkeys(made))


def usual(types: Iterable[str], *, write: bool, known: frozenset[Version]) -> tuple[str, ...]:
    """What is asked where settings state nothing: to read each type that is polled, or to do everything.

    In version 2 where the server states it, else in version 1, which more servers know.
    """
    version: Version = "v2" if "v2" in known else "v1"
    wanted = [Scope("system", "*", ALL)] if write else [Scope("system", kind, "rs") for kind in sorted(set(types))]
    return tuple(written(scope, version) for scope in wanted or [Scope("system", "*", "rs")])


@dataclass(frozen=True, slots=True)
class Granted:
    """The scopes that a token came with; None: the server did not say, so what was asked (RFC 6749, section 5.1)."""

    scopes: tuple[Scope, ...] | None

    @classmethod
    def of(cls, text: str | None) -> Granted:
        """From the answer's ``scope``. One without any SMART scope says nothing of access to records."""
        scopes = tuple(scope for scope in map(read, (text or "").split()) if scope is not None)
        return cls(scopes or None)

    def allows(self, kind: str, letter: str) -> bool:
        """Whether records of the type may be reached in this way, as far as is known."""
        return self.scopes is None or any(scope.covers(kind, letter) for scope in self.scopes)


def nothing_left(asked_for: str | None, granted: str | None) -> bool:
    """Whether of all access that was asked none was granted."""
    wanted = [scope for scope in map(read, (asked_for or "").split()) if scope is not None]
    held = Granted.of(granted)
    return bool(wanted) and not any(held.allows(scope.kind, letter) for scope in wanted for letter in scope.letters)


def missing(asked_for: str | None, granted: str | None) -> tuple[str, ...]:
    """What was asked and not granted, as ``Type.letters``; a type that is not granted in full is named once.

    Granted with search parameters that were not asked for it is not granted in full.
    """
    reach = Granted.of(granted).scopes
    if reach is None:
        return ()
    gone: dict[str, str] = {}
    for text in (asked_for or "").split():
        scope = read(text)
        if scope is None:
            continue
        lost = "".join(
            letter for letter in scope.letters if not any(other.holds(scope, letter, scope.kind) for other in reach)
        )
        if lost:
            both = gone.get(scope.kind, "") + lost
            gone[scope.kind] = "".join(letter for letter in ALL if letter in both)
    return tuple(f"{kind}.{letters}" for kind, letters in gone.items())


def shows_all(asked_for: str | None, granted: str | None, kind: str) -> bool:
    """Whether of a type all may be read that was asked for, as far as is known; a type by itself says so too."""
    reach = Granted.of(granted).scopes
    wanted = [scope for scope in map(read, (asked_for or "").split()) if scope is not None]
    return reach is None or all(
        any(other.holds(scope, letter, kind) for other in reach)
        for scope in wanted
        for letter in "rs"
        if scope.covers(kind, letter)
    )
