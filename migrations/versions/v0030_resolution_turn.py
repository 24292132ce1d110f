"""Who changed is compared before who is only weighed anew, and whatever is near one record is found by its id.

See connector_runner/resolution/store.py and evidence_store.py.
"""

from __future__ import annotations

from alembic import op

revision = "0030"
down_revision = "0029"

TURN = """
CREATE INDEX pending_resolution_turn ON pending_resolution
 (workspace_id, kind, identified, requested_at, entity_id);
DROP INDEX pending_resolution_due;
"""

# Of a workspace that came after the tables were last analyzed the planner expects no row. Then every index that begins
# with the workspace is as good to it as any other, and it may walk all that the workspace has for each record.
BY_RECORD = """
DROP INDEX pair_evidence_other;
CREATE INDEX pair_evidence_other ON pair_evidence (other, workspace_id);
DROP INDEX cluster_member_cluster;
CREATE INDEX cluster_member_cluster ON cluster_member (cluster_id, workspace_id);
"""


def upgrade() -> None:
    """The next of a backlog are found without a look at all who wait, as before."""
    op.execute(TURN)
    op.execute(BY_RECORD)
