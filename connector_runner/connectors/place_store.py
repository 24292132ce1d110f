"""SQL of what is no longer known once a source is somewhere else."""

from __future__ import annotations

from connector_runner.infra.database import Tx, execute


def forget_versions(tx: Tx, workspace_id: str, data_source_id: str) -> None:
    """Versions of what was written there: each record is read before it is written again."""
    execute(
        tx,
        "UPDATE sync_lane SET sink_etag = NULL WHERE workspace_id = :ws AND sink_id = :sink AND sink_etag IS NOT NULL",
        ws=workspace_id,
        sink=data_source_id,
    )
