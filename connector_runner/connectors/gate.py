"""What every request that reads a source goes through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from connector_runner.infra.http import Answer

PACED: Final = "read_paced"
"""The code of what a gate raises: no fault of the source, only not yet its turn."""


class Gate(Protocol):
    """Keeps the requests of all workers to one source within what it takes of us."""

    def __call__(self, cost: int = 1) -> None:
        """Wait a short time for the turn of ``cost`` requests.

        Raises RateLimited (``read_paced``) with the seconds until it comes where that is longer; then nothing may be
        sent now.
        """

    def heard(self, status: int | None, headers: Mapping[str, str] | None = None) -> None:
        """What was let through is over: the answer that came, or None when none did."""


def through(gate: Gate | None, send: Callable[[], Answer]) -> Answer:
    """Send one request through a gate, where there is one, and tell it what came of it."""
    if gate is None:
        return send()
    gate(1)
    try:
        answer = send()
    except BaseException:
        gate.heard(None)
        raise
    gate.heard(answer.status, answer.headers)
    return answer
