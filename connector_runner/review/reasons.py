"""Why a person is asked. Pure."""

from __future__ import annotations

from typing import Final

from connector_runner.review.judge.case import CONTRADICTED, UNCLEAR

CONFLICT: Final = "conflict"
SIGN_OFF: Final = "sign_off"
FAINT: Final = "faint"
SUSPENDED: Final = "category_suspended"
NOT_JUDGED: Final = "not_judged"
SAMPLE: Final = "sample"
REASONS: Final = (CONTRADICTED, CONFLICT, SIGN_OFF, FAINT, SUSPENDED, NOT_JUDGED, UNCLEAR, SAMPLE)
"""Why a person is asked about events, the gravest first."""


def graver(one: str, other: str) -> str:
    """The graver of two reasons; the first of two that are not compared."""
    return min(one, other, key=REASONS.index) if {one, other} <= {*REASONS} else one
