"""Anchors in files: one JSON document a line, to be kept where the database's owner cannot change it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from connector_runner.audit.chain import Anchor
from connector_runner.kernel import exact_json
from connector_runner.kernel.errors import Misconfigured

_HEX: Final = re.compile(r"(?:[0-9a-f]{2}){1,64}")


def document(anchor: Anchor) -> dict[str, Any]:
    """``anchor`` as JSON has it; bytes in hex."""
    return {
        "workspace_id": anchor.workspace_id,
        "n": anchor.n,
        "hash": anchor.hash.hex(),
        "made_at": anchor.made_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "mac": anchor.mac.hex(),
    }


def write(file: Path, anchors: Sequence[Anchor]) -> int:
    """Add those to the end of ``file`` that it lacks; how many. What it holds stays as it is."""
    lines = [exact_json.dumps(document(one)) for one in anchors]
    held = set(file.read_text().splitlines()) if file.exists() else set()
    missing = [line for line in lines if line not in held]
    if missing:
        with file.open("a") as stream:
            stream.write("".join(f"{line}\n" for line in missing))
    return len(missing)


def read(file: Path, workspace_id: str) -> list[Anchor]:
    """The anchors of one workspace in a file. Raises Misconfigured (``anchor_file``) for a line that is none."""
    found = []
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1):
        if line.strip():
            one = _anchor(line, f"{file}:{number}")
            if one.workspace_id == workspace_id:
                found.append(one)
    if not found:
        raise Misconfigured("holds no anchor of this workspace", code="anchor_file", where=str(file))
    return found


def _anchor(line: str, where: str) -> Anchor:
    try:
        held = exact_json.loads(line)
        digest, mac = held["hash"], held["mac"]
        if not (_HEX.fullmatch(digest) and _HEX.fullmatch(mac) and isinstance(held["n"], int)):
            raise ValueError("not hex")
        made_at = datetime.fromisoformat(held["made_at"])
        return Anchor(str(held["workspace_id"]), held["n"], bytes.fromhex(digest), made_at, bytes.fromhex(mac))
    except (ValueError, KeyError, TypeError):
        raise Misconfigured("is not an anchor", code="anchor_file", where=where) from None
