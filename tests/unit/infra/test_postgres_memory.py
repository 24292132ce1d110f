"""How much memory the embedded Postgres keeps pages in."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from connector_runner.infra.embedded import postgres

MIB, GIB = 2**20, 2**30


@pytest.mark.parametrize(
    ("memory", "kept"), [(256 * MIB, "128MB"), (8 * GIB, "2048MB"), (16 * GIB, "4096MB"), (512 * GIB, "4096MB")]
)
def test_a_quarter_of_the_memory_within_bounds(memory: int, kept: str) -> None:
    assert postgres.shared_buffers(memory) == kept


@pytest.mark.parametrize("limit", ["max", str(1 << 62)])
def test_without_a_lower_limit_it_is_the_machine_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(postgres, "_CGROUP", tmp_path / "memory.max")
    assert postgres.memory_of_this_machine() == psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    assert postgres.memory_of_this_machine() == psutil.virtual_memory().total


def test_a_container_has_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_CGROUP", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text(f"{512 * MIB}\n")
    assert postgres.memory_of_this_machine() == 512 * MIB
