"""How much memory there is, and what of it an embedded Postgres may keep pages in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

_LEAST: Final = 128 << 20
_MOST: Final = 4 << 30
_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_bytes(limits: tuple[Path, ...] = _LIMITS) -> int:
    """Of the machine, or of the container if that may have less (Linux, Control Group v2 and v1)."""
    found = [psutil.virtual_memory().total]
    for limit in limits:
        try:
            said = limit.read_text().strip()
        except OSError:
            continue
        if said.isdigit():
            found.append(int(said))
    return min(found)


def shared_buffers_mb(memory: int) -> int:
    """A quarter of the memory (PostgreSQL manual, Resource Consumption), from 128 MB to 4 GB.

    It is taken up as far as there is data to fill it.
    """
    return max(_LEAST, min(memory // 4, _MOST)) >> 20
