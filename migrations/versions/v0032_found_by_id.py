"""Who is asked for by an id is found by it, whatever Postgres knows of the workspace.

As of evidence in 0030: an index that begins with the workspace, and goes on with something else, looks as good as the
primary key while no row of the workspace is known, and all its entities are read for each.
"""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"

BY_TYPE = """
CREATE INDEX entity_of_type ON entity (entity_type, workspace_id, status);
DROP INDEX entity_type_idx;
"""


def upgrade() -> None:
    """How many there are of a type is counted as before."""
    op.execute(BY_TYPE)
