"""Vocabularies that values are translated to: the codes of one system, and the words that mean them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any
from unicodedata import normalize

from connector_runner.unification.documents import Place

_NO_WORD = re.compile(r"[^\w%+]+|_+")


def normalised(text: str) -> str:
    """A text without what people write differently: case, accents' composition, punctuation, spacing."""
    return _NO_WORD.sub(" ", normalize("NFKC", text).casefold()).strip()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The codes of a system with what they are called, and further words for them.

    ``version`` changes with any change of content. ``systems``: of codes that are of another system than the
    rest. ``words``: as written -> code; ``folded``: normalised -> code.
    """

    name: str
    version: str
    system: str | None
    systems: Mapping[str, str]
    displays: Mapping[str, str]
    words: Mapping[str, str] = field(repr=False)
    folded: Mapping[str, str] = field(repr=False)

    def system_of(self, code: str) -> str | None:
        """The system that a code is of, None for a vocabulary of bare words."""
        return self.systems.get(code, self.system)

    def fact(self, code: str, said: Any) -> Any:
        """``said``, a text or the fact of a code, with ``code`` in place of what it was coded as."""
        if type(said) is not dict:
            return code
        found = {"code": code, "display": self.displays[code]}
        system = self.system_of(code)
        if system is not None:
            found["system"] = system
        text = said.get("text") or said.get("display")
        return {**found, "text": text} if text else found


def vocabulary(name: str, data: Mapping[str, Any], at: Place) -> Vocabulary:
    """Check and index a vocabulary file whose ``displays`` make it one to translate to.

    Raises Misconfigured, with the line, for words that mean a code which is not there, or two codes at once.
    """
    displays: Mapping[str, str] = data["displays"]
    words: dict[str, str] = {}
    folded: dict[str, str] = {}
    own = ((code, code, ("displays", code)) for code in displays)
    titles = ((title, code, ("displays", code)) for code, title in displays.items())
    more = ((word, code, ("codes", word)) for word, code in data.get("codes", {}).items())
    for word, code, keys in (*own, *titles, *more):
        if code not in displays:
            at.child(*keys).fail(f"there is no code {code!r} in `displays`")
        key = normalised(str(word))
        if not key:
            at.child(*keys).fail("nothing is left of this word once punctuation is gone")
        if folded.setdefault(key, code) != code:
            at.child(*keys).fail(f"this word means {folded[key]!r} already, but for case and punctuation")
        words[str(word)] = code
    systems: Mapping[str, str] = data.get("systems", {})
    for code in systems:
        if code not in displays:
            at.child("systems", code).fail(f"there is no code {code!r} in `displays`")
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    version = blake2b(text.encode(), digest_size=8).hexdigest()
    return Vocabulary(name, version, data.get("system"), dict(systems), dict(displays), words, folded)
