"""Connections that a fault can close."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_OPEN: dict[tuple[str, int], asyncio.Transport] = {}


class Wire(H11Protocol):
    """Uvicorn's HTTP, which remembers the connection of each client."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember it."""
        # asyncio does this only where it made the listening socket itself; without it each answer takes 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
        _OPEN[transport.get_extra_info("peername")[:2]] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        _OPEN.pop(self.transport.get_extra_info("peername")[:2], None)
        super().connection_lost(exc)


async def hang_up(client: Any) -> None:
    """Close a client's connection without an answer, and return when that has happened."""
    transport = _OPEN.get(tuple(client))
    if transport:
        transport.abort()
    # The loop calls connection_lost before it comes back here, so uvicorn knows that no answer is wanted.
    await asyncio.sleep(0.001)
