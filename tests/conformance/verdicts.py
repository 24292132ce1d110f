"""What the conformance runs found: for each adapter and capability a verdict, and the test that saw it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Result = Literal["yes", "no", "not offered", "unknown"]


@dataclass(frozen=True, slots=True, order=True)
class Verdict:
    """``adapter`` does, or does not, do what ``capability`` says; ``test`` saw it; ``note`` are words of ours."""

    adapter: str
    capability: str
    result: Result
    test: str
    note: str = ""


class Verdicts:
    """Verdicts of one session."""

    def __init__(self) -> None:
        self.given: dict[tuple[str, str], Verdict] = {}

    def say(self, adapter: str, capability: str, result: Result, test: str, note: str = "") -> None:
        """Note a verdict; the same capability seen by several tests holds when it holds in each."""
        before = self.given.get((adapter, capability))
        if before is None or before.result == "yes":
            self.given[adapter, capability] = Verdict(adapter, capability, result, test, note)

    def write(self, path: Path) -> None:
        """All of them as JSON, in order."""
        path.write_text(json.dumps([asdict(one) for one in sorted(self.given.values())], indent=1) + "\n")


VERDICTS = Verdicts()
