"""What of the memory an embedded Postgres keeps pages in: a quarter of what there really is."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from connector_runner.infra.embedded.memory import memory_bytes, shared_buffers_mb


@pytest.mark.parametrize(("memory_gb", "megabytes"), [(0.25, 128), (1, 256), (8, 2048), (16, 4096), (512, 4096)])
def test_a_quarter_within_bounds(memory_gb: float, megabytes: int) -> None:
    assert shared_buffers_mb(int(memory_gb * 2**30)) == megabytes


@pytest.mark.parametrize(("said", "found"), [("1073741824", 1 << 30), ("max", None), ("9223372036854771712", None)])
def test_a_container_that_may_have_less_has_less(tmp_path: Path, said: str, found: int | None) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text(f"{said}\n")
    assert memory_bytes((tmp_path / "absent", limit)) == (found or psutil.virtual_memory().total)
