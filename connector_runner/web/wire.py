"""Connections whose requests begin in time: one that never finishes its headers is not kept for long, nor one that
still sends a body after it was answered."""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_DEADLINE_S: Final = 10.0


class Wire(H11Protocol):
    """Uvicorn's HTTP with a deadline for the head of each request; bodies are timed by who reads them."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing is not kept."""
        super().connection_made(transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Whatever comes: either the head is there now, or its time runs on."""
        super().data_received(data)
        if self._unwanted:
            self._arm()
        else:
            self._disarm()

    @property
    def _unwanted(self) -> bool:
        """Whether nobody reads what comes: no head is there yet, or the answer is out before the body was read."""
        theirs = self.conn.their_state
        return theirs is h11.IDLE or (theirs is h11.SEND_BODY and self.conn.our_state is h11.DONE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_DEADLINE_S, self._too_late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self._unwanted and not self.transport.is_closing():
            self.transport.close()
