"""SQL of what stands for the terms of a sink: asked before they are read, and again before what goes by them."""

from __future__ import annotations

from typing import Final

from connector_runner.infra.database import Tx, hot, one

MARK: Final = (
    "(SELECT concat_ws(' ', d.enabled AND d.sink_enabled, md5(CAST(d.settings AS text)), array_to_string(ARRAY("
    "SELECT r.resource_type FROM source_resource r WHERE r.workspace_id = d.workspace_id"
    " AND r.data_source_id = d.data_source_id AND r.enabled AND r.compared_whole_at IS NULL ORDER BY 1), ' '))"
    " FROM data_source d WHERE d.workspace_id = :ws AND d.data_source_id = :sink)"
)
"""Whether the sink is on, what its settings say, and what was not read and compared yet of what is polled there."""


def mark(tx: Tx, workspace_id: str, sink_id: str) -> str:
    """What the terms of a sink were made of: the same mark, the same terms."""
    row = one(tx, hot(f"SELECT {MARK} AS mark"), ws=workspace_id, sink=sink_id)
    return str(row["mark"]) if row is not None else ""
