"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SYNTACTIC: Final = "syntactic"
SEMANTIC: Final = "semantic"
POLICY: Final = "policy"
SINK: Final = "sink"
LAYERS: Final = (SYNTACTIC, SEMANTIC, POLICY, SINK)
"""In the order in which they are asked; one is asked only if those before it found nothing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a resource must not be sent.

    ``path`` is made of element names of the standard (or of our schema) and indexes; ``code`` is ours or the key
    of an invariant of R4 (``app-2``); ``message`` is our own words. None of them quotes a value. ``wait`` is true
    where the same content may pass later.
    """

    layer: str
    path: str
    code: str
    message: str
    wait: bool = False

    @property
    def reason(self) -> str:
        """The reason code of a lane that stands still for this."""
        return f"invalid_{self.layer}"
