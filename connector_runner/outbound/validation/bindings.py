"""What R4 binds: the codes of elements with a required value set, and what each reference may point to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Bindings:
    """By ``<class of fhirclient>.<element>``. ``concepts``: the system that the codes are of, and the codes."""

    codes: dict[str, frozenset[str]]
    concepts: dict[str, tuple[str, frozenset[str]]]
    references: dict[str, frozenset[str]]


@cache
def bindings() -> Bindings:
    """As ``r4_bindings.json`` has them; its head names their source."""
    held = json.loads(files(__package__).joinpath("r4_bindings.json").read_text("utf-8"))
    concepts = {key: words.split() for key, words in held["concepts"].items()}
    return Bindings(
        {key: frozenset(words.split()) for key, words in held["codes"].items()},
        {key: (words[0], frozenset(words[1:])) for key, words in concepts.items()},
        {key: frozenset(words.split()) for key, words in held["references"].items()},
    )
