"""What every table with data of a workspace gets: row-level security, and where asked a guard against change."""

from __future__ import annotations

from alembic import op

# Subqueries, so that Postgres reads the setting once a statement and not for every row.
TENANT = "workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid)"
SWEEP = "(SELECT current_setting('app.scope', true)) = 'sweep'"


def protect(table: str, *, swept: bool = False, append_only: bool = False) -> None:
    """Let nobody see a row of ``table`` but under its workspace.

    ``swept``: sweeps may read it across workspaces, so it must hold no PHI. ``append_only``: UPDATE, DELETE and
    TRUNCATE are refused.
    """
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY tenant ON {table} USING ({TENANT})")
    if swept:
        op.execute(f"CREATE POLICY sweep ON {table} FOR SELECT USING ({SWEEP})")
    if append_only:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
