"""Weights, shipped, pinned and versioned: how often each level is seen where two records are one person, and else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

SAME: Final = "same"
UNRELATED: Final = "unrelated"
VERSION: Final = "patient-2"


@dataclass(frozen=True, slots=True)
class Weights:
    """``chances``: relation -> field -> level -> how likely the level is where both records speak of the field.

    Relations are ``same`` person and what else explains likeness: ``household``, ``twin``, ``generation`` (senior and
    junior), ``namesake``, ``unrelated``. ``rates``: how many pairs of each relation there are for one record;
    unrelated pairs are all the others, and grow with the population. ``names``: field -> the chance that two
    unrelated people share its value, to which the commonness of a name is compared.
    """

    version: str
    chances: Mapping[str, Mapping[str, Mapping[str, float]]]
    rates: Mapping[str, float]
    names: Mapping[str, float]


@cache
def shipped(version: str = VERSION) -> Weights:
    """The weights of a version that is part of this release."""
    content = json.loads(files(__package__).joinpath(f"weights/{version}.json").read_text(encoding="utf-8"))
    return Weights(content["version"], content["chances"], content["rates"], content["names"])
